"""An upstream that follows a script, behind the real port."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass

from serve_app.contracts.upstream import UpstreamCall


@dataclass(frozen=True, slots=True)
class Pause:
    """`seconds` of real time; None never ends."""

    seconds: float | None = None


Step = bytes | list[bytes] | BaseException | Pause
Script = Sequence[Step]
HANG = Pause()


class ScriptedUpstream:
    """Plays one script a call, the last one again for each further call.

    Bytes are a payload (for `complete` and `embed` the answer), a list a batch of them, an exception is raised.
    `cancel_error` is raised in place of a cancellation. `calls` holds every order, `num_running` the calls that have
    begun and not ended.
    """

    def __init__(self, *scripts: Script) -> None:
        self._scripts = scripts or ((),)
        self.calls: list[UpstreamCall] = []
        self.num_running = 0
        self.num_probes = 0
        self.probe_error: BaseException | None = None
        self.cancel_error: BaseException | None = None
        self.has_begun = asyncio.Event()
        self.reserve_errors: list[BaseException] = []
        self.num_reserved = 0
        self.num_wakes = 0
        self.is_up = asyncio.Event()

    @asynccontextmanager
    async def reserve(self, limit_s: float) -> AsyncIterator["ScriptedUpstream"]:
        """Raises what stands first in `reserve_errors`, once each."""
        if self.reserve_errors:
            raise self.reserve_errors.pop(0)
        self.num_reserved += 1
        try:
            yield self
        finally:
            self.num_reserved -= 1

    async def wake(self) -> None:
        self.num_wakes += 1
        await self.is_up.wait()

    async def complete(self, call: UpstreamCall) -> bytes:
        async with aclosing(self.stream(call)) as batches:
            async for batch in batches:
                return batch[0]
        raise AssertionError("the script holds no answer")

    embed = complete

    async def stream(self, call: UpstreamCall) -> AsyncGenerator[Sequence[bytes], None]:
        script = self._scripts[min(len(self.calls), len(self._scripts) - 1)]
        self.calls.append(call)
        self.num_running += 1
        self.has_begun.set()
        try:
            for step in script:
                batch = await _play(step)
                if batch is not None:
                    yield batch
        except asyncio.CancelledError:
            raise self.cancel_error or asyncio.CancelledError from None
        finally:
            self.num_running -= 1

    async def probe(self) -> None:
        self.num_probes += 1
        if self.probe_error is not None:
            await _play(self.probe_error)


async def _play(step: Step) -> list[bytes] | None:
    match step:
        case Pause(seconds):
            await (asyncio.Event().wait() if seconds is None else asyncio.sleep(seconds))
            return None
        case BaseException():
            raise step
        case bytes():
            await asyncio.sleep(0)
            return [step]
        case batch:
            await asyncio.sleep(0)
            return batch
