"""Every check names its cause and its remedy."""

from pathlib import Path

import pytest

from serve_app.demo.failures import NoDisk, NoMemory, PortTaken, WrongMachine, WrongPython
from serve_app.demo.preflight import (
    GIB,
    available_memory_bytes,
    check_disk,
    check_machine,
    check_memory,
    check_port,
    check_python,
    own_run_dir,
)
from serve_app.demo.processes import PortHolder, Process

SOMEBODY = Process(pid=4711, session=4711, started_ticks=1, command="nginx: master process")


@pytest.mark.parametrize("version", [(3, 11), (3, 12)])
def test_the_two_locked_pythons_pass(version: tuple[int, int]) -> None:
    check_python(version, has_venv=True)


@pytest.mark.parametrize("version", [(3, 10), (3, 13), (2, 7)])
def test_any_other_python_is_refused_with_how_to_name_one(version: tuple[int, int]) -> None:
    with pytest.raises(WrongPython) as caught:
        check_python(version, has_venv=True)
    assert "make up PYTHON=" in caught.value.remedy


def test_a_python_without_ensurepip_names_the_debian_package() -> None:
    with pytest.raises(WrongPython) as caught:
        check_python((3, 11), has_venv=False)
    assert "apt-get install python3.11-venv" in caught.value.remedy


def test_only_linux_on_x86_64_passes() -> None:
    check_machine("Linux", "x86_64")
    with pytest.raises(WrongMachine):
        check_machine("Darwin", "arm64")


def test_a_folder_that_does_not_exist_yet_is_measured_at_its_parent(tmp_path: Path) -> None:
    check_disk(tmp_path / "not" / "yet", 0.0)
    with pytest.raises(NoDisk, match="GiB free"):
        check_disk(tmp_path / "not" / "yet", 1e9)


def test_too_little_memory_is_refused() -> None:
    check_memory(8 * GIB, needed_gib=4.0)
    with pytest.raises(NoMemory, match=r"needs 4\.0 GiB of memory and 2\.0 GiB are available"):
        check_memory(2 * GIB, needed_gib=4.0)


def test_a_taken_port_names_who_has_it_and_how_to_move(tmp_path: Path) -> None:
    check_port(None, variable="PORT")
    with pytest.raises(PortTaken, match=r"Port 8000 is taken by process 4711 \(nginx") as caught:
        check_port(PortHolder(8000, SOMEBODY), variable="PORT")
    assert "make up PORT=8001" in caught.value.remedy
    with pytest.raises(PortTaken, match="a process of another user"):
        check_port(PortHolder(8000, None), variable="PORT")


def test_a_containers_limit_counts_when_it_leaves_less_than_the_machine_has(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:  20971520 kB\nMemAvailable:  10485760 kB\n")
    assert available_memory_bytes(meminfo, tmp_path) == 10 * GIB
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text(str(3 * GIB))
    assert available_memory_bytes(meminfo, tmp_path) == 10 * GIB
    (tmp_path / "memory.max").write_text(str(5 * GIB))
    assert available_memory_bytes(meminfo, tmp_path) == 2 * GIB


def test_the_run_folder_is_for_this_user_alone(tmp_path: Path) -> None:
    own_run_dir(tmp_path / "run")
    assert (tmp_path / "run").stat().st_mode & 0o777 == 0o700
    (tmp_path / "run").chmod(0o777)
    own_run_dir(tmp_path / "run")
    assert (tmp_path / "run").stat().st_mode & 0o777 == 0o700


def test_a_link_in_place_of_the_run_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(WrongMachine, match="belongs to somebody else"):
        own_run_dir(tmp_path / "run")
