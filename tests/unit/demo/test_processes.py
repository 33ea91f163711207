"""What belongs to an instance is found by its mark and its sessions, and nothing else is touched."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from serve_app.demo.processes import (
    MARK,
    SHARED_MEMORY,
    Process,
    free_ports,
    holder_of,
    listeners,
    marked,
    processes_of,
    stop_processes,
)

Spawn = Callable[..., "subprocess.Popen[bytes]"]
SLEEP = "import time; time.sleep(60)"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
)


@pytest.fixture
def spawn() -> Iterator[Spawn]:
    started: list[subprocess.Popen[bytes]] = []

    def start(code: str, home: Path | None = None, *, new_session: bool = True) -> "subprocess.Popen[bytes]":
        environment = marked(os.environ, home) if home else dict(os.environ)
        process = subprocess.Popen(
            [sys.executable, "-c", code], env=environment, start_new_session=new_session, stdout=subprocess.PIPE
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def a_process_table(
    folder: Path, *processes: tuple[int, int, str, dict[str, str]], listening: dict[int, str] | None = None
) -> Path:
    """A made-up /proc: (pid, session, name, environment) each."""
    for pid, session, name, environment in processes:
        entry = folder / str(pid)
        (entry / "fd").mkdir(parents=True)
        (entry / "stat").write_text(f"{pid} ({name}) S 1 {pid} {session} " + "0 " * 15 + f"{pid * 10} 0\n")
        (entry / "cmdline").write_bytes(name.encode() + b"\0")
        (entry / "environ").write_bytes(b"\0".join(f"{key}={value}".encode() for key, value in environment.items()))
    (folder / "net").mkdir()
    rows = [
        f"  0: 0100007F:{port:04X} 00000000:0000 0A 0 0 0 0 0 {inode} 1" for port, inode in (listening or {}).items()
    ]
    (folder / "net" / "tcp").write_text("\n".join(["header", *rows]))
    return folder


def test_the_mark_finds_the_processes_of_one_folder_only(tmp_path: Path) -> None:
    proc = a_process_table(
        tmp_path,
        (101, 101, "raylet", {MARK: "/srv/one"}),
        (102, 102, "raylet", {MARK: "/srv/one-more"}),
        (103, 103, "raylet", {"PATH": "/bin"}),
    )
    assert [process.pid for process in processes_of(Path("/srv/one"), proc)] == [101]


def test_a_process_that_lost_its_environment_is_found_by_its_session(tmp_path: Path) -> None:
    proc = a_process_table(
        tmp_path,
        (101, 100, "raylet", {MARK: "/srv/one"}),
        (102, 100, "VLLM::EngineCore (0) x", {}),
        (103, 103, "VLLM::EngineCore", {}),
    )
    found = processes_of(Path("/srv/one"), proc)
    assert sorted(process.pid for process in found) == [101, 102]


def test_the_callers_own_session_is_never_swept(tmp_path: Path) -> None:
    mine = os.getsid(0)
    proc = a_process_table(tmp_path, (101, mine, "raylet", {MARK: "/srv/one"}), (102, mine, "bash", {}))
    assert [process.pid for process in processes_of(Path("/srv/one"), proc)] == [101]


def test_a_name_with_spaces_and_parentheses_is_read_right(tmp_path: Path) -> None:
    proc = a_process_table(tmp_path, (7, 6, "a) (b) c", {MARK: "/srv/one"}))
    assert processes_of(Path("/srv/one"), proc) == (Process(7, 6, 70, "a) (b) c"),)


def test_a_listening_port_names_its_holder(tmp_path: Path) -> None:
    proc = a_process_table(tmp_path, (101, 101, "nginx", {}), listening={8000: "555", 8001: "556"})
    (proc / "101" / "fd" / "3").symlink_to("socket:[555]")
    holder = holder_of(8000, proc)
    assert holder is not None
    assert str(holder) == "process 101 (nginx)"
    assert str(holder_of(8001, proc)) == "a process of another user"
    assert holder_of(8002, proc) is None
    assert listeners(proc) == {8000: "555", 8001: "556"}


def test_free_ports_are_different_and_free() -> None:
    ports = free_ports(5, range(21000, 22000), {21003})
    assert len(set(ports)) == 5
    assert not set(ports) & {21003, *listeners()}


def test_stopping_ends_the_marked_and_their_children_and_nobody_else(tmp_path: Path, spawn: Spawn) -> None:
    spawned_child = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {SLEEP!r}], env={{}}); {SLEEP}"
    ours = spawn(f"print('up', flush=True); {spawned_child}", tmp_path)
    bystander, other = spawn(SLEEP), spawn(SLEEP, tmp_path / "other")
    assert ours.stdout is not None
    assert ours.stdout.readline() == b"up\n"
    while len(processes_of(tmp_path)) < 2:
        assert ours.poll() is None
    assert stop_processes(tmp_path) == 2
    assert processes_of(tmp_path) == ()
    assert bystander.poll() is None
    assert other.poll() is None


def test_a_process_that_ignores_the_request_is_killed(tmp_path: Path, spawn: Spawn) -> None:
    deaf = spawn(STUBBORN, tmp_path)
    assert deaf.stdout is not None
    assert deaf.stdout.readline() == b"deaf\n"
    assert stop_processes(tmp_path, grace_s=0.2) == 1
    assert deaf.wait(5) == -9


def test_shared_memory_of_a_killed_process_is_removed_unless_another_uses_it(tmp_path: Path, spawn: Spawn) -> None:
    make = """
import mmap, os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
mapped = []
for name in sys.argv[1:] or {names}:
    file = os.open("/dev/shm/" + name, os.O_RDWR | os.O_CREAT, 0o600)
    os.ftruncate(file, 4096)
    mapped.append(mmap.mmap(file, 4096))
print("mapped", flush=True)
time.sleep(60)
"""
    own, shared = (Path(SHARED_MEMORY) / f"upcoach-test-{os.getpid()}-{kind}" for kind in ("own", "shared"))
    try:
        for names, home in (([own.name, shared.name], tmp_path), ([shared.name], None)):
            process = spawn(make.format(names=names), home)
            assert process.stdout is not None
            assert process.stdout.readline() == b"mapped\n"
        stop_processes(tmp_path, grace_s=0.2)
        assert not own.exists()
        assert shared.exists()
    finally:
        own.unlink(missing_ok=True)
        shared.unlink(missing_ok=True)


def test_stopping_twice_is_safe(tmp_path: Path, spawn: Spawn) -> None:
    spawn(SLEEP, tmp_path)
    assert stop_processes(tmp_path) == 1
    assert stop_processes(tmp_path) == 0
