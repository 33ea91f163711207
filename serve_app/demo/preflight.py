"""What must be true before anything is made: the right Python, enough disk and memory, a free port."""

import importlib.util
import os
import platform
import shutil
import sys
from pathlib import Path

from serve_app.demo.failures import NoDisk, NoMemory, PortTaken, WrongMachine, WrongPython
from serve_app.demo.processes import PortHolder, holder_of

SUPPORTED = ((3, 11), (3, 12))
GIB = 1024**3

# Measured: the virtual environment, the wheels pip unpacks beside it, and the model with its conversion.
VENV_GIB = 7.0
MODEL_GIB = 0.8
RUN_GIB = 0.5
# Measured: 4.5 GiB for the whole graph with the demo model at rest; the rest is for vLLM's start and for requests.
RUN_MEMORY_GIB = 5.5


def check_python(version: tuple[int, int], has_venv: bool) -> None:
    """Raises WrongPython. `has_venv` says whether this Python can make virtual environments."""
    name = f"{version[0]}.{version[1]}"
    if version not in SUPPORTED:
        raise WrongPython(
            f"This is Python {name}; the locked packages are for 3.11 and 3.12.",
            "Install one of them and name it: make up PYTHON=python3.11",
        )
    if not has_venv:
        raise WrongPython(
            f"This Python {name} cannot make virtual environments (its ensurepip is missing).",
            f"On Debian: apt-get install python{name}-venv",
        )


def check_machine(system: str, machine: str) -> None:
    if (system, machine) != ("Linux", "x86_64"):
        raise WrongMachine(
            f"This machine is {system} on {machine}; the locked packages are for Linux on x86_64.",
            "Run the demo on a Linux x86_64 machine or in a container for one.",
        )


def check_disk(folder: Path, needed_gib: float) -> None:
    """`folder` need not exist yet: its file system is the nearest existing parent's."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free_gib = shutil.disk_usage(existing).free / GIB
    if free_gib < needed_gib:
        raise NoDisk(
            f"{folder} needs {needed_gib:.1f} GiB and its disk has {free_gib:.1f} GiB free.",
            "Free some space, or move the model cache with UPCOACH_CACHE=/another/disk.",
        )


def check_memory(available_bytes: int, needed_gib: float = RUN_MEMORY_GIB) -> None:
    available_gib = available_bytes / GIB
    if available_gib < needed_gib:
        raise NoMemory(
            f"The graph with its model needs {needed_gib:.1f} GiB of memory and {available_gib:.1f} GiB are available.",
            "Stop other programs, or give the machine or container more memory.",
        )


def check_port(holder: PortHolder | None, *, variable: str) -> None:
    """Raises PortTaken where somebody listens. `variable` is the setting that moves the port."""
    if holder:
        raise PortTaken(
            f"Port {holder.port} is taken by {holder}.",
            f"Stop it, or choose another port: make up {variable}={holder.port + 1}",
        )


def available_memory_bytes(meminfo: Path = Path("/proc/meminfo"), control_group: Path = Path("/sys/fs/cgroup")) -> int:
    """What the machine has left, or what a container's limit leaves where that is less."""
    lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
    available = int(lines["MemAvailable"].split()[0]) * 1024
    try:
        limit = int((control_group / "memory.max").read_text())
        used = int((control_group / "memory.current").read_text())
    except (OSError, ValueError):
        return available
    return min(available, limit - used)


def check_interpreter() -> None:
    """This very interpreter and this machine."""
    check_python((sys.version_info.major, sys.version_info.minor), importlib.util.find_spec("ensurepip") is not None)
    check_machine(platform.system(), platform.machine())


def check_run(ports: dict[str, int], run_dir: Path) -> None:
    """Memory, and the ports by the variable that moves each."""
    check_memory(available_memory_bytes())
    check_disk(run_dir, RUN_GIB)
    for variable, port in ports.items():
        check_port(holder_of(port), variable=variable)


def own_run_dir(run_dir: Path) -> None:
    """Makes the folder for sockets and logs, for this user alone. Raises StepFailed's kin where another user has it."""
    run_dir.mkdir(mode=0o700, exist_ok=True)
    if run_dir.is_symlink() or run_dir.stat().st_uid != os.getuid():
        raise WrongMachine(f"{run_dir} exists and belongs to somebody else.", f"Have {run_dir} removed.")
    run_dir.chmod(0o700)
