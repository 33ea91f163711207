"""Which processes belong to an instance, and their end. Reads /proc; signals nobody else.

Every process that `up` starts carries the instance's folder in its environment and runs in a session of its own, and
so does all that it starts in turn. A process is ours when it carries the mark or shares a session with one that does:
no process id is kept in a file, so none can be stale.
"""

import os
import signal
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

MARK = "UPCOACH_DEMO_INSTANCE"
PROC = Path("/proc")
GRACE_S = 3.0
GIVE_UP_AFTER_S = 10.0
TRACKER = "multiprocessing.resource_tracker"
LISTENING = "0A"
SHARED_MEMORY = "/dev/shm/"  # noqa: S108 - read, never made here


@dataclass(frozen=True, slots=True)
class Process:
    """`started_ticks` is the kernel's start time: with the id it names one process for ever."""

    pid: int
    session: int
    started_ticks: int
    command: str


@dataclass(frozen=True, slots=True)
class PortHolder:
    """Who listens on a port. `process` is None where the kernel does not tell us: another user's."""

    port: int
    process: Process | None

    def __str__(self) -> str:
        if self.process is None:
            return "a process of another user"
        return f"process {self.process.pid} ({self.process.command[:80]})"


def marked(environment: Mapping[str, str], home: Path) -> dict[str, str]:
    """`environment` with the mark of the instance that lives in `home`."""
    return {**environment, MARK: str(home)}


def processes_of(home: Path, proc: Path = PROC) -> tuple[Process, ...]:
    """Every living process of the instance, whatever started it."""
    mark = f"{MARK}={home}".encode()
    everyone = {process.pid: process for process in _all_processes(proc)}
    carriers = [process for process in everyone.values() if mark in _environment(proc, process.pid)]
    # A program that renames itself may overwrite its own environment: its session still tells where it belongs.
    mine = os.getsid(0)
    sessions = {process.session for process in carriers} - {mine}
    ours = {process.pid: process for process in carriers if process.pid != os.getpid()}
    ours |= {pid: process for pid, process in everyone.items() if process.session in sessions}
    return tuple(ours.values())


def stop_processes(home: Path, grace_s: float = GRACE_S) -> int:
    """Asks, waits `grace_s`, then kills, until nothing is left. Returns how many there were.

    Shared memory that the stopped processes had open and that nobody else has is removed: who is killed cannot do it.
    """
    gives_up_at = time.monotonic() + grace_s + GIVE_UP_AFTER_S
    first = processes_of(home)
    segments = {segment for process in first for segment in shared_memory_of(process.pid)}
    _signal(first, signal.SIGTERM)
    if not _wait_for_none(home, grace_s):
        # Python's resource trackers remove what their killed parents left, and then end: they get a moment for that.
        _signal(tuple(process for process in processes_of(home) if TRACKER not in process.command), signal.SIGKILL)
        while not _wait_for_none(home, 1.0) and time.monotonic() < gives_up_at:
            _signal(processes_of(home), signal.SIGKILL)
    for segment in segments - {used for process in _all_processes(PROC) for used in shared_memory_of(process.pid)}:
        segment.unlink(missing_ok=True)
    return len(first)


def shared_memory_of(pid: int, proc: Path = PROC) -> set[Path]:
    """The shared memory files that a process maps and that still have a name."""
    mapped = (line.split(maxsplit=5)[-1] for line in _lines(proc / str(pid) / "maps") if f" {SHARED_MEMORY}" in line)
    return {Path(name) for name in mapped if not name.endswith(" (deleted)")}


def listeners(proc: Path = PROC) -> dict[int, str]:
    """Ports that anybody listens on, each with its socket's inode."""
    found: dict[int, str] = {}
    for table in ("tcp", "tcp6"):
        for line in _lines(proc / "net" / table)[1:]:
            columns = line.split()
            if columns[3] == LISTENING:
                found[int(columns[1].rpartition(":")[2], 16)] = columns[9]
    return found


def holder_of(port: int, proc: Path = PROC) -> PortHolder | None:
    """Who listens on `port`; None where nobody does."""
    inode = listeners(proc).get(port)
    if inode is None:
        return None
    link = f"socket:[{inode}]"
    for process in _all_processes(proc):
        if link in _open_files(proc, process.pid):
            return PortHolder(port, process)
    return PortHolder(port, None)


def free_ports(wanted: int, among: Iterable[int], reserved: Collection[int] = ()) -> tuple[int, ...]:
    """The first `wanted` ports of `among` that nobody listens on and that are not reserved."""
    taken = {*listeners(), *reserved}
    return tuple(port for port in among if port not in taken)[:wanted]


def _wait_for_none(home: Path, seconds: float) -> bool:
    ends_at = time.monotonic() + seconds
    while processes_of(home):
        if time.monotonic() > ends_at:
            return False
        time.sleep(0.1)
    return True


def _signal(processes: tuple[Process, ...], number: signal.Signals) -> None:
    for process in processes:
        # The id may have passed to somebody else since the scan; the start time tells.
        current = _read_process(PROC, process.pid)
        if current and current.started_ticks == process.started_ticks:
            with suppress(ProcessLookupError):
                os.kill(process.pid, number)


def _all_processes(proc: Path) -> Iterator[Process]:
    for entry in proc.iterdir():
        if entry.name.isdigit() and (process := _read_process(proc, int(entry.name))):
            yield process


def _read_process(proc: Path, pid: int) -> Process | None:
    """None for a process that is gone, is a zombie, or is not this user's."""
    try:
        folder = proc / str(pid)
        if folder.stat().st_uid != os.getuid():
            return None
        # The name in parentheses may hold spaces and parentheses itself: count from its end.
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
        command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except (OSError, ValueError):
        return None
    if fields[0] == "Z":
        return None
    return Process(pid=pid, session=int(fields[3]), started_ticks=int(fields[19]), command=command)


def _environment(proc: Path, pid: int) -> list[bytes]:
    try:
        return (proc / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return []


def _open_files(proc: Path, pid: int) -> set[str]:
    found: set[str] = set()
    with suppress(OSError):
        for link in (proc / str(pid) / "fd").iterdir():
            with suppress(FileNotFoundError):
                found.add(str(link.readlink()))
    return found


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
