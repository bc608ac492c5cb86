"""A real Slurm of one node on loopback, for tests, in one folder: munge, MariaDB and Slurm's three daemons.

`python tests/engines/one_node_slurm.py COMMAND ...` runs a command in it. It needs root and Debian's packages
slurm-wlm, slurmdbd, munge and mariadb-server. Memory is enforced by polling, so no cgroups are needed. The
node has two GPUs that are none, so that jobs are told which of them is theirs.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

PROGRAMS = (
    "unshare",
    "mount",
    "munged",
    "mariadbd",
    "mariadb-install-db",
    "slurmdbd",
    "slurmctld",
    "slurmd",
    "sbatch",
    "sacctmgr",
)
GPUS, CPUS = 2, 64
"""What the node says it has, so that jobs fit as the profiles ask for them. No job is bound to cores."""
INSIDE = "ALIGNCVC_ONE_NODE_SLURM"
"""Set in the process that has a mount namespace of its own."""
START_SECONDS = 300.0
CONF = """
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={slurmctld}
SlurmdPort={slurmd}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SwitchType=switch/none
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
TaskProlog={folder}/told
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={slurmdbd}
AccountingStoragePass={folder}/munge.socket
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=sched_interval=2
GresTypes=gpu
ReturnToService=2
SlurmdParameters=config_overrides
SlurmctldTimeout=600
SlurmdTimeout=600
MessageTimeout=90
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory_mb} Gres=gpu:{gpus} State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
DBD = """
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={slurmdbd}
SlurmUser=root
LogFile={folder}/slurmdbd.log
PidFile={folder}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={mariadb}
StorageUser=slurm
StoragePass={password}
StorageLoc=slurm
"""
TOLD = """#!/bin/sh
echo "$SLURM_JOB_ID $CUDA_VISIBLE_DEVICES" >> {folder}/devices
"""


def missing() -> str | None:
    """Why Slurm cannot be started here, or None."""
    if os.geteuid():
        return "starting Slurm's daemons needs root"
    absent = [name for name in PROGRAMS if program(name) is None]
    return (
        f"not installed: {', '.join(absent)} (apt-get install slurm-wlm slurmdbd munge mariadb-server)"
        if absent
        else None
    )


def program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


@contextlib.contextmanager
def one_node_slurm(folder: Path, memory_mb: int = 32000) -> Iterator[dict[str, str]]:
    """Start it in an empty folder, yield the environment that its commands need, and stop it.

    memory_mb: that the node says it has. `folder`/devices gets a line "job devices" for each step of a job.
    Raises RuntimeError, with the end of a log, if a part does not start.
    """
    values = {
        name: str(port)
        for name, port in zip(("slurmctld", "slurmd", "slurmdbd", "mariadb"), _ports(4), strict=True)
    }
    values |= {"folder": str(folder), "host": socket.gethostname().split(".")[0], "gpus": str(GPUS)}
    values |= {"memory_mb": str(memory_mb), "cpus": str(CPUS), "password": secrets.token_hex(16)}
    folder.chmod(0o755)
    for name in ("state", "spool", "database"):
        (folder / name).mkdir()
    for name, text in {"slurm.conf": CONF, "slurmdbd.conf": DBD, "told": TOLD}.items():
        (folder / name).write_text(text.format(**values))
    (folder / "slurmdbd.conf").chmod(0o600)
    (folder / "told").chmod(0o755)
    for number in range(GPUS):
        os.mknod(folder / f"gpu{number}", 0o666 | stat.S_IFCHR, os.makedev(1, 3))  # what /dev/null is
    (folder / "gres.conf").write_text(f"Name=gpu File={folder}/gpu[0-{GPUS - 1}]\n")
    user = pwd.getpwuid(os.geteuid()).pw_name
    environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf"), "USER": user}
    environment = {key: value for key, value in environment.items() if not key.startswith("SLURM_JOB")}
    parts = _Parts(folder, environment)
    try:
        _start_munge(parts)
        _start_database(parts, values)
        parts.start("slurmdbd", "-D", "-v")
        parts.wait("slurmdbd", "sacctmgr", "-n", "list", "cluster")
        parts.ask("sacctmgr", "-i", "add", "cluster", "one", check=False)
        parts.ask("sacctmgr", "-i", "add", "account", "tests", "Cluster=one", check=False)
        parts.ask("sacctmgr", "-i", "add", "user", user, "Account=tests", check=False)
        parts.start("slurmctld", "-D", "-f", environment["SLURM_CONF"])
        parts.start("slurmd", "-D", "-f", environment["SLURM_CONF"], "-N", values["host"])
        parts.wait("slurmctld", "sh", "-c", "sinfo -h -o %t | grep -qE '^(idle|mix|alloc)$'")
        yield environment
    finally:
        parts.stop()


class _Parts:
    """Daemons in the foreground, each with a log."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder, self.environment = folder, environment
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, *arguments: str) -> None:
        with (self.folder / f"{name}.out").open("wb") as log:
            self.running[name] = subprocess.Popen(
                [str(program(name)), *arguments],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def ask(self, name: str, *arguments: str, check: bool = True) -> int:
        command = [str(program(name)), *arguments]
        said = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=START_SECONDS
        )
        if check and said.returncode:
            raise RuntimeError(f"{name} failed: {said.stderr[-500:] or said.stdout[-500:]}")
        return said.returncode

    def wait(self, daemon: str, *question: str) -> None:
        """Until the command succeeds."""
        deadline = time.monotonic() + START_SECONDS
        while self.ask(*question, check=False):
            if time.monotonic() > deadline or any(each.poll() is not None for each in self.running.values()):
                logs = [
                    self.folder / f"{name}{end}" for name in (daemon, "slurmd") for end in (".out", ".log")
                ]
                raise RuntimeError(" | ".join(p.read_text()[-800:] for p in logs if p.is_file()))
            time.sleep(0.5)

    def stop(self) -> None:
        for process in reversed(self.running.values()):
            process.terminate()
        for process in reversed(self.running.values()):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(30)
            process.kill()
            process.wait()


def _start_munge(parts: _Parts) -> None:
    key = parts.folder / "munge.key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o400)
    files = {name: f"--{name}-file={parts.folder}/munge.{name}" for name in ("key", "pid", "log", "seed")}
    parts.start("munged", "--foreground", "--force", f"--socket={parts.folder}/munge.socket", *files.values())
    parts.wait("munged", "munge", "-n", "-S", f"{parts.folder}/munge.socket", "-o", os.devnull)


def _start_database(parts: _Parts, values: dict[str, str]) -> None:
    data, where = parts.folder / "database", f"--socket={parts.folder}/mariadb.socket"
    user = f"--user={parts.environment['USER']}"
    parts.ask(
        "mariadb-install-db",
        "--no-defaults",
        user,
        f"--datadir={data}",
        "--auth-root-authentication-method=socket",
    )
    parts.start(
        "mariadbd", "--no-defaults", user, f"--datadir={data}", where, f"--port={values['mariadb']}",
        "--bind-address=127.0.0.1", f"--pid-file={parts.folder}/mariadb.pid", "--innodb-buffer-pool-size=64M",
        "--innodb-lock-wait-timeout=900",
    )  # fmt: skip
    parts.wait("mariadbd", "mariadb", "--no-defaults", where, "-e", "select 1")
    for host in ("localhost", "127.0.0.1"):
        grant = f"grant all on slurm.* to slurm@'{host}' identified by '{values['password']}'"
        parts.ask("mariadb", "--no-defaults", where, "-e", grant)


def _ports(count: int) -> list[int]:
    """Free ports of loopback."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]


def main() -> int:
    """Run the command of the line in a Slurm of its own; its exit status.

    In a private mount namespace, since some clients read nothing but /etc/slurm: nothing of it stays.
    """
    if fault := missing():
        sys.exit(f"error: {fault}")
    if INSIDE not in os.environ:
        again = ["unshare", "--mount", "--propagation", "private", sys.executable, *sys.argv]
        os.execvpe(again[0], again, {**os.environ, INSIDE: "1"})
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # so that the daemons end too
    with tempfile.TemporaryDirectory(prefix="slurm-") as name:
        subprocess.run(["mount", "--bind", name, "/etc/slurm"], check=True)
        try:
            with one_node_slurm(Path(name)) as environment:
                return subprocess.run(sys.argv[1:], env=environment).returncode
        finally:
            subprocess.run(["umount", "/etc/slurm"], check=True)


if __name__ == "__main__":
    sys.exit(main())
