"""A small platform that pushes: each POST goes to a free instance and stays until that answers. Instances are `mayfly host` processes here."""
import http.client, os, signal, socket, subprocess, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Host:
    """An instance: one `mayfly host` on the loopback interface, with a /tmp of its own."""

    def __init__(self, number, mayfly, folder, environment):
        self.number, self.mayfly, self.folder, self.environment = number, mayfly, folder, environment
        self.log, self.busy, self.process = folder / f"host{number}.log", False, None
        self.start()

    def start(self):
        # A fresh instance has a fresh folder.
        self.life = getattr(self, "life", 0) + 1
        self.tmp = self.folder / f"tmp{self.number}.{self.life}"
        self.tmp.mkdir()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [self.mayfly, "host", "--contract", "http", "--listen", f"127.0.0.1:{self.port}"], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                cwd=self.tmp, env=dict(self.environment, TMPDIR=str(self.tmp)), start_new_session=True)
        end = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                if time.monotonic() > end or self.process.poll() is not None:
                    raise RuntimeError(f"host {self.number} does not listen: {self.log.read_text()[-500:]}") from None
                time.sleep(0.01)

    def alive(self):
        return self.process.poll() is None

    def kill(self):
        if self.alive():
            os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()


class Platform:
    def __init__(self, hosts):
        self.hosts, self.lock, self.bills = hosts, threading.Lock(), []
        platform = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_POST(self):
                platform.post(self, self.rfile.read(int(self.headers.get("Content-Length") or 0)))

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 256

            def handle_error(self, *_):
                pass  # A client that goes away is none.

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def post(self, request, body):
        with self.lock:
            host = next((host for host in self.hosts if not host.busy and host.alive()), None)
            if host:
                host.busy = True
        if not host:
            request.send_response(429)
            request.send_header("Content-Length", "0")
            return request.end_headers()
        bill = {"host": host.number, "begin": time.monotonic(), "end": None}
        self.bills.append(bill)
        begun = False
        try:
            connection = http.client.HTTPConnection("127.0.0.1", host.port, timeout=600)
            connection.request("POST", "/", body=body, headers={"Content-Type": "application/json"})
            answer = connection.getresponse()
            try:
                request.send_response(answer.status)
                request.send_header("Content-Type", answer.headers.get("Content-Type", "application/json"))
                request.send_header("Transfer-Encoding", "chunked")
                request.end_headers()
                begun = True
            except OSError:
                pass  # Whoever asked is gone; the instance runs, and costs, until it ends by itself.
            while chunk := answer.read1(65536):
                try:
                    request.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
                except OSError:
                    pass
            request.wfile.write(b"0\r\n\r\n")
        except (OSError, http.client.HTTPException):
            request.close_connection = True
            if not begun:
                try:
                    request.send_response(502)
                    request.send_header("Content-Length", "0")
                    request.end_headers()
                except OSError:
                    pass
        finally:
            bill["end"] = time.monotonic()
            host.busy = False

    def running(self):
        return sum(1 for bill in list(self.bills) if bill["end"] is None)

    def idle(self, until):
        while self.running() and time.monotonic() < until:
            time.sleep(0.01)
        return not self.running()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        for host in self.hosts:
            host.kill()
