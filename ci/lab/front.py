"""A small front of Lambda's interface: verifies signatures, answers what a launcher asks beforehand, and hands each invocation to a free instance."""
import json, threading, uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

from . import net, sigv4

# Largest payloads, bytes: synchronous, asynchronous (AWS Lambda's quotas, October 2025).
SYNC_MAX, ASYNC_MAX = 6 << 20, 1 << 20


class Front:
    def __init__(self, pool, keys, name="mayfly", namespace=None, address="127.0.0.1", memory=1769, timeout=900, concurrency=1000, token=None):
        self.pool, self.keys, self.name, self.memory, self.timeout, self.concurrency = pool, keys, name, memory, timeout, concurrency
        self.token = token
        self.seen = []  # (method, path, status) in order
        front = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def answer(self, status, body=None, headers=(), raw=None):
                content = raw if raw is not None else json.dumps(body or {}).encode()
                front.seen.append((self.command, self.path, status))
                self.send_response(status)
                for name, value in dict({"Content-Type": "application/json", "x-amzn-RequestId": str(uuid.uuid4())}, **dict(headers)).items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def refuse(self, status, kind, text):
                self.answer(status, {"Type": "User", "message": text, "Message": text}, {"x-amzn-ErrorType": kind})

            def do(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                try:
                    sigv4.check(front.keys, "lambda", self.command, self.path, dict(self.headers.items()), body)
                except sigv4.Refused as e:
                    return self.refuse(403, e.kind, str(e))
                if front.token and self.headers.get("X-Amz-Security-Token") != front.token:
                    return self.refuse(403, "UnrecognizedClientException", "the security token included in the request is invalid")
                front.route(self, unquote(self.path.partition("?")[0]), body)

            do_GET = do_POST = do_PUT = do_DELETE = do

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 256

        if namespace:
            with net.inside(namespace):
                self.server = Server((address, 0), Handler)
        else:
            self.server = Server((address, 0), Handler)
        self.url = f"http://{address}:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def route(self, request, path, body):
        known = {
            ("GET", f"/2015-03-31/functions/{self.name}/configuration"): self.configuration,
            ("GET", f"/2019-09-30/functions/{self.name}/concurrency"): lambda: {},
            ("GET", f"/2019-09-25/functions/{self.name}/event-invoke-config"): lambda: {"MaximumRetryAttempts": 0},
            ("GET", "/2016-08-19/account-settings"): self.account,
            ("GET", "/2016-08-19/account-settings/"): self.account,
        }
        if (request.command, path) in known:
            return request.answer(200, known[request.command, path]())
        if (request.command, path) == ("POST", f"/2015-03-31/functions/{self.name}/invocations"):
            return self.invocation(request, body)
        request.refuse(404, "ResourceNotFoundException", f"Function not found: {path}")

    def configuration(self):
        return {"FunctionName": self.name, "Runtime": "provided.al2023", "Handler": "bootstrap", "Timeout": self.timeout, "MemorySize": self.memory,
                "FunctionArn": f"arn:aws:lambda:us-east-1:123456789012:function:{self.name}", "State": "Active", "LastUpdateStatus": "Successful",
                "Architectures": ["x86_64"], "EphemeralStorage": {"Size": 512}, "Version": "$LATEST", "PackageType": "Zip"}

    def account(self):
        return {"AccountLimit": {"ConcurrentExecutions": self.concurrency, "UnreservedConcurrentExecutions": self.concurrency,
                                 "TotalCodeSize": 80530636800, "CodeSizeUnzipped": 262144000, "CodeSizeZipped": 52428800},
                "AccountUsage": {"FunctionCount": 1, "TotalCodeSize": 1}}

    def invocation(self, request, body):
        kind = request.headers.get("X-Amz-Invocation-Type", "RequestResponse")
        if len(body) > (ASYNC_MAX if kind == "Event" else SYNC_MAX):
            return request.refuse(413, "RequestTooLargeException", f"{len(body)} bytes are too many for {kind}")
        if kind == "DryRun":
            return request.answer(204, raw=b"")
        instance = self.pool.take()
        if instance is None:
            return request.refuse(429, "TooManyRequestsException", "Rate Exceeded.")
        if kind == "Event":
            threading.Thread(target=self.pool.run, args=(instance, body), daemon=True).start()
            return request.answer(202, raw=b"")
        status, headers, content = self.pool.run(instance, body)
        more = {"X-Amz-Executed-Version": "$LATEST"}
        error = next((value for name, value in headers.items() if name.lower() == "x-amz-function-error"), None)
        # The emulator tells of errors in the body alone.
        if error or b'"errorType"' in content[:4096]:
            more["X-Amz-Function-Error"] = error or "Unhandled"
        request.answer(200 if status < 500 else 502, raw=content, headers=more)

    def invoked(self):
        return sum(1 for method, path, status in self.seen if method == "POST" and path.endswith("/invocations") and status < 300)

    def close(self):
        self.server.shutdown()
        self.server.server_close()
