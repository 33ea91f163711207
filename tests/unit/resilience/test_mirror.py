import asyncio

import pytest

from serve_app.contracts.breaker import BreakerEvent
from serve_app.contracts.vocabulary import Circuit
from serve_app.errors import SharedStateUnavailable
from serve_app.resilience.mirror import MAX_UNSENT, BreakerMirror
from tests.fakes.breakers import FAILURE, POLICY, SUCCESS, TRIP, Stage, now, running, synced, turns


@pytest.fixture
async def stage() -> Stage:
    return Stage()


async def test_a_closed_circuit_lets_calls_through_without_a_wait(stage: Stage) -> None:
    assert stage.one.circuit("a") is Circuit.CLOSED
    assert now(stage.one.may_call("a"))
    assert stage.owner.num_asks == 0


async def test_what_was_seen_holds_here_at_once_and_the_owner_hears_of_it_later(stage: Stage) -> None:
    for _ in range(3):
        stage.one.saw(FAILURE)
    assert stage.one.circuit("a") is Circuit.OPEN
    assert not now(stage.one.may_call("a"))
    assert stage.owner.reports == []
    await synced(stage.one)
    assert stage.owner.reports == [[FAILURE] * 3]


async def test_one_upstreams_failures_leave_the_others_alone(stage: Stage) -> None:
    stage.one.saw(TRIP)
    assert now(stage.one.may_call("b"))


async def test_an_upstream_that_is_not_configured_is_a_defect(stage: Stage) -> None:
    with pytest.raises(KeyError):
        stage.one.saw(BreakerEvent("z", is_success=False))
    with pytest.raises(KeyError):
        await stage.one.may_call("z")


async def test_another_router_hears_of_it_at_its_next_sync(stage: Stage) -> None:
    stage.one.saw(TRIP)
    await synced(stage.one)
    assert stage.two.circuit("a") is Circuit.CLOSED
    await synced(stage.two)
    assert stage.two.circuit("a") is Circuit.OPEN


async def test_failures_of_two_routers_add_up(stage: Stage) -> None:
    stage.one.saw(FAILURE)
    stage.two.saw(FAILURE)
    await synced(stage.one)
    await synced(stage.two)
    stage.two.saw(FAILURE)
    assert stage.two.circuit("a") is Circuit.OPEN


async def test_successes_of_a_quiet_upstream_are_not_sent(stage: Stage) -> None:
    for _ in range(100):
        stage.one.saw(SUCCESS)
    await synced(stage.one)
    assert stage.owner.reports == [[]]


async def test_a_success_after_a_failure_is_sent(stage: Stage) -> None:
    stage.one.saw(FAILURE)
    await synced(stage.one)
    stage.one.saw(SUCCESS)
    await synced(stage.one)
    assert stage.owner.reports == [[FAILURE], [SUCCESS]]


async def test_what_comes_late_while_it_is_open_is_not_sent(stage: Stage) -> None:
    stage.one.saw(TRIP)
    for event in (FAILURE, SUCCESS, TRIP):
        stage.one.saw(event)
    await synced(stage.one)
    assert stage.owner.reports == [[TRIP]]


async def test_a_trip_is_sent_at_once_and_a_mere_failure_at_the_next_sync() -> None:
    stage = Stage()
    mirror = BreakerMirror(
        stage.owner, "one", policy=POLICY, upstream_ids=["a"], sync_interval_s=3600.0, clock=stage.clock
    )
    async with running(mirror):
        await turns()
        mirror.saw(FAILURE)
        await turns()
        assert stage.owner.reports == [[]]
        mirror.saw(TRIP)
        await turns()
        assert stage.owner.reports == [[], [FAILURE, TRIP]]


async def test_the_owners_word_replaces_the_local_copy(stage: Stage) -> None:
    stage.one.saw(TRIP)
    await synced(stage.one)
    await stage.owner.board.report("two", [])
    stage.clock.advance(5.0)
    await stage.owner.board.report("two", [SUCCESS])
    await synced(stage.one)
    assert stage.one.circuit("a") is Circuit.CLOSED


async def test_what_the_owner_has_not_been_told_stays_applied(stage: Stage) -> None:
    stage.owner.lets_go.clear()
    async with running(stage.one):
        await turns()
        stage.one.saw(TRIP)
        stage.owner.trouble = SharedStateUnavailable(1.0)
        stage.owner.lets_go.set()
        await turns()
        assert stage.owner.reports[:2] == [[], [TRIP]]
        assert stage.one.circuit("a") is Circuit.OPEN


async def test_while_the_owner_is_away_nothing_is_lost_and_the_copy_goes_on(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    stage.owner.trouble = SharedStateUnavailable(1.0)
    stage.one.saw(FAILURE)
    await synced(stage.one)
    await synced(stage.one)
    stage.one.saw(TRIP)
    assert stage.one.circuit("a") is Circuit.OPEN
    stage.owner.trouble = None
    await synced(stage.one)
    assert stage.owner.reports[-1] == [FAILURE, TRIP]
    assert [record.getMessage() for record in caplog.records] == [
        "the breakers' owner does not answer: SharedStateUnavailable",
        "the breakers' owner answers again",
    ]


async def test_a_defect_of_the_owner_does_not_end_the_loop(stage: Stage) -> None:
    stage.owner.trouble = RuntimeError("a defect")
    async with running(stage.one):
        await turns()
        stage.owner.trouble = None
        stage.one.saw(TRIP)
        await turns()
    assert stage.owner.reports[-1] == [TRIP]


async def test_a_report_that_takes_too_long_is_sent_again(stage: Stage) -> None:
    stage.one.saw(FAILURE)
    stage.owner.lets_go.clear()
    async with running(stage.one):
        await asyncio.sleep(0.1)
    assert stage.owner.reports[:2] == [[FAILURE], [FAILURE]]


async def test_events_that_cannot_be_sent_push_out_the_oldest(stage: Stage) -> None:
    stage.owner.trouble = SharedStateUnavailable(1.0)
    for _ in range(2 * MAX_UNSENT):
        stage.one.saw(FAILURE)
        stage.clock.advance(100.0)
    await synced(stage.one)
    stage.one.saw(SUCCESS)
    await synced(stage.one)
    assert stage.owner.reports[-1] == [FAILURE] * (MAX_UNSENT - 1) + [SUCCESS]
