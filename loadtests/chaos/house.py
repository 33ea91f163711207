"""Puts up everything that a run needs, in one folder, and takes all of it down again whatever happens."""

import asyncio
import contextlib
import os
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from loadtests.chaos.cast import Cast
from loadtests.chaos.configuration import TENANTS, Surroundings, write_configuration
from loadtests.chaos.gateway import Gateway
from loadtests.chaos.instance import Instance
from loadtests.chaos.mishaps import NotPossible, SmallDisk, Stage
from loadtests.chaos.scenarios import CLOUDS
from loadtests.chaos.servers import PostgreSQL, Redis, StoreServer, free_port

PROJECT = Path(__file__).resolve().parents[2]
SMALL_DISK_MIB = 64


@dataclass(frozen=True, slots=True)
class Wishes:
    """`is_embedded`: without Redis and PostgreSQL. `has_small_disk`: the state folder on a file system of its own."""

    home: Path
    is_embedded: bool
    has_local: bool
    has_small_disk: bool
    may_change_clock: bool


@asynccontextmanager
async def running_house(wishes: Wishes, say: Callable[[str], None]) -> AsyncIterator[tuple[Stage, dict[str, str]]]:
    """The stage, its gateway ready, and the tenants' keys. `home` is emptied first."""
    home = wishes.home.resolve()
    shutil.rmtree(home, ignore_errors=True)
    (home / "journals").mkdir(parents=True)
    keys = {tenant: secrets.token_urlsafe(24) for tenant in TENANTS}
    with _stores(wishes, say) as (redis, postgres), _state_folder(home / "state", wishes, say) as small_disk:
        async with Cast(CLOUDS, home / "journals") as cast:
            around = Surroundings(
                project=PROJECT,
                state_folder=home / "state",
                addresses={name: actor.address for name, actor in cast.actors.items()},
                has_local=wishes.has_local,
                database=postgres.url if postgres else None,
                redis=redis.url if redis else None,
            )
            gateway_file, serve_file = write_configuration(home, around, keys)
            gateway = Gateway(PROJECT, home, free_port(), gateway_file, serve_file)
            say("starting the gateway: about two minutes")
            try:
                await gateway.up()
                yield (
                    Stage(
                        gateway=gateway,
                        cast=cast,
                        instance=Instance(home),
                        has_local=wishes.has_local,
                        redis=redis,
                        postgres=postgres,
                        small_disk=small_disk,
                        may_change_clock=wishes.may_change_clock,
                    ),
                    keys,
                )
            finally:
                say("stopping the gateway")
                await asyncio.shield(gateway.down())


@contextmanager
def _stores(wishes: Wishes, say: Callable[[str], None]) -> Iterator[tuple[Redis | None, PostgreSQL | None]]:
    if wishes.is_embedded:
        yield None, None
        return
    # Directly under the temporary folder: PostgreSQL's own user must reach it, and a socket's path must be short.
    folder = Path(tempfile.mkdtemp(prefix="uc-chaos-"))
    folder.chmod(0o755)
    started: list[StoreServer] = []
    try:
        say("starting Redis and PostgreSQL")
        redis, postgres = Redis(folder / "redis"), PostgreSQL(folder / "postgres")
        server: StoreServer
        for server in (redis, postgres):
            started.append(server)
            server.start()
        yield redis, postgres
    finally:
        for server in started:
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _state_folder(folder: Path, wishes: Wishes, say: Callable[[str], None]) -> Iterator[Path | None]:
    """On a file system that is small enough to be filled, where one can be mounted; then the folder, else None."""
    folder.mkdir()
    folder.chmod(0o700)
    disk = SmallDisk(folder, SMALL_DISK_MIB)
    is_mounted = False
    if wishes.has_small_disk:
        try:
            disk.mount()
            is_mounted = True
        except NotPossible as error:
            say(f"no small disk, so no full one: {error}")
    try:
        yield folder if is_mounted else None
    finally:
        disk.unmount()


def describe_machine() -> dict[str, object]:
    with contextlib.suppress(OSError):
        return {"cores": os.cpu_count(), "load_1m": round(os.getloadavg()[0], 2)}
    return {"cores": os.cpu_count()}
