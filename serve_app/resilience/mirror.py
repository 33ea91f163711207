"""One router's view of all breakers: answers at once, tells their owner in the background, and works without it.

Invariants:
- The owner's word replaces the local copy, except that what the owner has not been told yet stays applied.
- A half-open breaker lets one call of this router through, and only under the owner's lease. While the owner does not
  answer, this router's own machine gives the lease: then each router may make one probe.
- A lease whose call ended without a verdict, or whose asker left, is kept and goes to this router's next call. Other
  routers see it end by itself.
- Nothing grows: events that cannot be sent push out the oldest.
"""

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextvars import ContextVar
from dataclasses import replace

from serve_app.contracts.breaker import BreakerBoard, BreakerEvent, BreakerView
from serve_app.contracts.vocabulary import Circuit
from serve_app.errors import SharedStateUnavailable
from serve_app.resilience.breaker import (
    QUIET,
    BreakerPolicy,
    BreakerState,
    Span,
    circuit_of,
    has_live_probe,
    on_event,
)

log = logging.getLogger(__name__)

MAX_UNSENT = 1024
_lease_held: ContextVar[Span | None] = ContextVar("lease_held", default=None)
"""The lease under which the current request, or a task that it started, makes its call; told apart by identity."""


class BreakerMirror:
    """Use from one event loop, with `run()` as a task of its own.

    `ask_limit_s`: how long the owner may take to answer, also when a request waits for a probe. Every method raises
    KeyError for an upstream that is not configured.
    """

    def __init__(
        self,
        board: BreakerBoard,
        holder: str,
        *,
        policy: BreakerPolicy,
        upstream_ids: Iterable[str],
        sync_interval_s: float,
        clock: Callable[[], float] = time.monotonic,
        ask_limit_s: float = 0.5,
    ) -> None:
        self._board, self._holder, self._policy = board, holder, policy
        self._sync_interval_s, self._ask_limit_s, self._clock = sync_interval_s, ask_limit_s, clock
        self._states: dict[str, BreakerState] = dict.fromkeys(upstream_ids, QUIET)
        self._unsent: deque[BreakerEvent] = deque(maxlen=MAX_UNSENT)
        self._is_urgent = asyncio.Event()
        self._asks: dict[str, asyncio.Task[None]] = {}
        self._leases: dict[str, Span] = {}
        self._refused: dict[str, Span] = {}
        self._is_reached = True

    def circuit(self, upstream_id: str) -> Circuit:
        return circuit_of(self._states[upstream_id], self._clock())

    def opens_in_s(self, upstream_id: str) -> float:
        """What is left of the pause, going by the local copy; 0 unless open."""
        pause = self._states[upstream_id].pause
        return 0.0 if pause is None else pause.left_s(self._clock())

    def saw(self, event: BreakerEvent) -> None:
        """Applies here at once; the owner hears of it at the next sync, and immediately when a circuit changed.

        What changes nothing is not sent: successes of a quiet upstream, and what comes late while its circuit is open.
        """
        before, now_s = self._states[event.upstream_id], self._clock()
        after = on_event(before, self._policy, event, now_s)
        if after is before:
            return
        self._states[event.upstream_id] = after
        self._unsent.append(event)
        if after.pause != before.pause:
            self._leases.pop(event.upstream_id, None)
        if circuit_of(before, now_s) is not circuit_of(after, now_s):
            self._is_urgent.set()

    async def may_call(self, upstream_id: str) -> bool:
        """Closed: True at once. Open: False. Half-open: True for one caller, who then owes a verdict or a `release`."""
        if self.circuit(upstream_id) is not Circuit.HALF_OPEN:
            return self._take(upstream_id)
        is_probed = has_live_probe(self._states[upstream_id], self._clock()) or upstream_id in self._asks
        if is_probed or _is_alive(self._refused.get(upstream_id), self._clock()):
            return False
        if not _is_alive(self._leases.get(upstream_id), self._clock()):
            await self._ask(upstream_id)
        return self._take(upstream_id)

    def release(self, upstream_id: str) -> None:
        """Gives back what `may_call` granted while half-open: that call was not made, or ended with no verdict.

        To be called by the request that was let through, or by a task of its own. For anybody else it does nothing:
        calls that began while the circuit was closed may end so while another's probe is under way. A call that the
        upstream answered, be it with a complaint about the caller, is a success: tell that to `saw` instead.
        """
        state = self._states[upstream_id]
        if state.probe is not None and state.probe is _lease_held.get():
            self._leases[upstream_id] = state.probe
            self._states[upstream_id] = replace(state, probe=None, probe_holder=None)

    async def run(self) -> None:
        """Until cancelled: sends what was seen and takes over the owner's view, at least every `sync_interval_s`."""
        try:
            while True:
                self._is_urgent.clear()
                await self._sync()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._sync_interval_s):
                        await self._is_urgent.wait()
        finally:
            for asking in self._asks.values():
                asking.cancel()

    async def _sync(self) -> None:
        events = list(self._unsent)
        self._unsent.clear()
        try:
            async with asyncio.timeout(self._ask_limit_s):
                views = await self._board.report(self._holder, events)
        except Exception as error:  # noqa: BLE001 - a background loop: whatever ails the owner, routers go on without it
            self._unsent = deque([*events, *self._unsent], maxlen=MAX_UNSENT)
            self._note_reached(type(error).__name__)
            return
        self._note_reached(None)
        self._take_over(views)

    def _note_reached(self, problem: str | None) -> None:
        is_reached = problem is None
        if is_reached != self._is_reached:
            log.warning("the breakers' owner %s", "answers again" if is_reached else f"does not answer: {problem}")
        self._is_reached = is_reached

    def _take_over(self, views: Sequence[BreakerView]) -> None:
        now_s = self._clock()
        told = {view.upstream_id: view for view in views}
        for upstream_id, local in self._states.items():
            view = told.get(upstream_id)
            self._states[upstream_id] = QUIET if view is None else _as_told(view, local, now_s)
            if view is None or view.circuit is not Circuit.HALF_OPEN:
                self._leases.pop(upstream_id, None)
        for event in self._unsent:
            self._states[event.upstream_id] = on_event(self._states[event.upstream_id], self._policy, event, now_s)

    async def _ask(self, upstream_id: str) -> None:
        """In a task of its own: a lease that is granted just as the asker leaves must not be lost."""
        asking = asyncio.create_task(self._fetch_lease(upstream_id))
        self._asks[upstream_id] = asking
        asking.add_done_callback(lambda _: self._asks.pop(upstream_id, None))
        await asyncio.wait({asking})
        if not asking.cancelled():
            asking.result()

    async def _fetch_lease(self, upstream_id: str) -> None:
        """Silence counts as a grant: without its owner, this router's own machine says who may probe."""
        asked_at_s = self._clock()
        try:
            async with asyncio.timeout(self._ask_limit_s):
                is_granted = await self._board.try_probe(self._holder, upstream_id)
        except (SharedStateUnavailable, TimeoutError):
            is_granted = True
        if is_granted:
            self._leases[upstream_id] = Span(asked_at_s, asked_at_s + self._policy.probe_lease_s)
            return
        # Another router probes, and will not be done sooner for being asked about on every request.
        self._refused[upstream_id] = Span(asked_at_s, asked_at_s + self._sync_interval_s)

    def _take(self, upstream_id: str) -> bool:
        """The local copy may have changed while the owner was asked, so it has the last word."""
        circuit, now_s = self.circuit(upstream_id), self._clock()
        if circuit is not Circuit.HALF_OPEN:
            return circuit is Circuit.CLOSED
        granted = self._leases.pop(upstream_id, None)
        if granted is None or granted.left_s(now_s) <= 0.0:
            return False
        # A call that takes over a released lease gets what is left of it, as a lease of its own.
        lease = replace(granted)
        _lease_held.set(lease)
        self._states[upstream_id] = replace(self._states[upstream_id], probe=lease, probe_holder=self._holder)
        return True


def _is_alive(span: Span | None, now_s: float) -> bool:
    return span is not None and span.left_s(now_s) > 0.0


def _as_told(view: BreakerView, local: BreakerState, now_s: float) -> BreakerState:
    """A view tells neither how often a probe failed nor who probes: that much the local copy knows best."""
    if view.circuit is Circuit.CLOSED:
        return BreakerState(view.num_failures)
    told = BreakerState(view.num_failures, local.num_doublings, Span(now_s, now_s + view.opens_for_s))
    if view.circuit is Circuit.OPEN:
        return told
    return replace(told, probe=local.probe, probe_holder=local.probe_holder)
