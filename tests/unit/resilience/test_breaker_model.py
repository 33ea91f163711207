"""The breaker against a reference that is written down as plainly as possible, over any sequence of events."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from serve_app.contracts.vocabulary import Circuit
from serve_app.errors import (
    BodyTooLarge,
    DeadlineExceeded,
    EgressForbidden,
    GatewayError,
    UpstreamCold,
    UpstreamFull,
    UpstreamRefused,
    UpstreamRejectedRequest,
)
from serve_app.resilience.breaker import (
    MAX_ANNOUNCED_S,
    QUIET,
    BreakerPolicy,
    circuit_of,
    on_failure,
    on_success,
    take_probe,
    view_of,
)
from serve_app.resilience.table import UpstreamKind, judge

THRESHOLD, OPEN_S, MAX_OPEN_S, LEASE_S = 3, 4, 30, 16
POLICY = BreakerPolicy(THRESHOLD, float(OPEN_S), float(MAX_OPEN_S), float(LEASE_S))
HOLDERS = st.sampled_from(["one", "two", "three"])
NOT_ITS_FAULT: list[GatewayError] = [
    UpstreamRejectedRequest("a", "no such field"),
    UpstreamRefused("a", "context_length_exceeded", None, 400),
    UpstreamRefused("a", "model_not_found", None, 404),
    UpstreamRefused("a", "status_418", 30.0, 418),
    UpstreamFull("a", "no_slot"),
    UpstreamCold("a", "not_up"),
    EgressForbidden("a", "cloud"),
    DeadlineExceeded(),
    BodyTooLarge(10),
]
ANNOUNCED = st.sampled_from([0, 0, 0, 1, 3, 7, 50, 4000])


class Reference:
    """The rules of a breaker in whole seconds, one `if` for each sentence of the specification."""

    def __init__(self) -> None:
        self.now = 0
        self.phase = "closed"
        self.failures = 0
        self.pause = OPEN_S
        self.open_until = 0
        self.probe_until = 0

    def tick(self, seconds: int) -> None:
        self.now += seconds
        if self.phase == "open" and self.now >= self.open_until:
            self.phase = "half_open"

    def success(self) -> None:
        if self.phase == "open":
            return
        self.phase, self.failures, self.pause, self.probe_until = "closed", 0, OPEN_S, 0

    def failure(self, trips: bool, announced: int) -> None:
        announced = min(announced, 3600)
        if self.phase == "open":
            self.open_until = max(self.open_until, self.now + announced)
            return
        self.failures += 1
        if self.phase == "half_open":
            if self.now < self.probe_until:
                self.pause = min(self.pause * 2, MAX_OPEN_S)
            self.open(max(self.pause, announced))
        elif trips or self.failures >= THRESHOLD:
            self.open(max(self.pause, announced))
        elif announced > 0:
            self.open(announced)

    def open(self, seconds: int) -> None:
        self.phase = "open"
        self.open_until = self.now + seconds
        self.probe_until = 0

    def ask(self) -> bool:
        if self.phase == "closed":
            return True
        if self.phase == "open" or self.now < self.probe_until:
            return False
        self.probe_until = self.now + LEASE_S
        return True


class BreakerMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.reference = Reference()
        self.state = QUIET
        self.live_probes: list[int] = []
        self.asked_to_rest_until = 0

    @property
    def now_s(self) -> float:
        return float(self.reference.now)

    @property
    def circuit(self) -> Circuit:
        return circuit_of(self.state, self.now_s)

    @rule(seconds=st.sampled_from([1, 2, 5, 17, 100, 5000]))
    def time_passes(self, seconds: int) -> None:
        self.reference.tick(seconds)
        self.live_probes = [until for until in self.live_probes if until > self.reference.now]

    @rule()
    def a_call_succeeds(self) -> None:
        was_open = self.circuit is Circuit.OPEN
        self.reference.success()
        self.state = on_success(self.state, self.now_s)
        if not was_open:
            self.live_probes, self.asked_to_rest_until = [], 0

    @rule(trips=st.booleans(), announced=ANNOUNCED)
    def a_call_fails(self, trips: bool, announced: int) -> None:
        was_open = self.circuit is Circuit.OPEN
        self.reference.failure(trips, announced)
        self.state = on_failure(self.state, POLICY, self.now_s, trips=trips, open_for_s=float(announced))
        if announced:
            rest_s = min(announced, int(MAX_ANNOUNCED_S))
            self.asked_to_rest_until = max(self.asked_to_rest_until, self.reference.now + rest_s)
        if not was_open and self.circuit is Circuit.OPEN:
            self.live_probes = []

    @rule(holder=HOLDERS)
    def somebody_wants_to_call(self, holder: str) -> None:
        before = self.circuit
        self.state, may_call = take_probe(self.state, POLICY, self.now_s, holder)
        assert may_call == self.reference.ask()
        assert not (may_call and before is Circuit.OPEN), "an open breaker was called"
        if may_call and before is Circuit.HALF_OPEN:
            self.live_probes.append(self.reference.now + LEASE_S)

    @rule(error=st.sampled_from(NOT_ITS_FAULT), kind=st.sampled_from(UpstreamKind))
    def somebody_else_was_at_fault(self, error: GatewayError, kind: UpstreamKind) -> None:
        """The table gives no failure to tell the breaker of; what was answered, be it with a no, is a success."""
        verdict = judge(error, kind)
        assert not verdict.counts
        if verdict.is_success:
            self.a_call_succeeds()

    @precondition(lambda self: self.circuit is Circuit.OPEN)
    @rule()
    def it_is_left_alone_until_it_half_opens(self) -> None:
        longest_s = max(MAX_OPEN_S, int(MAX_ANNOUNCED_S))
        assert circuit_of(self.state, self.now_s + longest_s) is Circuit.HALF_OPEN

    @invariant()
    def it_is_where_the_reference_is(self) -> None:
        view = view_of(self.state, "a", self.now_s)
        assert view.circuit.value == self.reference.phase
        assert view.num_failures == self.reference.failures
        is_open = self.reference.phase == "open"
        assert view.opens_for_s == (self.reference.open_until - self.reference.now if is_open else 0)

    @invariant()
    def at_most_one_probe_is_alive(self) -> None:
        assert len(self.live_probes) <= 1

    @invariant()
    def an_announced_pause_is_a_floor(self) -> None:
        if self.reference.now < self.asked_to_rest_until:
            assert self.circuit is Circuit.OPEN


BreakerMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestTheBreakerIsItsReference = BreakerMachine.TestCase
