"""A SLURM cluster of one node on this machine: Debian's packages, started on loopback.

apt-get install --no-install-recommends slurm-wlm munge
python tests/support/slurm.py sinfo        # run a command while the cluster is up
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol")

CONFIGURATION = """
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
SlurmUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
ReturnToService=2
SchedulerParameters=sched_interval=2
KillWait=5
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP OverSubscribe=FORCE:4
"""


def missing_requirement() -> str | None:
    """Return why SLURM cannot be started on this machine; None if it can."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        return f"SLURM is not installed (no {', '.join(missing)}): apt-get install slurm-wlm munge"
    return None if os.geteuid() == 0 else "SLURM's daemons must be started as root"


@contextmanager
def one_node_slurm() -> Iterator[None]:
    """Run the daemons of a cluster for the time of the block, in which SLURM's commands work."""
    folder = Path(tempfile.mkdtemp(prefix="slurm"))
    folder.chmod(0o755)
    daemons: list[subprocess.Popen] = []
    try:
        key = folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(128))
        places = {"key-file": key.name, "socket": "munge.socket", "pid-file": "munge.pid", "log-file": "munge.log",
                  "seed-file": "munge.seed"}  # fmt: skip
        options = [f"--{option}={folder / name}" for option, name in places.items()]
        daemons.append(_start(folder, "munged", "--foreground", "--force", *options))
        _wait(lambda: (folder / "munge.socket").exists())
        file = folder / "slurm.conf"
        host = socket.gethostname().split(".")[0]
        file.write_text(CONFIGURATION.format(folder=folder, host=host, ports=_free_ports(), cpus=os.cpu_count()))
        os.environ["SLURM_CONF"] = str(file)
        daemons.append(_start(folder, "slurmctld", "-D", "-c"))
        daemons.append(_start(folder, "slurmd", "-D"))
        _wait(lambda: "idle" in subprocess.run(["sinfo", "-h"], capture_output=True, text=True).stdout)
        try:
            yield
        finally:
            _cancel_jobs()
    finally:
        os.environ.pop("SLURM_CONF", None)
        for daemon in reversed(daemons):
            daemon.send_signal(signal.SIGTERM)
            try:
                daemon.wait(60)
            except subprocess.TimeoutExpired:
                daemon.kill()
        shutil.rmtree(folder, ignore_errors=True)


def _cancel_jobs() -> None:
    """Cancel all jobs and wait for their end: without slurmd, their processes would never be killed."""
    subprocess.run(["scancel", f"--user={os.getuid()}"], check=False)
    _wait(lambda: not subprocess.run(["squeue", "-h"], capture_output=True, text=True).stdout)
    _wait(lambda: "idle" in subprocess.run(["sinfo", "-h"], capture_output=True, text=True).stdout)


def _start(folder: Path, *command: str) -> subprocess.Popen:
    with (folder / f"{command[0]}.out").open("w") as output:
        return subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)


def _free_ports() -> list[int]:
    sockets = [socket.socket() for _ in range(2)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _wait(until: Callable[[], object], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not until():
        if time.monotonic() > deadline:
            raise TimeoutError(f"SLURM did not answer within {seconds:.0f} s")
        time.sleep(0.1)


if __name__ == "__main__":
    with one_node_slurm():
        sys.exit(subprocess.call(sys.argv[1:]))
