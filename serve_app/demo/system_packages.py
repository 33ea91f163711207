"""Debian packages that the tests need beside Python's: real servers, which each test run starts and stops itself.

What is missing is installed by apt-get, as root or through sudo where that asks for no password. While it runs, no
package may start its own daemon, and none of those installed here is left to start with the machine.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from serve_app.demo.commands import run_logged, step_failed, tail
from serve_app.demo.failures import NoNetwork, SetupFailed
from serve_app.demo.progress import Progress, Step

POSTGRESQL_FOLDERS = Path("/usr/lib/postgresql")
POLICY = Path("/usr/sbin/policy-rc.d")

# $1 is the file in which Debian's packages look up whether they may start a daemon (101: they may not); the rest are
# packages. A policy that stands there already comes back as it was. Package lists are only fetched where the ones at
# hand name nothing, or name what the mirror has no more.
INSTALL_SCRIPT = """
set -eu
policy=$1; shift
aside=$policy.upcoach-aside
put_back() { rm -f "$policy"; if [ -e "$aside" ]; then mv "$aside" "$policy"; fi; }
trap put_back EXIT
trap 'exit 130' INT TERM HUP
if [ -e "$policy" ] && [ ! -e "$aside" ]; then mv "$policy" "$aside"; fi
printf '#!/bin/sh\\nexit 101\\n' >"$policy"
chmod 755 "$policy"
export DEBIAN_FRONTEND=noninteractive
install() {
    apt-get install -y -q --no-install-recommends --no-upgrade -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=120 "$@"
}
install "$@" || { apt-get update -q; install "$@"; }
if [ -d /run/systemd/system ]; then systemctl disable "$@" || true; fi
"""


class MayNotInstall(SetupFailed):
    """This user may not install packages here, or this machine has no apt-get."""


@dataclass(frozen=True, slots=True)
class SystemPackage:
    """`name` is Debian's, which is also its service's; `programs` are what we run of it."""

    name: str
    programs: tuple[str, ...]


TEST_PACKAGES = (
    SystemPackage("redis-server", ("redis-server",)),
    SystemPackage("postgresql", ("initdb", "postgres")),
)


def find_program(name: str, postgresql_folders: Path = POSTGRESQL_FOLDERS) -> Path | None:
    """Where `name` is installed. PostgreSQL's programs are on nobody's PATH in Debian: its newest version counts."""
    versions = [folder for folder in postgresql_folders.glob("*/bin") if folder.parent.name.isdigit()]
    for folder in sorted(versions, key=lambda each: int(each.parent.name), reverse=True):
        if os.access(folder / name, os.X_OK):
            return folder / name
    found = shutil.which(name)
    return Path(found) if found else None


def missing_system_packages(find: Callable[[str], Path | None] = find_program) -> tuple[str, ...]:
    """Names of the packages of which a program is not installed."""
    return tuple(package.name for package in TEST_PACKAGES if not all(map(find, package.programs)))


def ensure_system_packages(progress: Progress, logs: Path) -> None:
    """Installs what is missing; returns at once where nothing is. Raises SetupFailed."""
    missing = missing_system_packages()
    if missing:
        install_system_packages(missing, privilege_for(missing), progress, logs)


def privilege_for(packages: Sequence[str]) -> tuple[str, ...]:
    """What a command must begin with to run as root: nothing, or sudo. Raises MayNotInstall."""
    if shutil.which("apt-get") is None:
        raise MayNotInstall(
            f"The tests need {' and '.join(packages)}, and this machine has no apt-get.",
            "Install Redis and PostgreSQL (server programs) so that redis-server, initdb and postgres are on the PATH.",
        )
    if os.geteuid() == 0:
        return ()
    sudo = shutil.which("sudo")
    if sudo and subprocess.run([sudo, "-n", "true"], capture_output=True, check=False).returncode == 0:  # noqa: S603 - sudo itself
        return (sudo, "-n")
    raise MayNotInstall(
        f"The tests need {' and '.join(packages)}, and this user may not install packages without a password.",
        f"Install by hand and run it again: sudo apt-get install --no-install-recommends {' '.join(packages)}",
    )


def install_system_packages(
    packages: Sequence[str], privilege: Sequence[str], progress: Progress, logs: Path, policy: Path = POLICY
) -> None:
    """Raises NoNetwork or StepFailed; the policy for daemons is as it was, either way."""
    logs.mkdir(parents=True, exist_ok=True)
    log = logs / "apt.log"
    with progress.step("system packages") as step:
        step.note(", ".join(packages))
        command: list[str | Path] = [*privilege, "/bin/sh", "-c", INSTALL_SCRIPT, "sh", policy, *packages]
        if run_logged(command, log, cwd=logs, on_line=_note_lines(step)):
            raise explain_apt(log, packages)


def explain_apt(log: Path, packages: Sequence[str]) -> SetupFailed:
    """The cause of apt-get's failure, read from its log."""
    by_hand = f"apt-get update && apt-get install --no-install-recommends {' '.join(packages)}"
    text = log.read_text(errors="replace")
    if re.search(r"Temporary failure resolving|Could not resolve|Could not connect|Network is unreachable", text):
        return NoNetwork(
            "The Debian mirror could not be reached.",
            f"Check the network and /etc/apt, and run it again, or install by hand: {by_hand}",
            tail(log),
        )
    return step_failed(f"Installing {' and '.join(packages)}", log)


def _note_lines(step: Step) -> Callable[[str], None]:
    def note(line: str) -> None:
        if line.startswith(("Get:", "Unpacking ", "Setting up ")):
            step.note(line[:80])

    return note
