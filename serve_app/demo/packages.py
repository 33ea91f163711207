"""The virtual environment: exactly what the committed lock says, or repaired until it is.

While it is being changed a marker stands in it: one that is found later means an interrupted run, and the environment
is made again from nothing. A stamp says which lock it holds; an environment without one is compared with the lock.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from serve_app.demo.commands import run_logged, step_failed, tail
from serve_app.demo.failures import HashMismatch, NoDisk, NoNetwork, PackageMissing, SetupFailed
from serve_app.demo.preflight import VENV_GIB, check_disk
from serve_app.demo.progress import Progress, Step


class Purpose(StrEnum):
    """What an environment is for; `dev` holds all of `serve`."""

    SERVE = "serve"
    DEV = "dev"


LOCKS = {Purpose.SERVE: "serve-cpu.lock", Purpose.DEV: "dev.lock"}
TORCH_LOCK = "torch-cpu.lock"
PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", re.MULTILINE)

# Asks an environment for its distributions with nothing but what every Python has.
LIST_PACKAGES = """
import importlib.metadata, json
print(json.dumps([[found.metadata["Name"], found.version] for found in importlib.metadata.distributions()]))
"""


@dataclass(frozen=True, slots=True)
class Stamp:
    purpose: str
    lock_sha256: str
    project_sha256: str


def ensure_packages(project: Path, purpose: Purpose, progress: Progress, logs: Path) -> None:
    """Makes or repairs `project/.venv`. Returns at once where its stamp matches. Raises SetupFailed."""
    venv = project / ".venv"
    marker, stamp_file = venv / ".upcoach-changing", venv / ".upcoach-stamp.json"
    stamp = _read_stamp(stamp_file)
    if not marker.exists() and stamp and _satisfies(stamp, purpose, project):
        return
    if marker.exists():
        progress.say("  packages: an earlier installation was interrupted; making .venv again")
        shutil.rmtree(venv)
    _make_venv(venv, progress, logs)
    missing = missing_packages(_installed(venv), _locks(project, purpose))
    marker.touch()
    if missing:
        check_disk(venv, VENV_GIB)
        _install_locks(project, purpose, progress, logs)
    _install_project(project, progress, logs)
    stamp_file.write_text(json.dumps(asdict(_wanted_stamp(project, purpose))))
    marker.unlink()


def missing_packages(installed: dict[str, str], locks: tuple[Path, ...]) -> tuple[str, ...]:
    """The lock's packages that are not installed in a pinned version. A package may be pinned once for each Python."""
    pinned: dict[str, set[str]] = {}
    for lock in locks:
        for name, version in PIN.findall(lock.read_text()):
            pinned.setdefault(_normal(name), set()).add(version)
    return tuple(name for name, versions in pinned.items() if installed.get(name) not in versions)


def explain_pip(log: Path, what: str) -> SetupFailed:
    """The cause of pip's failure, read from its log."""
    text = log.read_text(errors="replace")
    if "No space left on device" in text:
        return NoDisk("The disk is full.", "Free some space and run it again; it goes on where it stopped.", tail(log))
    if re.search(r"NewConnectionError|NameResolutionError|ConnectTimeout|Network is unreachable|ProxyError", text):
        return NoNetwork(
            "The package index could not be reached.",
            "Check the network and pip's own configuration (pip config list), and run it again.",
            tail(log),
        )
    if "DO NOT MATCH THE HASHES" in text:
        return HashMismatch(
            "A downloaded package is not the one in the lock: its SHA-256 differs.",
            "Do not go on. Clear pip's cache (pip cache purge) and try again; if it stays, your package index serves "
            "other files than the lock was made from.",
            tail(log),
        )
    if re.search(r"No matching distribution found for torch==", text):
        return PackageMissing(
            "pip's package index does not offer PyTorch's CPU build (torch with '+cpu' in its version).",
            "Let pip's own configuration name PyTorch's CPU wheel index beside your usual one: look up its address "
            "under 'Get started' on pytorch.org (pip, CPU), then: pip config set global.extra-index-url ADDRESS",
            tail(log),
        )
    if found := re.search(r"No matching distribution found for (\S+)", text):
        return PackageMissing(
            f"pip's package index does not offer {found[1]}.",
            "Check pip's own configuration (pip config list): a mirror may be behind.",
            tail(log),
        )
    return step_failed(what, log)


def _make_venv(venv: Path, progress: Progress, logs: Path) -> None:
    if (venv / "bin" / "python").exists() and _runs(venv / "bin" / "python"):
        return
    check_disk(venv, VENV_GIB)
    # The base interpreter: an environment made from another would die with it.
    base = Path(getattr(sys, "_base_executable", sys.executable))
    with progress.step("virtual environment"):
        log = logs / "venv.log"
        if run_logged([base, "-m", "venv", "--clear", venv], log, cwd=venv.parent):
            shutil.rmtree(venv, ignore_errors=True)
            raise step_failed("Making the virtual environment", log)


def _install_locks(project: Path, purpose: Purpose, progress: Progress, logs: Path) -> None:
    torch_lock, lock = _locks(project, purpose)
    num_packages = len({_normal(name) for name, _ in PIN.findall(lock.read_text())}) + 1
    with progress.step("packages") as step:
        counter = _PipCounter(step, num_packages)
        # torch first: where pip cannot find its CPU build nothing else is worth the wait.
        _pip(project, ["--no-deps", "-r", torch_lock], logs / "pip-torch.log", counter)
        _pip(project, ["--no-deps", "--require-hashes", "-r", lock], logs / "pip.log", counter)


def _install_project(project: Path, progress: Progress, logs: Path) -> None:
    """The `upcoach` command, from the lock's own setuptools: no network needed."""
    with progress.step("upcoach command") as step:
        options: list[str | Path] = ["--no-deps", "--no-build-isolation", "--no-index", "-e", project]
        _pip(project, options, logs / "pip-project.log", _PipCounter(step, 1))


def _pip(project: Path, options: list[str | Path], log: Path, counter: "_PipCounter") -> None:
    python = project / ".venv" / "bin" / "python"
    command = [python, "-m", "pip", "install", "--no-input", "--disable-pip-version-check", *options]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "PIP_PROGRESS_BAR": "off"}
    if run_logged(command, log, cwd=project, environment=environment, on_line=counter.read):
        raise explain_pip(log, "Installing packages")


class _PipCounter:
    """Turns pip's lines into "57 of 186: name"."""

    def __init__(self, step: Step, num_packages: int) -> None:
        self._step = step
        self._num_packages = num_packages
        self._num_seen = 0

    def read(self, line: str) -> None:
        words = line.split()
        if line.startswith(("Collecting ", "Processing ", "Requirement already satisfied: ")):
            self._num_seen += 1
            name = words[3 if line.startswith("Requirement") else 1].rpartition("/")[2].partition("-")[0]
            self._step.note(f"{self._num_seen} of {self._num_packages}: {name}")
        elif line.lstrip().startswith("Downloading "):
            size = line[line.rfind("(") :] if line.endswith(")") else ""
            name = words[1].rpartition("/")[2].split("-")[0]
            self._step.note(f"{self._num_seen} of {self._num_packages}: downloading {name} {size}")
        elif line.startswith("Installing collected packages: "):
            names = line.partition(": ")[2].split(", ")
            self._step.note(f"unpacking {names[0] if len(names) == 1 else f'{len(names)} packages'}")


def _runs(python: Path) -> bool:
    check = "import pip, sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))"
    result = subprocess.run([python, "-c", check], capture_output=True, check=False)  # noqa: S603 - our own
    return result.returncode == 0


def _installed(venv: Path) -> dict[str, str]:
    command = [str(venv / "bin" / "python"), "-c", LIST_PACKAGES]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: S603 - our own
    return {_normal(name): version for name, version in json.loads(output)}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _locks(project: Path, purpose: Purpose) -> tuple[Path, Path]:
    folder = project / "requirements"
    return folder / TORCH_LOCK, folder / LOCKS[purpose]


def _wanted_stamp(project: Path, purpose: Purpose) -> Stamp:
    locks = b"".join(lock.read_bytes() for lock in _locks(project, purpose))
    described = (project / "pyproject.toml").read_bytes()
    return Stamp(purpose, hashlib.sha256(locks).hexdigest(), hashlib.sha256(described).hexdigest())


def _satisfies(stamp: Stamp, purpose: Purpose, project: Path) -> bool:
    enough = (Purpose.DEV,) if purpose is Purpose.DEV else (Purpose.SERVE, Purpose.DEV)
    return stamp in [_wanted_stamp(project, candidate) for candidate in enough]


def _read_stamp(path: Path) -> Stamp | None:
    try:
        return Stamp(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None
