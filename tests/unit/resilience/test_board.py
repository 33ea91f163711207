from serve_app.contracts.breaker import BreakerBoard, BreakerEvent, BreakerView
from serve_app.contracts.vocabulary import Circuit
from serve_app.resilience.board import MemoryBreakerBoard
from serve_app.resilience.breaker import BreakerPolicy
from tests.fakes.builders import FakeClock

POLICY = BreakerPolicy(failure_threshold=2, open_for_s=5.0, max_open_for_s=60.0, probe_lease_s=20.0)
FAILURE = BreakerEvent("a", is_success=False)
TRIP = BreakerEvent("a", is_success=False, trips=True)
SUCCESS = BreakerEvent("a", is_success=True)


def a_board(clock: FakeClock | None = None) -> MemoryBreakerBoard:
    return MemoryBreakerBoard(POLICY, ["a", "b"], clock or FakeClock())


async def test_a_board_is_what_the_port_says() -> None:
    board: BreakerBoard = a_board()
    assert await board.report("one", []) == []


async def test_what_two_routers_report_adds_up() -> None:
    board = a_board()
    assert await board.report("one", [FAILURE]) == [BreakerView("a", Circuit.CLOSED, 0.0, 1)]
    assert await board.report("two", [FAILURE]) == [BreakerView("a", Circuit.OPEN, 5.0, 2)]


async def test_events_are_taken_in_their_order() -> None:
    assert await a_board().report("one", [FAILURE, SUCCESS, FAILURE]) == [BreakerView("a", Circuit.CLOSED, 0.0, 1)]


async def test_of_all_routers_one_may_probe() -> None:
    clock = FakeClock()
    board = a_board(clock)
    await board.report("one", [TRIP])
    assert not await board.try_probe("one", "a")
    clock.advance(5.0)
    assert [await board.try_probe(holder, "a") for holder in ("one", "two")] == [True, False]
    clock.advance(20.0)
    assert await board.try_probe("two", "a")
    assert await board.report("two", [SUCCESS]) == []


async def test_one_upstreams_failures_are_not_anothers() -> None:
    board = a_board()
    await board.report("one", [TRIP])
    assert await board.try_probe("one", "b")


async def test_an_upstream_that_is_not_configured_takes_no_room_and_is_never_probed() -> None:
    board = a_board()
    assert await board.report("one", [BreakerEvent("z", is_success=False, trips=True)]) == []
    assert not await board.try_probe("one", "z")
