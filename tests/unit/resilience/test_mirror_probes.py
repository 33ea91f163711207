"""Half-open, as one router sees it: who may make the one call, and where its lease goes."""

import asyncio

import pytest

from serve_app.contracts.vocabulary import Circuit
from serve_app.errors import SharedStateUnavailable
from tests.fakes.breakers import FAILURE, SUCCESS, TRIP, Stage, now, running, synced, turns


@pytest.fixture
async def stage() -> Stage:
    return Stage()


async def test_of_all_routers_one_call_probes(stage: Stage) -> None:
    await stage.half_open()
    answers = await asyncio.gather(*(mirror.may_call("a") for mirror in (stage.one, stage.one, stage.two, stage.two)))
    assert sum(answers) == 1
    assert not await stage.one.may_call("a")


async def test_the_owners_no_is_not_asked_for_again_on_every_request(stage: Stage) -> None:
    await stage.half_open()
    assert await stage.one.may_call("a")
    assert [await stage.two.may_call("a") for _ in range(5)] == [False] * 5
    assert stage.owner.num_asks == 2
    stage.clock.advance(0.01)
    assert not await stage.two.may_call("a")
    assert stage.owner.num_asks == 3


async def test_a_probe_that_succeeds_closes_the_circuit_everywhere(stage: Stage) -> None:
    await stage.half_open()
    assert await stage.one.may_call("a")
    stage.one.saw(SUCCESS)
    assert stage.one.circuit("a") is Circuit.CLOSED
    await synced(stage.one)
    await synced(stage.two)
    assert stage.two.circuit("a") is Circuit.CLOSED


async def test_a_probe_that_fails_opens_it_for_longer(stage: Stage) -> None:
    await stage.half_open()
    assert await stage.one.may_call("a")
    stage.one.saw(FAILURE)
    await synced(stage.one)
    stage.clock.advance(9.9)
    assert stage.one.circuit("a") is Circuit.OPEN
    stage.clock.advance(0.2)
    assert stage.one.circuit("a") is Circuit.HALF_OPEN


async def test_a_view_that_comes_while_a_probe_runs_starts_no_second_one(stage: Stage) -> None:
    await stage.half_open()
    assert await stage.one.may_call("a")
    await synced(stage.one)
    assert stage.one.circuit("a") is Circuit.HALF_OPEN
    assert not await stage.one.may_call("a")
    assert stage.owner.num_asks == 1


async def test_a_probe_without_a_verdict_goes_to_this_routers_next_call(stage: Stage) -> None:
    await stage.half_open()
    assert await stage.one.may_call("a")
    stage.one.release("a")
    assert not await stage.two.may_call("a")
    assert await stage.one.may_call("a")
    assert not await stage.one.may_call("a")
    assert stage.owner.num_asks == 2


async def test_a_lease_handed_on_ends_when_it_would_have_ended(stage: Stage) -> None:
    await stage.half_open()
    assert await stage.one.may_call("a")
    stage.clock.advance(15.0)
    stage.one.release("a")
    assert await stage.one.may_call("a")
    stage.clock.advance(5.0)
    assert await stage.one.may_call("a")
    assert not await stage.two.may_call("a")


async def test_to_release_what_was_let_through_while_closed_changes_nothing(stage: Stage) -> None:
    assert await stage.one.may_call("a")
    stage.one.release("a")
    await stage.half_open()
    stage.one.release("a")
    assert [await stage.two.may_call("a"), await stage.one.may_call("a")] == [True, False]


async def test_a_call_that_began_while_closed_gives_back_no_other_calls_probe(stage: Stage) -> None:
    assert await stage.one.may_call("a")
    await stage.half_open()
    assert await asyncio.create_task(stage.one.may_call("a"))
    stage.one.release("a")
    assert not await stage.one.may_call("a")
    assert stage.owner.num_asks == 1


async def test_a_lease_that_was_handed_on_is_not_its_first_holders_any_more(stage: Stage) -> None:
    await stage.half_open()
    assert await stage.one.may_call("a")
    stage.one.release("a")
    assert await asyncio.create_task(stage.one.may_call("a"))
    stage.one.release("a")
    assert not await stage.one.may_call("a")


async def test_a_task_of_the_request_may_give_back_its_probe(stage: Stage) -> None:
    async def attempt() -> None:
        stage.one.release("a")

    await stage.half_open()
    assert await stage.one.may_call("a")
    await asyncio.create_task(attempt())
    assert await stage.one.may_call("a")


async def test_a_failure_makes_a_kept_lease_void(stage: Stage) -> None:
    await stage.half_open()
    assert await stage.one.may_call("a")
    stage.one.release("a")
    stage.one.saw(FAILURE)
    stage.clock.advance(5.0)
    assert stage.one.circuit("a") is Circuit.HALF_OPEN
    assert stage.owner.num_asks == 1
    await stage.one.may_call("a")
    assert stage.owner.num_asks == 2


async def test_a_view_that_it_is_open_again_makes_a_kept_lease_void(stage: Stage) -> None:
    await stage.half_open()
    assert await stage.one.may_call("a")
    stage.one.release("a")
    await stage.owner.board.report("two", [FAILURE])
    await synced(stage.one)
    assert stage.one.circuit("a") is Circuit.OPEN
    stage.clock.advance(10.0)
    await stage.one.may_call("a")
    assert stage.owner.num_asks == 2


async def test_a_lease_whose_asker_left_is_not_lost(stage: Stage) -> None:
    await stage.half_open()
    stage.owner.lets_go.clear()
    asker = asyncio.create_task(stage.one.may_call("a"))
    await turns()
    asker.cancel()
    await turns()
    assert asker.cancelled()
    assert not now(stage.one.may_call("a"))
    stage.owner.lets_go.set()
    await turns()
    assert now(stage.one.may_call("a"))
    assert stage.owner.num_asks == 1


@pytest.mark.parametrize("is_silent", [False, True], ids=["it says so", "it says nothing"])
async def test_without_the_owner_each_router_makes_its_own_single_probe(stage: Stage, is_silent: bool) -> None:
    await stage.half_open()
    if is_silent:
        stage.owner.lets_go.clear()
    else:
        stage.owner.trouble = SharedStateUnavailable(1.0)
    for mirror in (stage.one, stage.two):
        assert sum(await asyncio.gather(*(mirror.may_call("a") for _ in range(5)))) == 1
        assert not await mirror.may_call("a")


async def test_what_was_doubled_is_remembered_when_the_owner_goes_away(stage: Stage) -> None:
    await stage.half_open()
    assert await stage.one.may_call("a")
    stage.one.saw(FAILURE)
    await synced(stage.one)
    stage.owner.trouble = SharedStateUnavailable(1.0)
    stage.clock.advance(10.0)
    assert await stage.one.may_call("a")
    stage.one.saw(FAILURE)
    stage.clock.advance(19.9)
    assert stage.one.circuit("a") is Circuit.OPEN
    stage.clock.advance(0.1)
    assert stage.one.circuit("a") is Circuit.HALF_OPEN


async def test_a_circuit_that_changed_while_the_owner_was_asked_has_the_last_word(stage: Stage) -> None:
    for event, expected in ((TRIP, False), (SUCCESS, True)):
        await stage.half_open()
        stage.owner.lets_go.clear()
        asker = asyncio.create_task(stage.one.may_call("a"))
        await turns()
        stage.one.saw(event)
        stage.owner.lets_go.set()
        assert await asker is expected
        stage.clock.advance(100.0)
        await stage.owner.board.report("two", [SUCCESS])


async def test_stopping_ends_what_is_being_asked(stage: Stage) -> None:
    await stage.half_open()
    stage.owner.lets_go.clear()
    async with running(stage.one):
        await turns()
        asker = asyncio.create_task(stage.one.may_call("a"))
        await turns()
    assert await asker is False


async def test_a_defect_of_the_owner_reaches_the_one_who_asks(stage: Stage) -> None:
    await stage.half_open()
    stage.owner.trouble = RuntimeError("a defect")
    with pytest.raises(RuntimeError):
        await stage.one.may_call("a")


async def test_a_lease_that_ends_before_it_arrives_lets_nobody_call(stage: Stage) -> None:
    await stage.half_open()
    stage.owner.lets_go.clear()
    asker = asyncio.create_task(stage.one.may_call("a"))
    await turns()
    stage.clock.advance(20.0)
    stage.owner.lets_go.set()
    assert not await asker
