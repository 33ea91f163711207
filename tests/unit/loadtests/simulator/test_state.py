"""Which fault befalls a request, and what is shown of it."""

from loadtests.simulator.behaviour import Behaviour
from loadtests.simulator.damage import Damage
from loadtests.simulator.faults import Fault
from loadtests.simulator.state import Seen, State
from loadtests.simulator.wire import Header, Request


def a_request(*headers: Header) -> Request:
    return Request("POST", "/v1/chat/completions", list(headers), b"{}", True)


def test_the_header_wins_over_the_model_and_the_model_over_the_behaviour() -> None:
    state = State("s", Behaviour(fault=Fault.HANG))
    ordered = a_request((b"x-sim-fault", b"http_500"))
    assert state.damage_for(ordered, "sim-fault-empty") == Damage(Fault.HTTP_500, 3)
    assert state.damage_for(a_request(), "sim-fault-empty") == Damage(Fault.EMPTY, 3)
    assert state.damage_for(a_request(), "simulator") == Damage(Fault.HANG, 3)


def test_a_fault_takes_its_number_from_the_order_then_from_the_behaviour() -> None:
    state = State("s", Behaviour(fault_after_chunks=5, retry_after_s=30))
    assert state.damage_for(a_request(), "sim-fault-die_after_n-2") == Damage(Fault.DIE_AFTER_N, 2)
    assert state.damage_for(a_request(), "sim-fault-die_after_n") == Damage(Fault.DIE_AFTER_N, 5)
    assert state.damage_for(a_request(), "sim-fault-rate_limited") == Damage(Fault.RATE_LIMITED, 30)


def test_rates_hold_and_their_draws_repeat_with_the_seed() -> None:
    state = State("s", Behaviour(fault=Fault.EMPTY, fault_rate=0.2, error_rate=0.1, seed=7))
    first = [state.damage_for(a_request(), "m") for _ in range(1000)]
    state.reset()
    assert [state.damage_for(a_request(), "m") for _ in range(1000)] == first
    faults = [damage.fault for damage in first if damage is not None]
    assert 150 < faults.count(Fault.EMPTY) < 250
    assert 50 < faults.count(Fault.HTTP_500) < 120


def test_a_reset_gives_back_the_behaviour_of_the_start() -> None:
    state = State("s", Behaviour(ttft_ms=5))
    state.behave(Behaviour(fault=Fault.HANG))
    state.counters.start("r")
    state.reset()
    assert state.behaviour == Behaviour(ttft_ms=5)
    assert state.counters.total.started == 0


def test_of_an_unlisted_header_only_the_name_is_shown() -> None:
    seen = Seen("/", [(b"authorization", b"Bearer secret"), (b"x-request-id", b"r1")], 10).as_json()
    assert seen["header_names"] == ["authorization", "x-request-id"]
    assert seen["headers"] == {"x-request-id": "r1"}
