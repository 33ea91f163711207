"""Which deployment a process is a replica of, and which mishaps cannot be made where."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from loadtests.chaos.instance import deployment_of
from loadtests.chaos.mishaps import NotPossible, SmallDisk, Stage
from loadtests.chaos.scenarios import Mishap

NOBODY: Any = None


@dataclass
class FakeProcess:
    """Has a title and nothing else; an empty one is gone."""

    title: str

    def cmdline(self) -> list[str]:
        if not self.title:
            raise psutil.NoSuchProcess(1)
        return [self.title, ""]


@pytest.mark.parametrize(
    ("title", "deployment"),
    [
        ("ray::ServeReplica:upcoach:Router", "Router"),
        ("ray::ServeReplica:upcoach:Router.handle_request", "Router"),
        ("ray::ServeReplica:upcoach:CloudProxy:sim-primary", "CloudProxy:sim-primary"),
        ("ray::ServeController.listen_for_change", None),
        ("python -m loadtests.simulator", None),
        ("", None),
    ],
)
def test_a_replica_is_known_by_its_title(title: str, deployment: str | None) -> None:
    process: Any = FakeProcess(title)
    assert deployment_of(process) == deployment


@pytest.mark.parametrize(
    "mishap",
    [
        Mishap.LOCAL_KILLED,
        Mishap.HEADROOM_GONE,
        Mishap.REDIS_GONE,
        Mishap.POSTGRES_GONE,
        Mishap.DISK_FULL,
        Mishap.CLOCK_JUMPS,
    ],
)
def test_what_cannot_be_made_here_is_left_out_with_its_reason(mishap: Mishap) -> None:
    bare = Stage(gateway=NOBODY, cast=NOBODY, instance=NOBODY, has_local=False)
    with pytest.raises(NotPossible) as caught:
        bare.check(mishap)
    assert str(caught.value)


@pytest.mark.parametrize("mishap", [Mishap.ROUTER_KILLED, Mishap.LEDGER_KILLED, Mishap.SIMULATOR_KILLED])
def test_processes_can_be_killed_everywhere(mishap: Mishap) -> None:
    Stage(gateway=NOBODY, cast=NOBODY, instance=NOBODY, has_local=False).check(mishap)


def test_the_machines_clock_is_only_changed_when_that_was_allowed() -> None:
    allowed = Stage(gateway=NOBODY, cast=NOBODY, instance=NOBODY, has_local=False, may_change_clock=True)
    allowed.check(Mishap.CLOCK_JUMPS)


def test_only_root_may_mount_a_small_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    disk = SmallDisk(tmp_path / "disk", 8)
    with pytest.raises(NotPossible, match="root"):
        disk.mount()
    disk.unmount()
