"""A Slurm cluster of one node, of Debian's slurm-wlm and munge, in a folder."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel")
SECONDS = 60
PATHS = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


def is_there() -> bool:
    """True if Slurm can be started here, which takes root."""
    return os.geteuid() == 0 and all(shutil.which(name, path=PATHS) for name in NEEDED)


def _port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Slurm:
    """The cluster, from `__enter__` to `__exit__`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf"), "PATH": PATHS}
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Slurm:
        for name in ("state", "spool"):
            (self.folder / name).mkdir()
        self.folder.chmod(0o755)
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        node = socket.gethostname().partition(".")[0]
        lines = {
            "ClusterName": "test", "SlurmctldHost": f"{node}(127.0.0.1)",
            "AuthType": "auth/munge", "AuthInfo": f"socket={self.folder}/munge.socket",
            "CredType": "cred/munge", "SlurmUser": "root", "SlurmdUser": "root",
            "ProctrackType": "proctrack/linuxproc", "TaskPlugin": "task/none",
            "JobAcctGatherType": "jobacct_gather/none", "ReturnToService": "2",
            "AccountingStorageType": "accounting_storage/none", "MpiDefault": "none",
            "SelectType": "select/cons_tres", "SelectTypeParameters": "CR_CPU",
            "CommunicationParameters": "NoInAddrAny", "SlurmctldPort": str(_port()),
            "SlurmdPort": str(_port()), "StateSaveLocation": f"{self.folder}/state",
            "SlurmdSpoolDir": f"{self.folder}/spool", "SlurmctldPidFile": f"{self.folder}/c.pid",
            "SlurmdPidFile": f"{self.folder}/d.pid", "SchedulerParameters": "sched_min_interval=1",
            "SlurmctldTimeout": "300", "SlurmdTimeout": "300", "MessageTimeout": "60",
        }  # fmt: skip
        cpus = os.cpu_count() or 1
        text = "".join(f"{name}={value}\n" for name, value in lines.items())
        text += f"NodeName={node} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN\n"
        text += f"PartitionName=main Nodes={node} Default=YES MaxTime=INFINITE State=UP\n"
        (self.folder / "slurm.conf").write_text(text)
        at = self.folder
        munge = (f"--key-file={key}", f"--socket={at}/munge.socket", f"--pid-file={at}/m.pid")
        self._start("munged", "--foreground", "--force", *munge, f"--seed-file={at}/m.seed",
                    f"--log-file={at}/m.log")  # fmt: skip
        self._until(lambda: (at / "munge.socket").exists(), "munge")
        self._start("slurmctld", "-D")
        self._start("slurmd", "-D", "-N", node)
        self._until(lambda: self.said("sinfo", "-h", "-o", "%T") in ("idle", "mixed"), "slurm")
        return self

    def __exit__(self, *_: object) -> None:
        self.said("scancel", "--user=root")
        for process in reversed(self._processes):
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _start(self, name: str, *arguments: str) -> None:
        program = shutil.which(name, path=PATHS)
        assert program is not None
        with (self.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [program, *arguments], env=self.environment, stdout=log, stderr=log
            )
        self._processes.append(process)

    def _until(self, done: object, what: str) -> None:
        assert callable(done)
        deadline = time.monotonic() + SECONDS
        while not done():
            assert time.monotonic() < deadline, f"{what} does not start"
            time.sleep(0.3)

    def said(self, *command: str) -> str:
        """The output of a command of Slurm's, or of one that uses them."""
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, cwd=self.folder
        )
        return done.stdout.strip() if done.returncode == 0 else f"failed: {done.stderr.strip()}"

    def state(self, job: str) -> set[str]:
        """States of a job, or of the tasks of an array, that the controller still knows."""
        found = self.said("squeue", "-h", "-t", "all", "-r", "-j", job, "-o", "%T")
        return {*found.split()}
