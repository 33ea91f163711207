"""What is missing is installed without a daemon starting, and the machine's own policy is as it was afterwards."""

import io
import os
import signal
import subprocess
from pathlib import Path

import pytest

from serve_app.demo import __main__ as command_line
from serve_app.demo import system_packages
from serve_app.demo.failures import NoNetwork, StepFailed
from serve_app.demo.progress import Progress
from serve_app.demo.system_packages import (
    MayNotInstall,
    ensure_system_packages,
    find_program,
    install_system_packages,
    missing_system_packages,
    privilege_for,
)

OWN_POLICY = "#!/bin/sh\nexit 0\n"


class Machine:
    """A PATH with an apt-get that says what it was told, and under which policy."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bin, self.logs, self.policy = folder / "bin", folder / "logs", folder / "policy-rc.d"
        self.calls = folder / "calls"
        self.bin.mkdir()
        self.progress = io.StringIO()
        monkeypatch.setenv("PATH", f"{self.bin}{os.pathsep}/usr/bin{os.pathsep}/bin")
        monkeypatch.setenv("POLICY", str(self.policy))
        monkeypatch.setenv("CALLS", str(self.calls))
        # Not the machine's own: a test disables nobody's services.
        self.command("systemctl", "exit 1")

    def command(self, name: str, script: str) -> None:
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def apt_get(self, *, fails: str = "false", says: str = "Setting up redis-server (1.0) ...") -> None:
        """`fails`: a shell condition."""
        policy = 'sh "$POLICY" >/dev/null 2>&1; echo $?'
        self.command("apt-get", f'echo "$1 $({policy})" >>"$CALLS"; echo "{says}"; if {fails}; then exit 100; fi')

    def install(self, *privilege: str) -> None:
        progress = Progress(self.progress)
        install_system_packages(["redis-server", "postgresql"], privilege, progress, self.logs, self.policy)

    def called(self) -> list[str]:
        return self.calls.read_text().splitlines()


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def test_no_daemon_may_start_meanwhile_and_nothing_of_that_is_left(machine: Machine) -> None:
    machine.apt_get()
    machine.install()
    assert machine.called() == ["install 101"]
    assert sorted(path.name for path in machine.policy.parent.glob("policy*")) == []
    assert "system packages: done in" in machine.progress.getvalue()


def test_a_policy_of_the_machines_own_comes_back_as_it_was(machine: Machine) -> None:
    machine.apt_get()
    machine.policy.write_text(OWN_POLICY)
    machine.policy.chmod(0o750)
    machine.install()
    assert machine.called() == ["install 101"]
    assert (machine.policy.read_text(), machine.policy.stat().st_mode & 0o777) == (OWN_POLICY, 0o750)


def test_the_policy_comes_back_when_the_installation_fails(machine: Machine) -> None:
    machine.apt_get(fails="true", says="E: dpkg was interrupted")
    machine.policy.write_text(OWN_POLICY)
    with pytest.raises(StepFailed) as failed:
        machine.install()
    assert "dpkg was interrupted" in failed.value.detail
    assert machine.policy.read_text() == OWN_POLICY
    assert list(machine.policy.parent.glob("*aside")) == []


def test_an_interrupt_puts_the_policy_back(machine: Machine) -> None:
    machine.command("apt-get", 'kill -TERM "$PPID"; sleep 0.2')
    machine.policy.write_text(OWN_POLICY)
    with pytest.raises(StepFailed):
        machine.install()
    assert machine.policy.read_text() == OWN_POLICY


def test_package_lists_are_fetched_only_where_those_at_hand_do_not_do(machine: Machine) -> None:
    machine.apt_get(fails='[ "$1" = install ] && ! grep -q update "$CALLS"')
    machine.install()
    assert [call.split()[0] for call in machine.called()] == ["install", "update", "install"]


def test_sudo_stands_before_the_command_where_it_is_needed(machine: Machine) -> None:
    machine.apt_get()
    machine.command("sudo", 'echo "sudo $1" >>"$CALLS"; shift; exec "$@"')
    machine.install("sudo", "-n")
    assert machine.called() == ["sudo -n", "install 101"]


@pytest.mark.parametrize("line", ["Temporary failure resolving 'mirror'", "Could not connect to mirror:80"])
def test_a_mirror_that_is_not_there_is_named_with_what_to_install_by_hand(machine: Machine, line: str) -> None:
    machine.apt_get(fails="true", says=f"Err: {line}")
    with pytest.raises(NoNetwork) as failed:
        machine.install()
    assert "install --no-install-recommends redis-server postgresql" in failed.value.remedy


def test_root_needs_no_help(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.apt_get()
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert privilege_for(["postgresql"]) == ()


def test_another_user_is_helped_by_a_sudo_that_asks_nothing(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.apt_get()
    machine.command("sudo", "exit 0")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert privilege_for(["postgresql"]) == (str(machine.bin / "sudo"), "-n")


def test_a_user_who_may_not_install_is_told_the_command(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.apt_get()
    machine.command("sudo", "exit 1")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(MayNotInstall) as refused:
        privilege_for(["redis-server", "postgresql"])
    assert refused.value.remedy.endswith("sudo apt-get install --no-install-recommends redis-server postgresql")


def test_a_machine_without_apt_get_is_told_which_programs_are_missing(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(machine.bin))
    with pytest.raises(MayNotInstall) as refused:
        privilege_for(["postgresql"])
    assert "initdb and postgres" in refused.value.remedy


def test_the_newest_postgresql_is_found_outside_of_the_path(tmp_path: Path) -> None:
    for version in ("9", "15", "17", "common"):
        folder = tmp_path / version / "bin"
        folder.mkdir(parents=True)
        if version != "17":
            (folder / "initdb").write_text("")
            (folder / "initdb").chmod(0o755)
    assert find_program("initdb", tmp_path) == tmp_path / "15" / "bin" / "initdb"
    assert find_program("sh", tmp_path) is not None
    assert find_program("no-such-program", tmp_path) is None


def test_a_package_is_missing_when_one_of_its_programs_is() -> None:
    there = {"redis-server", "postgres"}
    assert missing_system_packages(lambda name: Path(name) if name in there else None) == ("postgresql",)
    assert missing_system_packages(Path) == ()


def test_nothing_is_run_where_nothing_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system_packages, "missing_system_packages", lambda: ())
    monkeypatch.setattr(subprocess, "Popen", None)
    ensure_system_packages(Progress(io.StringIO()), tmp_path / "logs")
    assert not (tmp_path / "logs").exists()


def test_what_is_missing_is_installed(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.apt_get()
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(system_packages, "missing_system_packages", lambda: ("redis-server",))
    installed: list[object] = []
    monkeypatch.setattr(system_packages, "install_system_packages", lambda *arguments: installed.append(arguments[:2]))
    ensure_system_packages(Progress(machine.progress), machine.logs)
    assert installed == [(("redis-server",), ())]


@pytest.mark.parametrize(("arguments", "is_wanted"), [(["--system"], True), ([], False)])
def test_prepare_installs_them_where_it_is_asked_to(
    arguments: list[str], is_wanted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    monkeypatch.setattr(command_line, "ensure_system_packages", lambda *_: steps.append("system"))
    monkeypatch.setattr(command_line, "prepare", lambda *_, **__: steps.append("python"))
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    assert command_line.main(["prepare", "--dev", *arguments]) == 0
    assert steps == (["system", "python"] if is_wanted else ["python"])
