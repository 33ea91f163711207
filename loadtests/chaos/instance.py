"""The processes of one running graph, found by their titles, and their sudden end. Nobody else's are ever touched."""

import contextlib
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

MARK = "UPCOACH_DEMO_INSTANCE"
_REPLICA = "ray::ServeReplica:upcoach:"


@dataclass(frozen=True, slots=True)
class Instance:
    """The graph that lives in `home`: its processes carry the folder in their environment, or share such a session."""

    home: Path

    def replicas(self, deployment: str) -> list[psutil.Process]:
        """The replicas of the deployments whose names start with `deployment`, the oldest first."""
        title = _REPLICA + deployment
        found = [process for process in self.processes() if _title(process).startswith(title)]
        return sorted(found, key=lambda process: process.create_time())

    def processes(self) -> list[psutil.Process]:
        """All that live, but for this one."""
        mark, own_session = str(self.home), os.getsid(0)
        sessions, everyone = set(), []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, ProcessLookupError, PermissionError):
                session = os.getsid(process.pid)
                everyone.append((process, session))
                # A program that renames itself may overwrite its environment; its session still tells.
                if session != own_session and process.environ().get(MARK) == mark:
                    sessions.add(session)
        return [process for process, session in everyone if session in sessions and process.pid != os.getpid()]

    def kill_one(self, deployment: str) -> int | None:
        """SIGKILL to the oldest replica; its process id, or None where there is none."""
        for process in self.replicas(deployment):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
                return process.pid
        return None


def deployment_of(process: psutil.Process) -> str | None:
    """The deployment whose replica a process is; None for one that is no replica."""
    title = _title(process)
    if not title.startswith(_REPLICA):
        return None
    # While a replica works, Ray writes the method that runs behind a dot.
    return title.removeprefix(_REPLICA).split(".", 1)[0].strip()


def uss_of(processes: Iterator[psutil.Process] | list[psutil.Process]) -> dict[int, int]:
    """Bytes that would be free if each process ended (USS), by process id; those that end meanwhile are left out."""
    found: dict[int, int] = {}
    for process in processes:
        with contextlib.suppress(psutil.Error):
            found[process.pid] = process.memory_full_info().uss
    return found


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline()).strip()
    except psutil.Error:
        return ""
