"""Redis and PostgreSQL from Debian's packages, started on free loopback ports in a folder of their own.

Both survive being killed: Redis writes every change to its log before it answers, PostgreSQL as it always does.
"""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 15.0
_POSTGRES_FOLDERS = Path("/usr/lib/postgresql")


class ServerMissing(RuntimeError):
    """A program is not installed, or did not start."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class StoreServer:
    """One server on one port for ever; it may be killed and started again. `user` owns its process; None: ours."""

    def __init__(self, name: str, port: int, command: Sequence[str], log: Path, user: str | None = None) -> None:
        self.name, self.port = name, port
        self._command, self._log, self._user = command, log, user
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when its port answers. Raises ServerMissing."""
        with self._log.open("ab") as sink:
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                self._command,
                stdout=sink,
                stderr=sink,
                cwd="/",
                user=self._user,
                extra_groups=[] if self._user else None,
                start_new_session=True,
            )
        give_up_at = time.monotonic() + START_TIMEOUT_S
        while not self.is_ready():
            if self._process.poll() is not None or time.monotonic() > give_up_at:
                raise ServerMissing(f"{self.name} did not start; see {self._log}")
            time.sleep(0.05)

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def is_ready(self) -> bool:
        return _answers(self.port)

    def kill(self) -> None:
        """At once, with all that belongs to it, as a machine that fails would. Nothing where it does not run."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGINT)

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        # Its session is its own: PostgreSQL's processes end together.
        send = os.killpg if number is signal.SIGKILL else os.kill
        send(process.pid, number)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


class Redis(StoreServer):
    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        port = free_port()
        options = ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder), "--save", ""]
        super().__init__(
            "Redis",
            port,
            [_program("redis-server"), *options, "--appendonly", "yes", "--appendfsync", "always"],
            folder / "server.log",
        )

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"


class PostgreSQL(StoreServer):
    """Its folder must be one that its user can reach: PostgreSQL refuses to run as root."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        user = "postgres" if os.geteuid() == 0 else None
        if user is not None:
            account = pwd.getpwnam(user)
            os.chown(folder, account.pw_uid, account.pw_gid)
        port, data = free_port(), folder / "data"
        subprocess.run(  # noqa: S603 - our own command
            [_program("initdb"), "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C"],
            check=True,
            cwd="/",
            user=user,
            extra_groups=[] if user else None,
            stdout=subprocess.DEVNULL,
        )
        self._pid_file = data / "postmaster.pid"
        command = [_program("postgres"), "-D", str(data), "-p", str(port), "-h", "127.0.0.1", "-k", str(folder)]
        super().__init__("PostgreSQL", port, command, folder / "server.log", user)

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def is_ready(self) -> bool:
        """Its port answers while it still recovers: this file's first line is its id, a later one its state.

        A killed one leaves its file behind, so the id must be that of the process that runs now.
        """
        try:
            lines = self._pid_file.read_text(encoding="utf-8").splitlines()
        except OSError:
            return False
        return len(lines) > 7 and lines[0] == str(self.pid) and lines[7].strip() == "ready"


def _program(name: str) -> str:
    """Debian keeps PostgreSQL's programs off the PATH. Raises ServerMissing."""
    packaged = sorted(_POSTGRES_FOLDERS.glob(f"*/bin/{name}"))
    found = str(packaged[-1]) if packaged else shutil.which(name)
    if found is None:
        raise ServerMissing(f"{name} is not installed: install Debian's redis-server and postgresql, or use --embedded")
    return found


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0
