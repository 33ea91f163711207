"""Every request ends once, and the sums add up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.simulator import counters as module
from loadtests.simulator.counters import Counters, Ending
from loadtests.simulator.faults import Fault


@given(st.lists(st.tuples(st.sampled_from(["a", "b", None]), st.lists(st.sampled_from(list(Ending)), max_size=3))))
def test_started_is_the_sum_of_all_endings_and_of_what_is_in_flight(
    requests: list[tuple[str | None, list[Ending]]],
) -> None:
    counters = Counters()
    for request_id, endings in requests:
        ticket = counters.start(request_id)
        for ending in endings:
            ticket.end(ending)
    total = counters.total.as_json()
    assert total["started"] == len(requests)
    assert total["in_flight"] == sum(not endings for _, endings in requests)
    assert total["started"] == sum(total[key] for key in ("completed", "failed", "aborted", "rejected", "in_flight"))


def test_only_the_first_ending_counts_and_only_with_the_tokens_sent_by_then() -> None:
    counters = Counters()
    ticket = counters.start("r")
    ticket.num_sent_tokens = 5
    ticket.end(Ending.ABORTED)
    ticket.num_sent_tokens = 9
    ticket.end(Ending.COMPLETED)
    assert counters.total.endings == {Ending.ABORTED: 1}
    assert counters.total.num_completion_tokens == 5


def test_requests_under_one_id_share_a_tally_beside_the_total() -> None:
    counters = Counters()
    for request_id in ("r", "r", "s", None):
        ticket = counters.start(request_id)
        ticket.read_prompt(3)
        ticket.end(Ending.COMPLETED)
    assert counters.total.num_prompt_tokens == 12
    assert {key: tally.started for key, tally in counters.by_request_id.items()} == {"r": 2, "s": 1}


def test_the_map_of_request_ids_is_bounded_and_loses_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_REQUEST_IDS", 3)
    counters = Counters()
    for number in range(5):
        counters.start(str(number))
    assert list(counters.by_request_id) == ["2", "3", "4"]
    assert counters.total.started == 5


def test_faults_are_counted_by_name() -> None:
    counters = Counters()
    counters.start(None).suffer(Fault.HANG)
    assert counters.as_json()["faults"] == {"hang": 1}
