"""A Slurm cluster of one node, this machine: its daemons with files of their own in a folder of a test's."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

TOOLS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol", "sinfo")

CONFIG = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmdPort={other}
AuthType=auth/munge
AuthInfo=socket={place}/munge.socket,cred_expire=20
CryptoType=crypto/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={place}/state
SlurmdSpoolDir={place}/spool
SlurmctldPidFile={place}/slurmctld.pid
SlurmdPidFile={place}/slurmd.pid
SlurmctldLogFile={place}/slurmctld.log
SlurmdLogFile={place}/slurmd.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
KillWait=2
MessageTimeout=5
SchedulerParameters=sched_interval=1,batch_sched_delay=0
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=gpu Nodes={host} Default=YES MaxTime=INFINITE DefaultTime=20 State=UP
"""


def lacks():
    """Why no cluster can be started here; nothing if one can."""
    if os.name != "posix" or os.geteuid() != 0:
        return "only root can start one"
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    missing = [tool for tool in TOOLS if shutil.which(tool, path=path) is None]
    return f"no {', '.join(missing)}: apt-get install slurm-wlm munge" if missing else ""


class Cluster:
    """Started and ended as a context; ``environment`` lets its commands find it."""

    def __init__(self, place: Path, cpus: int = 4) -> None:
        self.place, self.cpus = place, cpus
        self.environment = {
            **os.environ,
            "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin",
            "SLURM_CONF": str(place / "slurm.conf"),
        }
        self.started = []

    def __enter__(self):
        try:
            return self._start()
        except BaseException:
            self.__exit__()
            raise

    def _start(self):
        for name in ("state", "spool"):
            (self.place / name).mkdir(parents=True)
        self.place.chmod(0o755)
        host = socket.gethostname().partition(".")[0]
        ports = [_free_port() for _ in range(2)]
        told = {"host": host, "port": ports[0], "other": ports[1], "place": self.place, "cpus": self.cpus}
        (self.place / "slurm.conf").write_text(CONFIG.format(**told))
        key = self.place / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        self._run(
            "munged",
            "--foreground",
            "--force",
            f"--key-file={key}",
            f"--socket={self.place}/munge.socket",
            f"--pid-file={self.place}/munged.pid",
            f"--seed-file={self.place}/munge.seed",
            f"--log-file={self.place}/munged.log",
        )
        self._wait(lambda: (self.place / "munge.socket").exists(), "munged")
        self._run("slurmctld", "-D", "-i")
        self._wait(lambda: "UP" in self.ask("scontrol", "ping"), "slurmctld")
        self._run("slurmd", "-D", "-N", host)
        self._wait(lambda: self.ask("sinfo", "-h", "-o", "%t").strip() in ("idle", "mix"), "slurmd")
        return self

    def ask(self, *command):
        told = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        return told.stdout

    def _run(self, *command):
        with open(self.place / f"{command[0]}.out", "wb") as out:
            daemon = subprocess.Popen(command, env=self.environment, stdout=out, stderr=out)
        self.started.append((command[0], daemon))

    def _wait(self, is_ready, name):
        until = time.monotonic() + 30
        while not is_ready():
            (_, daemon) = self.started[-1]
            if daemon.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"{name} does not start: {self.said(name)}")
            time.sleep(0.1)

    def said(self, name):
        """The last lines of a daemon."""
        files = [self.place / f"{name}.out", self.place / f"{name}.log"]
        return " ".join(path.read_text(errors="replace")[-600:] for path in files if path.exists())

    def __exit__(self, *_):
        self.ask("scancel", "--signal=KILL", "--full", "--user=root")
        for _, daemon in reversed(self.started):
            daemon.terminate()
        for _, daemon in reversed(self.started):
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()


def _free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]
