"""Real Redis and PostgreSQL from Debian's packages: on a free loopback port, in a folder that goes with them.

Both are ours alone: started here, and stopped by their process's id. Either can go and come back on the same port with
what it had stored.
"""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from serve_app.demo.system_packages import find_program
from tests.fakes.processes import free_port

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 20.0


class MissingServer(Exception):
    """A server's program is not installed: these tests fail then, because nothing else shows what they show."""


class StoreServer:
    """One server. `url` stays the same when it is stopped and started again."""

    def __init__(
        self,
        url: str,
        *,
        command: list[str],
        log: Path,
        is_ready: Callable[[int], bool],
        stop_signal: signal.Signals = signal.SIGTERM,
        user: str | None = None,
    ) -> None:
        self.url = url
        self.process: subprocess.Popen[bytes] | None = None
        self._command, self._log, self._is_ready = command, log, is_ready
        self._stop_signal, self._user = stop_signal, user

    def start(self) -> None:
        """Returns when it answers."""
        assert self.process is None, "it runs already"
        with self._log.open("ab") as sink:
            self.process = subprocess.Popen(
                self._command,
                stdout=sink,
                stderr=sink,
                cwd="/",
                user=self._user,
                group=self._user,
                extra_groups=[] if self._user else None,
            )
        give_up_at = time.monotonic() + START_TIMEOUT_S
        while not self._is_ready(self.process.pid):
            if self.process.poll() is not None or time.monotonic() > give_up_at:
                self.stop()
                raise AssertionError(f"{self._command[0]} did not start:\n{self._log.read_text(errors='replace')}")
            time.sleep(0.02)

    def stop(self) -> None:
        """Returns when the process has ended; its clients' connections are closed. Nothing where none runs."""
        process, self.process = self.process, None
        if process is None:
            return
        process.send_signal(self._stop_signal)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def redis_server(password: str | None = None) -> Iterator[StoreServer]:
    """Redis that writes every change to its file before it answers, so that its end loses nothing."""
    program, port = _program("redis-server"), free_port()
    with _folder("uc-redis-") as folder:
        options = ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder), "--appendonly", "yes"]
        options += ["--save", ""]
        options += ["--requirepass", password] if password else []
        login = f":{password}@" if password else ""
        server = StoreServer(
            f"redis://{login}127.0.0.1:{port}/0",
            command=[program, *options],
            log=folder / "server.log",
            is_ready=lambda _pid: _answers_redis(port),
        )
        yield from _running(server)


@contextmanager
def postgres_server() -> Iterator[StoreServer]:
    """PostgreSQL with one superuser, `postgres`, whom everybody on the loopback may be, and the database `postgres`."""
    initdb, postgres, port = _program("initdb"), _program("postgres"), free_port()
    user = "postgres" if os.geteuid() == 0 else None  # which refuses to run as root
    with _folder("uc-pg-") as folder:
        if user:
            account = pwd.getpwnam(user)
            os.chown(folder, account.pw_uid, account.pw_gid)
        data = folder / "data"
        made = subprocess.run(
            [initdb, "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"],
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
            user=user,
            group=user,
            extra_groups=[] if user else None,
        )
        assert made.returncode == 0, made.stderr
        options = ["-D", str(data), "-p", str(port), "-h", "127.0.0.1", "-k", str(folder), "-c", "max_connections=40"]
        server = StoreServer(
            f"postgresql://postgres@127.0.0.1:{port}/postgres",
            command=[postgres, *options],
            log=folder / "server.log",
            is_ready=lambda pid: _is_serving(data / "postmaster.pid", pid),
            stop_signal=signal.SIGINT,  # ends its sessions and stops; SIGTERM would wait for them
            user=user,
        )
        yield from _running(server)


def _running(server: StoreServer) -> Iterator[StoreServer]:
    server.start()
    try:
        yield server
    finally:
        server.stop()


def _program(name: str) -> str:
    found = find_program(name)
    if found is None:
        raise MissingServer(f"{name} is not installed; `make test` installs redis-server and postgresql")
    return str(found)


@contextmanager
def _folder(prefix: str) -> Iterator[Path]:
    """Directly in the temporary folder: a socket's path may have 107 characters, and `postgres` must reach it."""
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _answers_redis(port: int) -> bool:
    """Whether it serves: one that still loads its file answers, but not with this. A password is asked for later."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith((b"+PONG", b"-NOAUTH"))
    except OSError:
        return False


def _is_serving(pid_file: Path, pid: int) -> bool:
    """PostgreSQL writes its id into the first line and its state into the eighth; another run may have left a file."""
    try:
        lines = pid_file.read_text().splitlines()
        return (int(lines[0]), lines[7].strip()) == (pid, "ready")
    except (OSError, IndexError, ValueError):
        return False
