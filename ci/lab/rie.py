"""Instances of a function: AWS's own emulator of the Lambda runtime, each in a sandbox and network namespace of its own."""
import glob, http.client, json, os, signal, subprocess, threading, time
from pathlib import Path

from . import net

HERE = Path(__file__).resolve().parent
PORT, API = 8080, 9001


def emulator(peers):
    """AWS's emulator, as aws-sam-cli brings it; None: not installed."""
    found = glob.glob(str(peers / "lambda/lib/python3*/site-packages/samcli/local/rapid/aws-lambda-rie-x86_64"))
    return Path(found[0]) if found else None


class Sandbox:
    """A process in a sandbox of its own, behind the translator whose inner side `namespace` is."""

    def __init__(self, number, namespace, task, scratch, command, environment):
        self.number, self.namespace = number, namespace
        self.root = scratch / f"root{number}"
        self.root.mkdir(exist_ok=True)
        self.log = scratch / f"instance{number}.log"
        # Nothing of this machine's environment, no secret among it.
        self.environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **environment}
        self.command = ["ip", "netns", "exec", namespace, "unshare", "--mount", "--pid", "--fork", "--kill-child=KILL", "--ipc", "--uts",
                        str(HERE / "instance"), str(number), str(self.root), str(task), *map(str, command)]
        self.process = None
        self.start()

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.command, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)

    def alive(self):
        return self.process.poll() is None

    def kill(self):
        if self.alive():
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.wait()


def function(name, memory, timeout):
    """What Lambda tells every environment of a function."""
    return {"AWS_LAMBDA_FUNCTION_NAME": name, "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(memory), "AWS_LAMBDA_FUNCTION_TIMEOUT": str(timeout),
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST", "AWS_REGION": "us-east-1", "_HANDLER": "bootstrap"}


class Runtime(Sandbox):
    """An environment whose runtime interface is elsewhere, as cargo-lambda's is."""

    def __init__(self, number, namespace, task, scratch, api, name="mayfly", memory=1769, timeout=900):
        environment = dict(function(name, memory, timeout), AWS_LAMBDA_RUNTIME_API=api)
        super().__init__(number, namespace, task, scratch, ["/var/task/bootstrap"], environment)


class Instance(Sandbox):
    """One emulator: one function environment, one invocation at a time (a second one at once would crash it)."""

    def __init__(self, number, namespace, task, program, scratch, name="mayfly", memory=1769, timeout=900):
        self.busy, self.invocations = False, 0
        command = [program, "--runtime-interface-emulator-address", f"127.0.0.1:{PORT}", "--runtime-api-address", f"127.0.0.1:{API}",
                   "/var/task/bootstrap"]
        super().__init__(number, namespace, task, scratch, command, function(name, memory, timeout))

    def invoke(self, body, seconds=900):
        """Status, headers and body of the answer. OSError, http.client.HTTPException: the environment is gone."""
        self.invocations += 1
        if not self.alive():
            self.start()
        end = time.monotonic() + 10
        while True:
            with net.inside(self.namespace):
                connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=seconds)
                try:
                    connection.connect()
                    break
                except ConnectionRefusedError:
                    if time.monotonic() > end or not self.alive():
                        raise
            time.sleep(0.02)
        try:
            connection.request("POST", "/2015-03-31/functions/function/invocations", body=body)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()


class Pool:
    """A function's environments: who is free takes the next invocation."""

    def __init__(self, instances):
        self.instances, self.lock, self.bills = instances, threading.Lock(), []

    def take(self):
        with self.lock:
            for instance in self.instances:
                if not instance.busy:
                    instance.busy = True
                    return instance
        return None

    def run(self, instance, body):
        """Runs one invocation on an instance that was taken, and gives it back."""
        begin = time.monotonic()
        bill = {"instance": instance.number, "begin": begin, "end": None}
        self.bills.append(bill)
        try:
            return instance.invoke(body)
        except (OSError, http.client.HTTPException) as e:
            return 200, {"X-Amz-Function-Error": "Unhandled"}, json.dumps({"errorType": "Runtime.ExitError", "errorMessage": str(e)}).encode()
        finally:
            bill["end"] = time.monotonic()
            with self.lock:
                instance.busy = False

    def running(self):
        return sum(1 for bill in self.bills if bill["end"] is None)

    def idle(self, seconds):
        """Does every invocation end within so many seconds?"""
        end = time.monotonic() + seconds
        while self.running() and time.monotonic() < end:
            time.sleep(0.02)
        return not self.running()

    def close(self):
        for instance in self.instances:
            getattr(instance, "kill", lambda: None)()
