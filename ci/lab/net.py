"""A small internet of network namespaces: a public side, and places behind address translators of the kernel (nft). Needs root.

Every place behind a translator has the same private address, as functions have: it leads nowhere else."""
import ctypes, os, subprocess, threading
from contextlib import contextmanager, suppress

PUBLIC = "203.0.113"  # TEST-NET-3 (RFC 5737); no address of these leaves the namespaces.
INSIDE = "10.0.0"
PUBLIC6 = "2001:db8:"  # For documentation (RFC 3849).
CLONE_NEWNET = 0x40000000

# What a translator does with a connection from outside that nobody inside asked for, and how it picks ports.
KINDS = {
    "drop": ("drop", ""),
    "reject": ("reject with tcp reset", ""),
    # A port of its own for each destination: nobody can tell it beforehand.
    "symmetric": ("drop", "fully-random"),
}


def run(*words, **more):
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, **more)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, words))}: {done.stderr.strip()}")
    return done.stdout


@contextmanager
def inside(namespace):
    """The sockets that this thread makes here belong to the namespace, and stay there."""
    libc = ctypes.CDLL(None, use_errno=True)
    own = os.open(f"/proc/self/task/{threading.get_native_id()}/ns/net", os.O_RDONLY)
    other = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    try:
        if libc.setns(other, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"cannot enter {namespace}")
        try:
            yield
        finally:
            if libc.setns(own, CLONE_NEWNET):
                os._exit(70)  # This thread would go on in the wrong place.
    finally:
        os.close(own)
        os.close(other)


class Namespaces:
    def __init__(self, tag):
        self.tag, self.names = f"mayfly{tag}", []

    def namespace(self, name):
        name = f"{self.tag}-{name}"
        run("ip", "netns", "add", name)
        self.names.append(name)
        self.ip(name, "link set lo up")
        return name

    def ip(self, namespace, words):
        run("ip", "-n", namespace, *words.split())

    def pids(self):
        """Of whatever runs in them."""
        said = [subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True).stdout for name in self.names]
        return [int(pid) for words in said for pid in words.split()]

    def kill(self):
        """Ends it."""
        for pid in self.pids():
            with suppress(OSError):
                os.kill(pid, 9)

    def close(self):
        self.kill()
        for name in self.names:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)
        self.names = []


class Net(Namespaces):
    def __init__(self, tag):
        super().__init__(tag)
        self.count = 0
        self.public = self.namespace("public")
        self.ip(self.public, "link add bridge type bridge")
        self.ip(self.public, f"addr add {PUBLIC}.1/24 dev bridge")
        self.ip(self.public, f"addr add {PUBLIC6}:1/64 dev bridge nodad")
        self.ip(self.public, "link set bridge up")

    def behind(self, name, kind):
        """A namespace behind a translator of this kind; and the public address it is seen with."""
        unasked, ports = KINDS[kind]
        self.count += 1
        address = f"{PUBLIC}.{10 + self.count}"
        gate, place = self.namespace(f"{name}-nat"), self.namespace(name)
        run("ip", "link", "add", "wan", "netns", gate, "type", "veth", "peer", "name", f"port{self.count}", "netns", self.public)
        run("ip", "link", "add", "lan", "netns", gate, "type", "veth", "peer", "name", "eth0", "netns", place)
        self.ip(self.public, f"link set port{self.count} master bridge up")
        self.ip(gate, f"addr add {address}/24 dev wan")
        self.ip(gate, f"addr add {INSIDE}.1/24 dev lan")
        self.ip(place, f"addr add {INSIDE}.2/24 dev eth0")
        for where, link in ((gate, "wan"), (gate, "lan"), (place, "eth0")):
            self.ip(where, f"link set {link} up")
        self.ip(place, f"route add default via {INSIDE}.1")
        self.ip(gate, f"route add default via {PUBLIC}.1")
        run("ip", "netns", "exec", gate, "sysctl", "-qw", "net.ipv4.ip_forward=1")
        rules = f"""
            table ip translator {{
                chain out {{ type nat hook postrouting priority srcnat; oifname "wan" masquerade {ports}; }}
                chain here {{ type filter hook input priority filter; iifname "wan" ct state new {unasked}; }}
                chain through {{ type filter hook forward priority filter; iifname "wan" ct state new {unasked}; }}
            }}"""
        run("ip", "netns", "exec", gate, "nft", "-f", "-", input=rules)
        return place, address

    def outside(self, name):
        """A namespace on the public side, with no translator; and its address."""
        self.count += 1
        address, place = f"{PUBLIC}.{10 + self.count}", self.namespace(name)
        run("ip", "link", "add", "eth0", "netns", place, "type", "veth", "peer", "name", f"port{self.count}", "netns", self.public)
        self.ip(self.public, f"link set port{self.count} master bridge up")
        self.ip(place, f"addr add {address}/24 dev eth0")
        self.ip(place, "link set eth0 up")
        return place, address

    def walled(self, name):
        """A namespace with a global IPv6 address, no other, and a firewall that drops what nobody inside asked for; and its address."""
        self.count += 1
        address, place = f"{PUBLIC6}:{10 + self.count}", self.namespace(name)
        run("ip", "link", "add", "eth0", "netns", place, "type", "veth", "peer", "name", f"port{self.count}", "netns", self.public)
        self.ip(self.public, f"link set port{self.count} master bridge up")
        self.ip(place, f"addr add {address}/64 dev eth0 nodad")
        self.ip(place, "link set eth0 up")
        rules = """
            table ip6 wall {
                chain here { type filter hook input priority filter; iifname "eth0" meta l4proto tcp ct state new drop; }
            }"""
        run("ip", "netns", "exec", place, "nft", "-f", "-", input=rules)
        return place, address
