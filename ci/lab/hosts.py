"""Two hosts on one machine, joined by a veth pair, and how each MPI library is started on both. Needs root."""
import os, shlex, shutil, sys, tempfile, uuid
from pathlib import Path

from . import net

HOST = Path(__file__).resolve().parent / "host"
# A private network's, as that of a platform: Mayfly does not encrypt there.
ADDRESSES = [f"{net.INSIDE}.1", f"{net.INSIDE}.2"]


class Hosts(net.Namespaces):
    """`with Hosts(tag) as hosts`. Its names and its scratch folder are gone at the end."""

    # Packets of a benchmark, which begins with barriers for a tenth of a second; of one by shared memory it takes less than a hundred to start and to end.
    FEWEST = 200

    def __init__(self, tag):
        if os.geteuid():
            sys.exit(f"{Path(sys.argv[0]).name}: --kind veth makes network namespaces, which needs root")
        super().__init__(tag)
        self.folder, self.starts = Path(tempfile.mkdtemp(prefix="mayfly-hosts.")), 0
        self.environment = {"LAB_HOSTS": self.tag, "LAB_BOOTS": str(self.folder)}
        try:
            one, other = map(self.namespace, ADDRESSES)
            net.run("ip", "link", "add", "eth0", "netns", one, "type", "veth", "peer", "name", "eth0", "netns", other)
            for place, address in zip((one, other), ADDRESSES):
                self.ip(place, f"addr add {address}/24 dev eth0")
                self.ip(place, "link set eth0 up")
                (self.folder / address).write_text(f"{uuid.uuid4()}\n")
        except BaseException:
            self.close()
            raise

    def packets(self):
        """How many have crossed the cable so far."""
        link = Path("/sys/class/net/eth0/statistics")
        count = lambda way: int(net.run("ip", "netns", "exec", self.names[0], "cat", link / f"{way}_packets"))
        return count("rx") + count("tx")

    def command(self, launcher, flags, ranks, arguments):
        """A command that runs the program with this many ranks, half of them on either host."""
        assert ranks % 2 == 0, "as many ranks here as there"
        half = str(ranks // 2)
        words = lambda *w: shlex.join(map(str, w))
        launcher = [*map(str, launcher)]
        if flags == "mayfly":
            self.starts += 1
            start = self.folder / f"start{self.starts}"
            hosts = [f"(until [ -s {start} ]; do sleep 0.01; done; MAYFLY_START_FILE={start} MAYFLY_INDEX={index} exec "
                     f"{words(HOST, address, launcher[0], 'host')} >{self.folder}/said 2>&1) &" for index, address in enumerate(ADDRESSES)]
            run = words(*launcher, "-n", ranks, "-per-instance", half, "--on", f"file:{start}", "--listen", f"{ADDRESSES[0]}:0", *arguments)
            script = f"trap 'kill $(jobs -p) 2>/dev/null' EXIT\n{' '.join(hosts)}\n{run}"
        elif flags == "hydra":
            script = words(*launcher, "-launcher", "ssh", "-launcher-exec", HOST, "-hosts", ",".join(ADDRESSES), "-ppn", half, "-n", ranks, *arguments)
        else:
            # Bound, the ranks of both hosts would share the first processors; and each host believes that all processors are its own.
            where, idle = ",".join(f"{address}:{half}" for address in ADDRESSES), int(ranks > os.cpu_count())
            spread = ["--map-by", f"ppr:{half}:node", "--bind-to", "none", "--mca", "mpi_yield_when_idle", idle]
            script = words(*launcher, "--prtemca", "plm_ssh_agent", HOST, "--host", where, *spread, "-n", ranks, *arguments)
        return [str(HOST), ADDRESSES[0], script]

    def close(self):
        super().close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
