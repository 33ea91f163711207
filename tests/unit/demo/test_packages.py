"""The lock and the environment are compared exactly, and pip's failures are named by their cause."""

import json
from pathlib import Path

import pytest

from serve_app.demo import packages
from serve_app.demo.failures import HashMismatch, NoDisk, NoNetwork, PackageMissing, SetupFailed, StepFailed
from serve_app.demo.packages import Purpose, explain_pip, missing_packages

PROJECT = Path(__file__).parents[3]


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    path = tmp_path / "some.lock"
    path.write_text(
        "ray==2.60.0 ; sys_platform == 'linux' \\\n    --hash=sha256:00\ntyping-extensions==4.15.0\ntorch==2.13.0+cpu\n"
    )
    return path


def test_nothing_is_missing_when_every_pin_is_installed_under_any_spelling(lock: Path) -> None:
    installed = {"ray": "2.60.0", "typing-extensions": "4.15.0", "torch": "2.13.0+cpu", "pip": "23.2"}
    assert missing_packages(installed, (lock,)) == ()


def test_another_version_counts_as_missing(lock: Path) -> None:
    installed = {"ray": "2.59.0", "typing-extensions": "4.15.0", "torch": "2.13.0"}
    assert missing_packages(installed, (lock,)) == ("ray", "torch")


def test_a_package_that_is_pinned_for_each_python_is_there_in_either_version(tmp_path: Path) -> None:
    lock = tmp_path / "two.lock"
    lock.write_text("networkx==3.6.1 ; python_full_version < '3.12'\nnetworkx==3.7 ; python_full_version == '3.12.*'\n")
    assert missing_packages({"networkx": "3.6.1"}, (lock,)) == ()
    assert missing_packages({"networkx": "3.5"}, (lock,)) == ("networkx",)


def test_the_committed_locks_are_read_whole() -> None:
    serve = (PROJECT / "requirements" / "serve-cpu.lock").read_text()
    dev = (PROJECT / "requirements" / "dev.lock").read_text()
    served, developed = (dict(packages.PIN.findall(text)) for text in (serve, dev))
    assert len(served) > 100
    assert served.items() <= developed.items(), "dev.lock must hold all of serve-cpu.lock in the same versions"
    assert served["ray"] == "2.60.0"


@pytest.mark.parametrize(
    ("said", "error", "remedy"),
    [
        ("ERROR: No matching distribution found for torch==2.13.0+cpu", PackageMissing, "pytorch.org"),
        ("ERROR: No matching distribution found for ray==2.60.0", PackageMissing, "pip config list"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.", HashMismatch, "Do not go on"),
        (
            "WARNING: Retrying after connection broken by 'NewConnectionError('\n"
            "ERROR: No matching distribution found for torch==2.13.0+cpu",
            NoNetwork,
            "network",
        ),
        ("OSError: [Errno 28] No space left on device", NoDisk, "Free some space"),
        ("error: subprocess-exited-with-error", StepFailed, "log"),
    ],
)
def test_a_failure_of_pip_is_named_by_its_cause(
    tmp_path: Path, said: str, error: type[SetupFailed], remedy: str
) -> None:
    log = tmp_path / "pip.log"
    log.write_text(f"Collecting something\n{said}\n")
    failure = explain_pip(log, "Installing packages")
    assert type(failure) is error
    assert remedy in failure.remedy
    assert said.splitlines()[-1] in failure.detail


def a_project(folder: Path) -> Path:
    (folder / "requirements").mkdir()
    for name in ("serve-cpu.lock", "dev.lock", "torch-cpu.lock"):
        (folder / "requirements" / name).write_text(f"{name.removesuffix('.lock')}==1\n")
    (folder / "pyproject.toml").write_text("[project]\n")
    return folder


@pytest.mark.parametrize(
    ("made_for", "asked_for", "is_enough"),
    [
        (Purpose.SERVE, Purpose.SERVE, True),
        (Purpose.DEV, Purpose.SERVE, True),
        (Purpose.DEV, Purpose.DEV, True),
        (Purpose.SERVE, Purpose.DEV, False),
    ],
)
def test_an_environment_for_development_is_enough_to_serve_and_not_the_other_way_round(
    tmp_path: Path, made_for: Purpose, asked_for: Purpose, is_enough: bool
) -> None:
    project = a_project(tmp_path)
    stamp = packages._wanted_stamp(project, made_for)
    assert packages._satisfies(stamp, asked_for, project) is is_enough


@pytest.mark.parametrize("changed", ["requirements/serve-cpu.lock", "requirements/torch-cpu.lock", "pyproject.toml"])
def test_a_changed_lock_or_project_file_makes_the_stamp_worthless(tmp_path: Path, changed: str) -> None:
    project = a_project(tmp_path)
    stamp = packages._wanted_stamp(project, Purpose.SERVE)
    (project / changed).write_text("other==2\n")
    assert not packages._satisfies(stamp, Purpose.SERVE, project)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", json.dumps({"purpose": "serve", "lock": "x"})])
def test_a_stamp_that_is_not_ours_counts_as_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "stamp.json"
    path.write_text(text)
    assert packages._read_stamp(path) is None
