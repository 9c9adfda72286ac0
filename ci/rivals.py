"""The MPI libraries that measurements set side by side, and how each is started: Mayfly, and MPICH, Open MPI and Intel MPI from PyPI (ci/setup)."""
import contextlib, os, signal, subprocess, sys, time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PEERS = Path(os.environ.get("MAYFLY_PEERS", ROOT / "target/peers"))
PREFIX = Path(os.environ.get("MAYFLY_PREFIX", ROOT / "target/mayfly"))
IMB = PEERS / "impi/bin/IMB-MPI1"
MPICH, INTEL, OPENMPI = PEERS / "mpich", PEERS / "impi", PEERS / "openmpi"
MAYFLY = {
    "command": [str(PREFIX / "bin/mayfly"), "run"],
    "shm": {"MAYFLY_TRANSPORT": "shm"},
    "tcp": {"MAYFLY_TRANSPORT": "tcp"},
    "veth": {},
    "hosts": "mayfly",
}

# How each is started, with which variables for "shm", "tcp" and "veth" (half the ranks on either host of lab/hosts.py; those of one host share memory), which
# way on two hosts, and the ABI of the programs that it runs.
RIVALS = {
    "Mayfly": {**MAYFLY, "abi": "mpich"},
    "MPICH 5.0.2": {
        "abi": "mpich",
        "command": [str(MPICH / "bin/mpiexec")],
        "all": {"LD_LIBRARY_PATH": str(MPICH / "lib")},
        "shm": {},
        # Without these its UCX talks through shared memory of its own.
        "tcp": {"MPIR_CVAR_NOLOCAL": "1", "MPIR_CVAR_CH4_NETMOD": "ofi", "FI_PROVIDER": "tcp"},
        "veth": {"MPIR_CVAR_CH4_NETMOD": "ofi", "FI_PROVIDER": "tcp"},
        "hosts": "hydra",
    },
    "Intel MPI 2021.18": {
        "abi": "mpich",
        "command": [str(INTEL / "bin/mpiexec")],
        "all": {"LD_LIBRARY_PATH": str(INTEL / "lib"), "I_MPI_ROOT": str(INTEL), "FI_PROVIDER_PATH": str(INTEL / "lib")},
        "shm": {"I_MPI_FABRICS": "shm"},
        "tcp": {"I_MPI_FABRICS": "ofi", "I_MPI_COLL_INTRANODE": "pt2pt", "FI_PROVIDER": "tcp"},
        # Pinned, the ranks of both hosts would share the first processors.
        "veth": {"I_MPI_FABRICS": "shm:ofi", "FI_PROVIDER": "tcp", "I_MPI_PIN": "off"},
        "hosts": "hydra",
    },
    "Open MPI 5.0.11": {
        "abi": "openmpi",
        "command": [str(OPENMPI / "bin/mpiexec"), "--oversubscribe", "--allow-run-as-root"],
        "all": {"LD_LIBRARY_PATH": str(OPENMPI / "lib")},
        "shm": {"OMPI_MCA_btl": "self,sm", "OMPI_MCA_pml": "ob1"},
        "tcp": {"OMPI_MCA_btl": "self,tcp", "OMPI_MCA_pml": "ob1", "OMPI_MCA_btl_tcp_if_include": "lo"},
        "veth": {"OMPI_MCA_btl": "self,sm,tcp", "OMPI_MCA_pml": "ob1", "OMPI_MCA_btl_tcp_if_include": "eth0"},
        "hosts": "prte",
    },
    # The same program as Open MPI's.
    "Mayfly (Open MPI's ABI)": {**MAYFLY, "abi": "openmpi"},
}


def run(rival, kind, ranks, arguments, seconds=60, partly=False, hosts=None):
    """Runs a program: its output (None when it failed, or did not end; `partly`: then what it had said), how long it took in seconds, and why it failed.
    Of "veth" `hosts` are the two hosts; what did not cross the cable has failed."""
    setup = RIVALS[rival]
    if kind != "veth":
        return here(setup, kind, ranks, arguments, seconds, partly)
    environment = dict(os.environ, **setup.get("all", {}), **setup[kind])
    before = hosts.packets()
    out, took, why = execute(hosts.command(setup["command"], setup["hosts"], ranks, arguments), environment | hosts.environment, seconds, partly)
    hosts.kill()
    crossed = hosts.packets() - before
    if out and crossed < hosts.FEWEST:
        return None, took, f"only {crossed} packets crossed the cable"
    return out, took, why


def here(setup, kind, ranks, arguments, seconds, partly=False, folder=None):
    """The same on this host, in this working folder, of a library that RIVALS need not have."""
    environment = dict(os.environ, **setup.get("all", {}), **setup[kind])
    return execute(setup["command"] + ["-n", str(ranks)] + [str(a) for a in arguments], environment, seconds, partly, folder)


def execute(command, environment, seconds, partly=False, folder=None):
    begin = time.monotonic()
    process = subprocess.Popen(command, env=environment, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            out, err = process.communicate(timeout=5)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
        return (out if partly else None), seconds, f"not finished after {seconds} s"
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        raise
    return (out if process.returncode == 0 else None), time.monotonic() - begin, err.strip()[-300:]


def compile_for(folder, name):
    """A program of mpi-tests/bench for each ABI, by that peer's own compiler."""
    source, programs = ROOT / "mpi-tests/bench" / name, {}
    for abi, peer in (("mpich", MPICH), ("openmpi", OPENMPI)):
        mpicc = peer / "bin/mpicc"
        if not mpicc.exists():
            print(f"{mpicc} is missing; run ci/setup", file=sys.stderr)
            sys.exit(77)
        programs[abi] = folder / f"{Path(name).stem}-{abi}"
        environment = dict(os.environ, PATH=f"{peer / 'bin'}:{os.environ['PATH']}", OPAL_PREFIX=str(OPENMPI), MPICH_CC="gcc")
        subprocess.run([mpicc, "-O2", "-w", "-o", programs[abi], source], check=True, env=environment)
    return programs
