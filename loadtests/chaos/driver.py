"""Sends plans to a gateway, at most so many at once, and writes down what became of each."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

import aiohttp
import orjson

from loadtests.chaos.plan import Manner, RequestPlan
from loadtests.chaos.reading import Reading, StreamReader, read_whole
from loadtests.chaos.record import Record

GIVE_UP_AFTER_S = 10.0
"""How long past its deadline a request is waited for: long enough to show by how much a promise is broken."""
SLOW_GAP_S = 0.05
SLOW_FOR_S = 2.0
_KEPT_HEADERS = ("retry-after", "x-upcoach-upstream", "x-upcoach-attempts", "x-upcoach-reason", "content-type")

Cue = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Pressure:
    """`rate_per_s` None: as fast as `concurrency` lets."""

    concurrency: int = 24
    rate_per_s: float | None = None


@dataclass(slots=True)
class _Course:
    """What is known of a request while it runs."""

    started_s: float
    status: int | None = None
    cut: str | None = None
    left_s: float | None = None
    ttft_s: float | None = None
    headers: Mapping[str, str] | None = None


class Driver:
    """One client of one gateway. `keys` by tenant. Use as an async context manager."""

    def __init__(self, url: str, keys: Mapping[str, str]) -> None:
        self._url, self._keys = f"{url}/v1/chat/completions", keys
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "Driver":
        # A connection each request: a kept one that its server closes meanwhile would blame the gateway for a race.
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        self._session = aiohttp.ClientSession(connector=connector, read_bufsize=2048, auto_decompress=False)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def run(
        self, plans: Sequence[RequestPlan], pressure: Pressure, cues: Mapping[int, Cue] | None = None
    ) -> list[Record]:
        """Records in the order of `plans`. A cue runs beside the load, from when the plan of its number is to start."""
        room = asyncio.Semaphore(pressure.concurrency)
        began_s = time.monotonic()
        asking: list[asyncio.Task[Record]] = []
        async with asyncio.TaskGroup() as group:
            for number, plan in enumerate(plans):
                cue = (cues or {}).get(number)
                if cue is not None:
                    group.create_task(_as_coroutine(cue))
                if pressure.rate_per_s is not None:
                    await asyncio.sleep(max(0.0, began_s + number / pressure.rate_per_s - time.monotonic()))
                await room.acquire()
                task = group.create_task(self.ask(plan))
                task.add_done_callback(lambda _: room.release())
                asking.append(task)
        return [task.result() for task in asking]

    async def ask(self, plan: RequestPlan) -> Record:
        """Raises nothing: what goes wrong is in the record."""
        course = _Course(time.monotonic())
        reading = Reading()
        try:
            async with asyncio.timeout(plan.deadline_s + GIVE_UP_AFTER_S):
                reading = await self._exchange(plan, course)
        except TimeoutError:
            course.cut = "waited_too_long"
        except (aiohttp.ClientError, ConnectionError) as error:
            course.cut = type(error).__name__
        return Record(
            plan=plan,
            started_s=course.started_s,
            ended_s=time.monotonic(),
            status=course.status,
            cut=None if course.left_s is not None else course.cut,
            left_s=course.left_s,
            ttft_s=course.ttft_s,
            headers=course.headers or {},
            error=reading.error,
            problem=reading.problem,
            text=reading.text,
            finish_reason=reading.finish_reason,
            is_done=reading.is_done,
            models=tuple(sorted(reading.models)),
        )

    async def _exchange(self, plan: RequestPlan, course: _Course) -> Reading:
        stays = _stays_for(plan)
        stream = StreamReader()
        try:
            async with asyncio.timeout(stays), self._send(plan) as response:
                course.status = response.status
                course.headers = {name: response.headers[name] for name in _KEPT_HEADERS if name in response.headers}
                if response.content_type != "text/event-stream":
                    return _read_plain(await response.read(), response)
                return await self._read_stream(plan, course, response, stream)
        except TimeoutError:
            if stays is None:
                raise
            course.left_s = time.monotonic()
            return stream.reading
        except (aiohttp.ClientError, ConnectionError) as error:
            # What was read stays: a stream that was cut must still be judged.
            course.cut = type(error).__name__
            return stream.reading

    def _send(self, plan: RequestPlan) -> "aiohttp.client._RequestContextManager":
        if self._session is None:
            raise RuntimeError("the driver was not entered")
        headers = {
            **plan.headers(),
            "Authorization": f"Bearer {self._keys[plan.tenant]}",
            "Content-Type": "application/json",
        }
        timeout = aiohttp.ClientTimeout(total=None)
        return self._session.post(self._url, data=orjson.dumps(plan.body()), headers=headers, timeout=timeout)

    async def _read_stream(
        self, plan: RequestPlan, course: _Course, response: aiohttp.ClientResponse, stream: StreamReader
    ) -> Reading:
        slow_until_s = time.monotonic() + SLOW_FOR_S if plan.manner is Manner.SLOW_READER else 0.0
        while True:
            is_slow = time.monotonic() < slow_until_s
            part = await response.content.read(1) if is_slow else await response.content.readany()
            if not part:
                return stream.reading
            stream.feed(part)
            if course.ttft_s is None and stream.reading.num_chunks:
                course.ttft_s = time.monotonic() - course.started_s
            if plan.manner is Manner.LEAVES_IN_STREAM and stream.reading.num_chunks >= plan.leave_after:
                course.left_s = time.monotonic()
                response.close()
                return stream.reading
            if is_slow:
                await asyncio.sleep(SLOW_GAP_S)


def _read_plain(body: bytes, response: aiohttp.ClientResponse) -> Reading:
    reading = read_whole(body)
    if reading.problem is not None:
        # Whoever answers in the gateway's place shows itself by its words.
        reading.problem += f" ({response.content_type}: {body[:60]!r})"
    return reading


def _stays_for(plan: RequestPlan) -> float | None:
    """Seconds after which the client leaves whatever it got; None for one that stays."""
    return plan.leave_after if plan.manner is Manner.LEAVES_EARLY else None


async def _as_coroutine(cue: Cue) -> None:
    await cue()
