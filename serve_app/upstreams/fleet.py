"""The upstreams this router talks to, what it has lately seen of them, and how many attempts each has open."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager

from serve_app.contracts.breaker import BreakerEvent
from serve_app.contracts.fleet import Candidate, FleetSnapshot, UpstreamState
from serve_app.contracts.upstream import Upstream
from serve_app.contracts.vocabulary import LOCAL
from serve_app.errors import UpstreamFailed
from serve_app.resilience.latency import LatencyWindow
from serve_app.resilience.mirror import BreakerMirror
from serve_app.upstreams.seat import Seat

log = logging.getLogger(__name__)

IMPATIENT_S = 1.0


class Fleet:
    """Bounded by the configuration: one seat an upstream, `max_in_flight` slots a seat."""

    def __init__(
        self,
        candidates: Sequence[Candidate],
        upstreams: Mapping[str, Upstream],
        breakers: BreakerMirror,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.candidates = tuple(candidates)
        self._breakers = breakers
        specs = {candidate.upstream.id: candidate.upstream for candidate in candidates}
        self._seats = {upstream_id: Seat(spec, upstreams[upstream_id], clock) for upstream_id, spec in specs.items()}

    def snapshot(self) -> FleetSnapshot:
        return FleetSnapshot(
            self.candidates,
            {
                upstream_id: UpstreamState(
                    is_available=seat.is_available,
                    ttft_s=seat.ttft.median(),
                    num_in_flight=seat.num_in_flight,
                    circuit=self._breakers.circuit(upstream_id),
                    answer_s=seat.answer.median(),
                )
                for upstream_id, seat in self._seats.items()
            },
        )

    @asynccontextmanager
    async def slot(self, upstream_id: str, wait_s: float, *, waits_for_start: bool) -> AsyncIterator[Upstream]:
        """The upstream, held in one of its slots; waits for one no longer than `wait_s`.

        Raises UpstreamFull, or UpstreamCold when the upstream is not up: at once, unless `waits_for_start`.
        """
        async with self._seats[upstream_id].slot(wait_s, waits_for_start=waits_for_start) as upstream:
            yield upstream

    async def may_call(self, upstream_id: str) -> bool:
        """Whether its circuit breaker lets a call through; a half-open one lets a single caller."""
        return await self._breakers.may_call(upstream_id)

    def not_called(self, upstream_id: str) -> None:
        """A call that `may_call` let through was not made after all."""
        self._breakers.release(upstream_id)

    def saw(self, event: BreakerEvent) -> None:
        self._breakers.saw(event)

    def saw_first_token(self, upstream_id: str, ttft_s: float) -> None:
        seat = self._seats[upstream_id]
        seat.ttft.add(ttft_s)
        seat.mark_up()

    def saw_answer(self, upstream_id: str, elapsed_s: float) -> None:
        seat = self._seats[upstream_id]
        seat.answer.add(elapsed_s)
        seat.mark_up()

    def saw_failure(self, upstream_id: str, error: UpstreamFailed) -> None:
        """An upstream that cannot be reached is not chosen again until a probe finds it."""
        if error.code in ("upstream_unreachable", "upstream_cold"):
            self._seats[upstream_id].mark_down()

    def latency(self, upstream_id: str, *, is_streaming: bool) -> LatencyWindow:
        """Observed times to the first token, or of whole plain answers; seconds."""
        seat = self._seats[upstream_id]
        return seat.ttft if is_streaming else seat.answer

    def usual_s(self, candidate: Candidate, *, is_streaming: bool) -> float:
        """The median of what was lately seen, or what the configuration expects of a first token."""
        median = self.latency(candidate.upstream.id, is_streaming=is_streaming).median()
        return candidate.upstream.expected_ttft_s if median is None else median

    def starts_in_s(self, upstream_ids: Iterable[str]) -> float:
        """When the first of these is up again, going by its last measured start; at least a second."""
        return max(1.0, min((self._seats[upstream_id].starts_in_s() for upstream_id in upstream_ids), default=1.0))

    def opens_in_s(self, upstream_ids: Iterable[str]) -> float:
        """When the first of these may be called again, going by its circuit breaker; at least a second."""
        return max(1.0, min((self._breakers.opens_in_s(upstream_id) for upstream_id in upstream_ids), default=1.0))

    def availability(self) -> dict[str, bool]:
        """What may be promised to others: an upstream of which nothing is known yet is not counted on."""
        return {upstream_id: seat.is_available and seat.is_known for upstream_id, seat in self._seats.items()}

    def is_local_ready(self) -> bool:
        local = {candidate.upstream.id for candidate in self.candidates if candidate.upstream.place == LOCAL}
        available = self.availability()
        return all(available[upstream_id] for upstream_id in local)

    async def run(self, probe_interval_s: float) -> None:
        """Until cancelled: probes what may be probed, and waits for what was found down and must not be."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_probing(probe_interval_s))
            for seat in self._seats.values():
                if seat.spec.scales_to_zero:
                    tasks.create_task(seat.keep_waking())

    async def _keep_probing(self, interval_s: float) -> None:
        """Looks more often while something is missing, so that what comes back is soon used."""
        while True:
            await self.probe_all(interval_s)
            is_complete = all(self.availability().values())
            await asyncio.sleep(interval_s if is_complete else min(interval_s, IMPATIENT_S))

    async def probe_all(self, time_limit_s: float) -> None:
        """Asks upstreams once, side by side, whether they could take a request.

        Not those that scale to zero: a probe would be the demand that keeps a replica up.
        """
        async with asyncio.TaskGroup() as tasks:
            for seat in self._seats.values():
                if not seat.spec.scales_to_zero:
                    tasks.create_task(_probe(seat, time_limit_s))


async def _probe(seat: Seat, time_limit_s: float) -> None:
    try:
        await asyncio.wait_for(seat.upstream.probe(), time_limit_s)
    except Exception as error:  # noqa: BLE001 - a background loop: one upstream's defect must not end all probing
        if seat.is_available:
            log.warning("upstream %s is unavailable: %s", seat.spec.id, type(error).__name__)
        seat.mark_down()
        return
    if not seat.is_available:
        log.warning("upstream %s is available", seat.spec.id)
    seat.mark_up()
