"""What each mishap does: `strike` while the load goes on, `mend` a while later, `recovered` when all is well again."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from loadtests.chaos.cast import Cast
from loadtests.chaos.gateway import Gateway
from loadtests.chaos.instance import Instance
from loadtests.chaos.scenarios import PRIMARY, Mishap
from loadtests.chaos.servers import StoreServer

LOCAL, ROUTER, LEDGER, PROXY = "LocalLLM", "Router", "Ledger", "CloudProxy"
CLOCK_JUMP_S = 3600.0
_FILLER = "filler"


class NotPossible(RuntimeError):
    """A mishap cannot be made here; the message says why. Its scenario is left out, and the report says so."""


@dataclass(slots=True)
class Stage:
    """All that a mishap may lay hands on. None: not there in this run."""

    gateway: Gateway
    cast: Cast
    instance: Instance
    has_local: bool
    redis: StoreServer | None = None
    postgres: StoreServer | None = None
    small_disk: Path | None = None
    may_change_clock: bool = False
    killed_at_s: list[float] = field(default_factory=list)
    is_mended: bool = True

    def check(self, mishap: Mishap) -> None:
        """Raises NotPossible."""
        reasons = {
            Mishap.LOCAL_KILLED: (not self.has_local, "no local model runs (--no-local)"),
            Mishap.HEADROOM_GONE: (not self.has_local, "no local model runs (--no-local)"),
            Mishap.REDIS_GONE: (self.redis is None, "no Redis runs (--embedded)"),
            Mishap.POSTGRES_GONE: (self.postgres is None, "no PostgreSQL runs (--embedded)"),
            Mishap.DISK_FULL: (self.small_disk is None, "no small file system could be mounted for the state folder"),
            Mishap.CLOCK_JUMPS: (
                not self.may_change_clock,
                "it would change this machine's clock: --allow-clock-change; the unit tests jump injected clocks",
            ),
        }
        is_impossible, reason = reasons.get(mishap, (False, ""))
        if is_impossible:
            raise NotPossible(reason)

    async def strike(self, mishap: Mishap) -> None:
        self.is_mended = False
        match mishap:
            case Mishap.ROUTER_KILLED:
                self._kill(ROUTER)
            case Mishap.LEDGER_KILLED:
                self._kill(LEDGER)
            case Mishap.PROXY_KILLED:
                self._kill(PROXY)
            case Mishap.LOCAL_KILLED | Mishap.HEADROOM_GONE:
                self._kill(LOCAL)
            case Mishap.SIMULATOR_KILLED:
                self.cast.actors[PRIMARY].kill()
            case Mishap.REDIS_GONE:
                _required(self.redis).kill()
            case Mishap.POSTGRES_GONE:
                _required(self.postgres).kill()
            case Mishap.DISK_FULL:
                await asyncio.to_thread(_fill, self._filler())
            case Mishap.CLOCK_JUMPS:
                _jump(CLOCK_JUMP_S)

    async def mend(self, mishap: Mishap) -> None:
        """Serve starts killed replicas again by itself; the rest is ours to put right."""
        self.is_mended = True
        match mishap:
            case Mishap.SIMULATOR_KILLED:
                self.cast.actors[PRIMARY].start()
                await self.cast.wait_for(PRIMARY)
            case Mishap.REDIS_GONE:
                await asyncio.to_thread(_required(self.redis).start)
            case Mishap.POSTGRES_GONE:
                await asyncio.to_thread(_required(self.postgres).start)
            case Mishap.DISK_FULL:
                self._filler().unlink(missing_ok=True)
            case Mishap.CLOCK_JUMPS:
                _jump(-CLOCK_JUMP_S)
            case _:
                pass

    async def recovered(self, mishap: Mishap) -> None:
        """Until what was killed is there again. Raises TimeoutError."""
        wanted = {
            Mishap.ROUTER_KILLED: (ROUTER, 2),
            Mishap.LEDGER_KILLED: (LEDGER, 1),
            Mishap.PROXY_KILLED: (PROXY, 1),
            Mishap.LOCAL_KILLED: (LOCAL, 1),
            Mishap.HEADROOM_GONE: (LOCAL, 1),
        }.get(mishap)
        if wanted is not None:
            deployment, num = wanted
            await wait_until(lambda: _is_there(self.instance, deployment, num), 240.0, f"{deployment} replicas")
        await wait_until(self.gateway.is_ready, 120.0, "the gateway")

    def _kill(self, deployment: str) -> None:
        if self.instance.kill_one(deployment) is None:
            raise NotPossible(f"no replica of {deployment} was found")
        self.killed_at_s.append(time.monotonic())

    def _filler(self) -> Path:
        if self.small_disk is None:
            raise NotPossible("there is no small disk")
        return self.small_disk / _FILLER


class SmallDisk:
    """A tmpfs of `num_mib` on `folder`, where this user may mount one. `mount` raises NotPossible."""

    def __init__(self, folder: Path, num_mib: int) -> None:
        self._folder, self._num_mib, self._is_mounted = folder, num_mib, False

    def mount(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        if os.geteuid() != 0 or sys.platform != "linux":
            raise NotPossible("only root may mount a file system")
        command = ["mount", "-t", "tmpfs", "-o", f"size={self._num_mib}m,mode=0700", "tmpfs", str(self._folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
        if done.returncode != 0:
            raise NotPossible(f"mount said: {done.stderr.strip()}")
        self._is_mounted = True

    def unmount(self) -> None:
        if self._is_mounted:
            command = ["umount", "-l", str(self._folder)]
            subprocess.run(command, check=False)  # noqa: S603 - our own command
            self._is_mounted = False


async def wait_until(is_so: Callable[[], Awaitable[bool]], limit_s: float, what: str) -> None:
    """Raises TimeoutError that names `what`."""
    give_up_at = time.monotonic() + limit_s
    while not await is_so():
        if time.monotonic() > give_up_at:
            raise TimeoutError(f"{what}: not there within {limit_s:.0f} s")
        await asyncio.sleep(0.25)


async def _is_there(instance: Instance, deployment: str, num: int) -> bool:
    return len(await asyncio.to_thread(instance.replicas, deployment)) >= num


def _fill(path: Path) -> None:
    """Writes until nothing more fits."""
    block = b"\0" * 65536
    with path.open("wb", buffering=0) as file:
        try:
            while file.write(block):
                pass
        except OSError:
            return


def _jump(seconds: float) -> None:
    time.clock_settime(time.CLOCK_REALTIME, time.time() + seconds)


def _required(server: StoreServer | None) -> StoreServer:
    if server is None:
        raise NotPossible("this server does not run")
    return server
