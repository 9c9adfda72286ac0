"""A function with its instances, a rendezvous on the public side and a launcher somewhere else: what `mayfly run --on lambda:NAME` meets."""
import json, os, re, shutil, signal, subprocess, sys, tempfile, threading, time
from pathlib import Path

from . import cargo_lambda, front, net, rie

ROOT = Path(__file__).resolve().parent.parent.parent
PREFIX = Path(os.environ.get("MAYFLY_PREFIX", ROOT / "target/mayfly"))
PEERS = Path(os.environ.get("MAYFLY_PEERS", ROOT / "target/peers"))
MAYFLY = os.environ.get("MAYFLY", str(PREFIX / "bin/mayfly"))
KEY, SECRET = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"  # AWS's documentation's own
FUNCTION = "mayfly"


class Wrong(Exception):
    pass


def check(condition, text):
    if not condition:
        raise Wrong(text)


def skip(text):
    print(f"{Path(sys.argv[0]).name}: skipped: {text}", file=sys.stderr)
    sys.exit(77)


def needs():
    """What the lab needs of this machine."""
    if os.geteuid():
        skip("needs root, for network namespaces")
    for tool in ("ip", "nft", "unshare", "unzip"):
        if not shutil.which(tool, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin"):
            skip(f"{tool} is missing; run ci/setup")
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    if not Path(MAYFLY).exists():
        sys.exit(f"{MAYFLY} is missing; run ci/install")


def pack(scratch, program, *words):
    """The unpacked zip of a program, as Lambda would lay it out, and the zip's size in bytes. This machine's libc goes along: it is newer than Lambda's."""
    zipped = scratch / f"{Path(program).name}.zip"
    done = subprocess.run([MAYFLY, "pack", str(program), *map(str, words), "--libc", "--to", str(zipped), "--prefix", str(PREFIX)], capture_output=True, text=True, timeout=300)
    check(done.returncode == 0, f"mayfly pack {program}: {done.stderr}")
    task = scratch / f"task-{Path(program).name}"
    shutil.rmtree(task, ignore_errors=True)
    subprocess.run(["unzip", "-q", str(zipped), "-d", str(task)], check=True)
    total = sum(f.stat().st_size for f in task.rglob("*") if f.is_file())
    check(total <= 250 << 20, f"{zipped} is {total >> 20} MB unzipped; Lambda takes 250")
    return task, zipped.stat().st_size


class Process:
    """A process whose output is gathered line by line, with times."""

    def __init__(self, words, environment=None, cwd=None, descriptors=()):
        self.begin = time.monotonic()
        self.process = subprocess.Popen([str(word) for word in words], env=environment, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, start_new_session=True, pass_fds=descriptors, text=True, errors="replace")
        self.lines, self.times = [], []
        self.thread = threading.Thread(target=self.gather, daemon=True)
        self.thread.start()

    def gather(self):
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            self.times.append(time.monotonic())

    def wait_for(self, pattern, seconds=20):
        end = time.monotonic() + seconds
        while True:
            over = self.process.poll() is not None and not self.thread.is_alive()
            for line in list(self.lines):
                if found := re.search(pattern, line):
                    return found
            if over or time.monotonic() > end:
                raise Wrong(f"never said {pattern!r}: {self.tail()}")
            time.sleep(0.005)

    def end(self, seconds):
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Wrong(f"still running after {seconds} s: {self.tail()}") from None
        self.took = time.monotonic() - self.begin
        self.thread.join(2)
        return status

    def kill(self):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()

    def tail(self):
        return " / ".join(self.lines)[-3000:]


def within(namespace, words):
    return ["ip", "netns", "exec", namespace, *words]


class Cloud:
    """Namespaces, instances, front and rendezvous; `with Cloud(...) as cloud`."""

    def __init__(self, task, kinds, emulator="rie", **function):
        self.scratch = Path(tempfile.mkdtemp(prefix="mayfly-lambda."))
        self.net = net.Net(os.getpid())
        self.pool = self.front = self.rendezvous = None
        try:
            self.build(task, kinds, emulator, function)
        except BaseException:
            self.close()
            raise

    def build(self, task, kinds, emulator, function):
        places = [self.net.behind(f"fn{number}", kind)[0] for number, kind in enumerate(kinds)]
        self.emulator = None
        if emulator == "rie":
            program = rie.emulator(PEERS)
            if program is None:
                skip("AWS's emulator is missing; run ci/setup")
            instances = [rie.Instance(number, place, task, program, self.scratch, name=FUNCTION, **function) for number, place in enumerate(places)]
        else:
            program = PEERS / "lambda/bin/cargo-lambda"
            if not program.exists():
                skip("cargo-lambda is missing; run ci/setup")
            self.emulator = cargo_lambda.Emulator(program, self.net.public, places, task, self.scratch, FUNCTION)
            instances = self.emulator.instances
        self.pool = rie.Pool(instances)
        self.front = front.Front(self.pool, {KEY: SECRET}, FUNCTION, self.net.public, f"{net.PUBLIC}.1")
        # Whoever launches sits behind a translator as well.
        self.desk, _ = self.net.behind("desk", "drop")
        self.key = self.scratch / "operator.key"
        self.serve()

    def serve(self):
        self.rendezvous = Process(within(self.net.public, [
            MAYFLY, "serve", "--listen", f"{net.PUBLIC}.1:7717", "--key-file", self.key, *SERVE]))
        found = self.rendezvous.wait_for(r"listening on (https?://\S+)")
        self.place = found.group(1)

    def run(self, *words, secret=SECRET, **environment):
        """`mayfly run` at the desk."""
        variables = {"PATH": os.environ["PATH"], "HOME": str(self.scratch), "AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": KEY,
                     "AWS_SECRET_ACCESS_KEY": secret, "AWS_ENDPOINT_URL_LAMBDA": self.front.url,
                     "MAYFLY_OPERATOR_KEY": self.key.read_text().strip(), **environment}
        return Process(within(self.desk, [MAYFLY, "run", "--rendezvous", self.place, "--on", f"lambda:{FUNCTION}", *words]), variables, self.scratch)

    def logs(self):
        """What the instances wrote, for the case that something is wrong."""
        return "\n".join(f"-- {log.name}\n{log.read_text(errors='replace')[-1500:]}" for log in sorted(self.scratch.glob("instance*.log")))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        for part in (self.pool, self.front):
            if part:
                part.close()
        if getattr(self, "emulator", None):
            self.emulator.kill()
        self.net.close()
        if self.rendezvous:
            self.rendezvous.kill()
        shutil.rmtree(self.scratch, ignore_errors=True)


SERVE = ["--relay-listen", "7718,7719"]  # Words for `mayfly serve` beyond where and which key.
LINK = re.compile(r"rank (\d+): rank (\d+) by tcp (\S+).*? in ([\d.]+) ms \((encrypted|not encrypted)\)")


def links(lines):
    """Which way each pair went: {(lower, higher): [(path, milliseconds, encrypted)]}."""
    found = {}
    for line in lines:
        if match := LINK.search(line):
            me, peer, path, took, sealed = match.groups()
            pair = tuple(sorted((int(me), int(peer))))
            found.setdefault(pair, []).append((path, float(took), sealed == "encrypted"))
    return found
