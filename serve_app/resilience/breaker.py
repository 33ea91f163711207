"""One upstream's circuit breaker as a value, and the pure functions that move it, for its owner and for every router.

Invariants, for one breaker under one clock:
- Closed, everybody may call. Open, nobody may. Half-open, at most one probe is alive, and its lease ends by itself.
- `failure_threshold` failures in a row open it; so does one failure that trips or that announces a pause.
- A pause lasts `open_for_s`, doubled with each probe that failed, at most `max_open_for_s`; an announced pause is a
  floor under that, up to MAX_ANNOUNCED_S. Where the announcement is all that opens it, the pause is what was announced:
  the upstream knows best. What was doubled is forgotten when it closes.
- While it is open, nothing shortens the pause, and only an announcement that reaches further lengthens it: what comes
  in then tells of calls that began before.
- Once the pause is over, any success closes it, with a lease or without: a call that ended well just now is evidence
  as good as a probe's. Any failure opens it again, doubled only while a probe is alive: without one it tells of a call
  from before the pause.
- A clock that jumps back cannot keep it open: a pause (or a lease) that has not begun yet, by more than CLOCK_SKEW_S,
  is over. So whatever the clock says, what is left never exceeds the longest pause and CLOCK_SKEW_S.
"""

import json
from dataclasses import asdict, dataclass, replace

from serve_app.contracts.breaker import BreakerEvent, BreakerView
from serve_app.contracts.vocabulary import Circuit

MAX_ANNOUNCED_S = 3600.0
"""No upstream is left alone for longer at its own word."""
CLOCK_SKEW_S = 1.0
"""Two machines' clocks may differ by this much; one further behind has jumped back."""
_MAX_DOUBLINGS = 32


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """All but the threshold in seconds. `probe_lease_s`: how long a probe may keep others from probing."""

    failure_threshold: int
    open_for_s: float
    max_open_for_s: float
    probe_lease_s: float


@dataclass(frozen=True, slots=True)
class Span:
    """From one moment until another, in seconds on the owner's clock."""

    starts_at_s: float
    ends_at_s: float

    def left_s(self, now_s: float) -> float:
        """0 before it, but for the clocks' skew, and 0 after it."""
        has_begun = now_s >= self.starts_at_s - CLOCK_SKEW_S
        return max(0.0, self.ends_at_s - now_s) if has_begun else 0.0


@dataclass(frozen=True, slots=True)
class BreakerState:
    """`pause`: the last one, over or not; None while closed. `num_doublings`: probes in a row that failed."""

    num_failures: int = 0
    num_doublings: int = 0
    pause: Span | None = None
    probe: Span | None = None
    probe_holder: str | None = None

    @property
    def is_quiet(self) -> bool:
        """Closed, and nothing speaks against the upstream."""
        return self.pause is None and self.num_failures == 0

    def to_json(self) -> str:
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | bytes) -> "BreakerState":
        """Raises ValueError for text without the shape that `to_json` gives."""
        try:
            fields = json.loads(text)
            for name in ("pause", "probe"):
                fields[name] = None if fields[name] is None else Span(**fields[name])
            return cls(**fields)
        except (TypeError, KeyError, ValueError):
            raise ValueError("not a breaker's state") from None


QUIET = BreakerState()


def on_event(state: BreakerState, policy: BreakerPolicy, event: BreakerEvent, now_s: float) -> BreakerState:
    """What one call said, applied."""
    if event.is_success:
        return on_success(state, now_s)
    return on_failure(state, policy, now_s, trips=event.trips, open_for_s=event.open_for_s)


def on_success(state: BreakerState, now_s: float) -> BreakerState:
    """Closes a half-open breaker and forgets failures. One that is open stays so: the call began before it opened.

    Where nothing changes, the very same state is returned; that holds for failures too.
    """
    return state if circuit_of(state, now_s) is Circuit.OPEN or state.is_quiet else QUIET


def on_failure(
    state: BreakerState, policy: BreakerPolicy, now_s: float, *, trips: bool = False, open_for_s: float = 0.0
) -> BreakerState:
    """`open_for_s`: the pause that the upstream announced, 0 for none."""
    announced_s = min(max(0.0, open_for_s), MAX_ANNOUNCED_S)
    circuit = circuit_of(state, now_s)
    if circuit is Circuit.OPEN:
        return _lengthened(state, now_s, announced_s)
    num_failures = state.num_failures + 1
    if circuit is Circuit.HALF_OPEN:
        num_doublings = min(state.num_doublings + has_live_probe(state, now_s), _MAX_DOUBLINGS)
    elif trips or num_failures >= policy.failure_threshold:
        num_doublings = 0
    else:
        return BreakerState(num_failures, pause=Span(now_s, now_s + announced_s) if announced_s else None)
    usual_s = min(policy.open_for_s * 2**num_doublings, policy.max_open_for_s)
    pause = Span(now_s, now_s + max(usual_s, announced_s))
    return BreakerState(num_failures, num_doublings, pause)


def _lengthened(state: BreakerState, now_s: float, announced_s: float) -> BreakerState:
    if state.pause is None or announced_s <= state.pause.left_s(now_s):
        return state
    return replace(state, pause=Span(now_s, now_s + announced_s))


def take_probe(state: BreakerState, policy: BreakerPolicy, now_s: float, holder: str) -> tuple[BreakerState, bool]:
    """Whether `holder` may call. A closed breaker needs no lease; a live lease refuses its own holder too."""
    circuit = circuit_of(state, now_s)
    if circuit is Circuit.CLOSED:
        return state, True
    if circuit is Circuit.OPEN or has_live_probe(state, now_s):
        return state, False
    return replace(state, probe=Span(now_s, now_s + policy.probe_lease_s), probe_holder=holder), True


def has_live_probe(state: BreakerState, now_s: float) -> bool:
    return state.probe is not None and state.probe.left_s(now_s) > 0.0


def circuit_of(state: BreakerState, now_s: float) -> Circuit:
    if state.pause is None:
        return Circuit.CLOSED
    return Circuit.OPEN if state.pause.left_s(now_s) > 0.0 else Circuit.HALF_OPEN


def view_of(state: BreakerState, upstream_id: str, now_s: float) -> BreakerView:
    opens_for_s = 0.0 if state.pause is None else state.pause.left_s(now_s)
    return BreakerView(upstream_id, circuit_of(state, now_s), opens_for_s, state.num_failures)
