"""The simulators of a run: processes on fixed ports with journals, that may be killed and started again."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import aiohttp

from loadtests.chaos.books import Call, JournalReader
from loadtests.chaos.plan import MARKER
from loadtests.chaos.servers import free_port
from loadtests.simulator.behaviour import Behaviour

START_TIMEOUT_S = 15.0


class Actor:
    """One simulator. Its journal and its behaviour outlive its process."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.port = name, free_port()
        self._journal_path, self._log = folder / f"{name}.jsonl", folder / f"{name}.log"
        self._journal = JournalReader(self._journal_path)
        self._process: subprocess.Popen[bytes] | None = None
        self.behaviour = Behaviour()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Returns at once; `answers` tells when it is there."""
        command = [sys.executable, "-m", "loadtests.simulator", "--port", str(self.port), "--name", self.name]
        command += ["--journal", str(self._journal_path), "--marker", MARKER]
        for name, value in self.behaviour.model_dump(mode="json", exclude_none=True).items():
            command += [f"--{name.replace('_', '-')}", str(value)]
        with self._log.open("ab") as sink:
            self._process = subprocess.Popen(command, stdout=sink, stderr=sink)  # noqa: S603 - our own program

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def calls(self) -> list[Call]:
        return self._journal.read()


class Cast:
    """All simulators of a run. Use as an async context manager; they end with it."""

    def __init__(self, names: Sequence[str], folder: Path) -> None:
        self.actors = {name: Actor(name, folder) for name in names}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "Cast":
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True))
        for actor in self.actors.values():
            actor.start()
        for name in self.actors:
            await self.wait_for(name)
        return self

    async def __aexit__(self, *_: object) -> None:
        for actor in self.actors.values():
            actor.kill()
        if self._session is not None:
            await self._session.close()

    async def wait_for(self, name: str) -> None:
        """Until a simulator that was started answers. Raises TimeoutError."""
        give_up_at = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < give_up_at:
            try:
                await self._request("GET", f"{self.actors[name].address}/healthz")
            except (aiohttp.ClientError, ConnectionError):
                await asyncio.sleep(0.05)
            else:
                return
        raise TimeoutError(f"{name} does not answer")

    async def behave(self, name: str, behaviour: Behaviour) -> None:
        self.actors[name].behaviour = behaviour
        url = f"{self.actors[name].address}/_sim/behaviour"
        await self._request("PUT", url, behaviour.model_dump(mode="json"))

    def calls(self) -> list[Call]:
        """Of all simulators, since the beginning of the run."""
        return [call for actor in self.actors.values() for call in actor.calls()]

    async def _request(self, method: str, url: str, body: object = None) -> None:
        if self._session is None:
            raise RuntimeError("the cast was not entered")
        async with self._session.request(method, url, json=body) as response:
            response.raise_for_status()
