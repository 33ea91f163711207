"""The gateway as its operators know it: commands that start it, stop it, and read its ledger."""

import asyncio
import sys
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from loadtests.chaos.books import Row, read_export

UP_LIMIT_S = 600.0
DOWN_LIMIT_S = 120.0
EXPORT_LIMIT_S = 60.0
_DEMO = (sys.executable, "-m", "serve_app.demo")
_UPCOACH = str(Path(sys.executable).with_name("upcoach"))


class CommandFailed(RuntimeError):
    """A command of the gateway's ended badly; its last words are in the message."""


@dataclass(frozen=True, slots=True)
class Gateway:
    """One instance, which lives in `home`. `project` is the checkout whose code it runs."""

    project: Path
    home: Path
    port: int
    gateway_file: Path
    serve_file: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def up(self) -> None:
        """Returns when it answers. Raises CommandFailed."""
        options = ["--home", str(self.home), "--port", str(self.port), "--serve-config", str(self.serve_file)]
        await self._run(UP_LIMIT_S, *_DEMO, "up", *options, "--no-simulators")

    async def down(self) -> None:
        await self._run(DOWN_LIMIT_S, *_DEMO, "down", "--home", str(self.home))

    async def ledger(self) -> list[Row]:
        """All rows so far. Raises CommandFailed, UnreadableBooks."""
        command = [_UPCOACH, "ledger", "export", "--format", "json", "--config", str(self.gateway_file)]
        return read_export(await self._run(EXPORT_LIMIT_S, *command))

    async def is_ready(self) -> bool:
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2.0)) as session,
                session.get(f"{self.url}/readyz") as response,
            ):
                return response.status == 200
        except (aiohttp.ClientError, ConnectionError, TimeoutError):
            return False

    async def _run(self, limit_s: float, *command: str) -> bytes:
        """What the command wrote to its standard output."""
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=self.project,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(limit_s):
                out, err = await process.communicate()
        except (TimeoutError, asyncio.CancelledError):
            process.terminate()
            await process.wait()
            raise
        if process.returncode != 0:
            last_words = (out[-1500:] + err[-1500:]).decode(errors="replace")
            raise CommandFailed(f"{' '.join(command[:4])} ended with {process.returncode}:\n{last_words}")
        return out
