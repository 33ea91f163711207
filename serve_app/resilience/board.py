"""The owner of all breakers, in one process's memory. Bounded: it knows the configured upstreams and no other."""

from collections.abc import Callable, Iterable, Sequence

from serve_app.contracts.breaker import BreakerEvent, BreakerView
from serve_app.resilience.breaker import QUIET, BreakerPolicy, BreakerState, on_event, take_probe, view_of


class MemoryBreakerBoard:
    """Implements the BreakerBoard port. What concerns an upstream that is not configured is ignored, and never probed.

    `clock` gives seconds and should be monotonic.
    """

    def __init__(self, policy: BreakerPolicy, upstream_ids: Iterable[str], clock: Callable[[], float]) -> None:
        self._policy, self._clock = policy, clock
        self._states: dict[str, BreakerState] = dict.fromkeys(upstream_ids, QUIET)

    async def report(self, holder: str, events: Sequence[BreakerEvent]) -> Sequence[BreakerView]:
        now_s = self._clock()
        for event in events:
            state = self._states.get(event.upstream_id)
            if state is not None:
                self._states[event.upstream_id] = on_event(state, self._policy, event, now_s)
        return [view_of(state, name, now_s) for name, state in self._states.items() if not state.is_quiet]

    async def try_probe(self, holder: str, upstream_id: str) -> bool:
        state = self._states.get(upstream_id)
        if state is None:
            return False
        self._states[upstream_id], may_call = take_probe(state, self._policy, self._clock(), holder)
        return may_call
