"""The upstreams this router talks to, what it has lately seen of them, and how many attempts each has open."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from serve_app.contracts.deadline import Deadline
from serve_app.contracts.fleet import Candidate, FleetSnapshot, UpstreamState
from serve_app.contracts.upstream import Upstream
from serve_app.contracts.vocabulary import LOCAL
from serve_app.errors import UpstreamFailed, UpstreamTimedOut

log = logging.getLogger(__name__)

IMPATIENT_S = 1.0
TTFT_SMOOTHING = 0.2
"""Weight of the newest time to first token in the moving average."""


class _Seat:
    """One upstream with its slots and its observations."""

    def __init__(self, upstream: Upstream, max_in_flight: int) -> None:
        self.upstream = upstream
        self.slots = asyncio.Semaphore(max_in_flight)
        self.is_available = True  # tried until something speaks against it
        self.is_known = False
        self.ttft_s: float | None = None
        self.num_in_flight = 0


class Fleet:
    """Bounded by the configuration: one seat an upstream, `max_in_flight` slots a seat."""

    def __init__(self, candidates: Sequence[Candidate], upstreams: Mapping[str, Upstream]) -> None:
        self.candidates = tuple(candidates)
        limits = OrderedDict((c.upstream.id, c.upstream.max_in_flight) for c in candidates)
        self._seats = {upstream_id: _Seat(upstreams[upstream_id], limit) for upstream_id, limit in limits.items()}

    def snapshot(self) -> FleetSnapshot:
        return FleetSnapshot(
            self.candidates,
            {
                upstream_id: UpstreamState(seat.is_available, seat.ttft_s, seat.num_in_flight)
                for upstream_id, seat in self._seats.items()
            },
        )

    @asynccontextmanager
    async def slot(self, upstream_id: str, deadline: Deadline) -> AsyncIterator[Upstream]:
        """The upstream, held in one of its slots; waits for one no longer than the deadline."""
        seat = self._seats[upstream_id]
        try:
            # Not wait_for: on Python 3.11 it swallows a cancellation that meets a slot just come free.
            async with asyncio.timeout(deadline.remaining_s()):
                await seat.slots.acquire()
        except TimeoutError:
            raise UpstreamTimedOut(upstream_id, "no_slot") from None
        seat.num_in_flight += 1
        try:
            yield seat.upstream
        finally:
            seat.num_in_flight -= 1
            seat.slots.release()

    def saw_first_token(self, upstream_id: str, ttft_s: float) -> None:
        seat = self._seats[upstream_id]
        seat.is_available = seat.is_known = True
        seat.ttft_s = ttft_s if seat.ttft_s is None else seat.ttft_s + TTFT_SMOOTHING * (ttft_s - seat.ttft_s)

    def saw_failure(self, upstream_id: str, error: UpstreamFailed) -> None:
        """An upstream that cannot be reached is not chosen again until a probe finds it."""
        if error.code == "upstream_unreachable":
            self._seats[upstream_id].is_available = False

    def availability(self) -> dict[str, bool]:
        """What may be promised to others: an upstream of which nothing is known yet is not counted on."""
        return {upstream_id: seat.is_available and seat.is_known for upstream_id, seat in self._seats.items()}

    def is_local_ready(self) -> bool:
        local = {candidate.upstream.id for candidate in self.candidates if candidate.upstream.place == LOCAL}
        available = self.availability()
        return all(available[upstream_id] for upstream_id in local)

    async def keep_probing(self, interval_s: float) -> None:
        """Until cancelled; looks more often while something is missing, so that what comes back is soon used."""
        while True:
            await self.probe_all(interval_s)
            is_complete = all(self.availability().values())
            await asyncio.sleep(interval_s if is_complete else min(interval_s, IMPATIENT_S))

    async def probe_all(self, time_limit_s: float) -> None:
        """Asks every upstream once, side by side, whether it could take a request."""
        async with asyncio.TaskGroup() as tasks:
            for upstream_id, seat in self._seats.items():
                tasks.create_task(self._probe(upstream_id, seat, time_limit_s))

    async def _probe(self, upstream_id: str, seat: _Seat, time_limit_s: float) -> None:
        try:
            await asyncio.wait_for(seat.upstream.probe(), time_limit_s)
        except Exception as error:  # noqa: BLE001 - a background loop: one upstream's defect must not end all probing
            is_available = False
            cause = type(error).__name__
        else:
            is_available, cause = True, ""
        if is_available != seat.is_available:
            log.warning("upstream %s is %s %s", upstream_id, "available" if is_available else "unavailable", cause)
        seat.is_available, seat.is_known = is_available, True
