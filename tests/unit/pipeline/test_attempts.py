import asyncio

import pytest

from serve_app.contracts.attempt import Attempt, Usage
from serve_app.contracts.vocabulary import Outcome, Reason, Tier
from serve_app.errors import DeadlineExceeded, EgressForbidden, UpstreamBroken, UpstreamRejectedRequest
from serve_app.pipeline.attempts import AttemptAccount, outcome_of
from tests.fakes.dispatching import CLOUD, RowSink, candidate_of, facts_of

NOTHING = Usage(0, 0, is_estimated=True)


def account_for(attempts: list[Attempt], sink: RowSink | None = None) -> AttemptAccount:
    """`attempts` takes what `on_settled` is told."""
    return AttemptAccount(
        facts_of(),
        candidate_of("first", tier=Tier.CLOUD_ENHANCED),
        number=2,
        reason=Reason.FAILOVER,
        sink=sink or RowSink(),
        on_settled=attempts.append,
    )


def test_a_row_is_open_before_the_call_and_holds_what_is_owed_should_the_process_die() -> None:
    sink = RowSink()
    account = account_for([], sink)
    (row,) = sink.opened
    assert (row.id, row.outcome, row.number) == (account.id, Outcome.ABANDONED, 2)
    assert row.usage == Usage(facts_of().num_prompt_tokens, 0, is_estimated=True)
    assert row.cost_usd == pytest.approx(facts_of().num_prompt_tokens / 1e6)
    assert sink.settled == []


def test_the_final_row_goes_under_the_same_id_to_the_sink_and_to_whoever_set_money_aside() -> None:
    sink, attempts = RowSink(), list[Attempt]()
    account = account_for(attempts, sink)
    account.settle(Outcome.COMPLETED, Usage(1, 1, is_estimated=False))
    account.settle(Outcome.CANCELLED, NOTHING)
    assert sink.settled == attempts
    assert [(row.id, row.outcome) for row in attempts] == [(account.id, Outcome.COMPLETED)]


def test_two_attempts_never_share_an_id() -> None:
    assert account_for([]).id != account_for([]).id


def test_a_row_says_who_asked_whom_for_what_and_what_it_cost() -> None:
    attempts: list[Attempt] = []
    account_for(attempts).settle(Outcome.COMPLETED, Usage(1_000_000, 500_000, is_estimated=False), ttft_s=0.25)
    (row,) = attempts
    assert (row.request_id, row.tenant_id, row.number) == ("r-1", "t-1", 2)
    assert (row.upstream_id, row.model, row.place) == ("first", "first-model", CLOUD)
    assert (row.tier, row.reason) == (Tier.CLOUD_ENHANCED, Reason.FAILOVER)
    assert (row.outcome, row.error_code, row.ttft_s) == (Outcome.COMPLETED, None, 0.25)
    assert row.cost_usd == pytest.approx(1.0 + 1.0)


def test_only_the_first_settlement_counts() -> None:
    attempts: list[Attempt] = []
    account = account_for(attempts)
    account.settle(Outcome.FAILED, NOTHING, error=UpstreamBroken("first", "x"))
    account.settle(Outcome.COMPLETED, Usage(1, 1, is_estimated=False))
    assert [(row.outcome, row.error_code) for row in attempts] == [(Outcome.FAILED, "upstream_broken")]


def test_an_error_that_is_not_ours_leaves_no_code_and_no_text() -> None:
    attempts: list[Attempt] = []
    account_for(attempts).settle(Outcome.FAILED, NOTHING, error=RuntimeError("private words"))
    assert attempts[0].error_code is None
    assert "private words" not in repr(attempts[0])


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (UpstreamBroken("first", "x"), Outcome.FAILED),
        (EgressForbidden("first", "cloud"), Outcome.FAILED),
        (RuntimeError(), Outcome.FAILED),
        (UpstreamRejectedRequest("first", "no"), Outcome.REJECTED),
        (DeadlineExceeded(), Outcome.TIMED_OUT),
        (asyncio.CancelledError(), Outcome.CANCELLED),
        (GeneratorExit(), Outcome.CANCELLED),
    ],
)
def test_every_way_to_end_has_its_outcome(error: BaseException, outcome: Outcome) -> None:
    assert outcome_of(error) is outcome
