"""cargo-lambda's emulator of Lambda on the public side, with environments behind translators. It knows neither questions about a function (any other path
is a request for a function, so it would wait for ever) nor events (it answers when the function has), so the front stands before it."""
import http.client, os, signal, subprocess, time

from . import net, rie

PORT = 9000


class Slot:
    """One of the environments that the emulator may hand an invocation to."""

    def __init__(self, number, emulator):
        self.number, self.emulator, self.busy, self.invocations = number, emulator, False, 0

    def invoke(self, body, seconds=900):
        self.invocations += 1
        with net.inside(self.emulator.namespace):
            connection = http.client.HTTPConnection(f"{net.PUBLIC}.1", PORT, timeout=seconds)
            connection.connect()
        try:
            # It would wait as long if this said that it is an event.
            connection.request("POST", f"/2015-03-31/functions/{self.emulator.name}/invocations", body=body)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()


class Emulator:
    """The emulator, and as many environments as there are places."""

    def __init__(self, program, public, places, task, scratch, name):
        self.namespace, self.name = public, name
        # It wants to stand in a crate with a program of the function's name, which it is told not to build.
        crate = scratch / "crate"
        (crate / "src").mkdir(parents=True)
        (crate / "src/main.rs").write_text("fn main() {}\n")
        (crate / "Cargo.toml").write_text(f'[package]\nname = "{name}"\nversion = "0.0.0"\nedition = "2021"\n')
        self.log = scratch / "instance-emulator.log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                ["ip", "netns", "exec", public, str(program), "lambda", "watch", "--only-lambda-apis", "-A", f"{net.PUBLIC}.1", "-P", str(PORT),
                 "--concurrency", str(len(places))], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=crate, start_new_session=True)
        self.listening()
        self.runtimes = [rie.Runtime(number, place, task, scratch, f"http://{net.PUBLIC}.1:{PORT}/.rt/{name}", name=name)
                         for number, place in enumerate(places)]
        self.instances = [Slot(number, self) for number in range(len(places))]

    def listening(self, seconds=15):
        end = time.monotonic() + seconds
        while True:
            try:
                with net.inside(self.namespace):
                    connection = http.client.HTTPConnection(f"{net.PUBLIC}.1", PORT, timeout=2)
                    connection.connect()
                return connection.close()
            except OSError:
                if time.monotonic() > end or self.process.poll() is not None:
                    raise RuntimeError(f"cargo-lambda does not listen: {self.log.read_text()[-1000:]}") from None
            time.sleep(0.05)

    def kill(self):
        for runtime in self.runtimes:
            runtime.kill()
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
