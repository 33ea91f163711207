"""The strict settings of the simulator."""

import pytest
from pydantic import ValidationError

from loadtests.simulator.behaviour import BadBehaviour, Behaviour, parse_behaviour
from loadtests.simulator.faults import Fault

BASE = Behaviour(ttft_ms=50.0, num_tokens=8)


def test_given_keys_are_laid_over_the_base_and_the_rest_stays() -> None:
    behaviour = parse_behaviour(b'{"fault": "die_after_n", "fault_after_chunks": 2}', BASE)
    assert behaviour == Behaviour(ttft_ms=50.0, num_tokens=8, fault=Fault.DIE_AFTER_N, fault_after_chunks=2)


def test_an_empty_object_gives_the_base_back() -> None:
    assert parse_behaviour(b"{}", BASE) == BASE


def test_a_fault_can_be_taken_away_with_null() -> None:
    assert parse_behaviour(b'{"fault": null}', BASE.model_copy(update={"fault": Fault.HANG})).fault is None


@pytest.mark.parametrize(
    ("typo", "nearest"), [("tft_ms", "ttft_ms"), ("retry_after", "retry_after_s"), ("Fault", "fault"), ("zzz", "")]
)
def test_an_unknown_key_is_named_together_with_the_nearest_known_one(typo: str, nearest: str) -> None:
    with pytest.raises(BadBehaviour, match=rf"unknown key '{typo}'; did you mean '{nearest or r'.+'}'\?"):
        parse_behaviour(b'{"%b": 1}' % typo.encode(), BASE)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b"{",
        b'{"ttft_ms": "5"}',
        b'{"ttft_ms": -1}',
        b'{"jitter": 1.5}',
        b'{"error_rate": 2}',
        b'{"num_tokens": 0}',
        b'{"num_tokens": 1.5}',
        b'{"fault": "explode"}',
        b'{"tokens_per_s": NaN}',
    ],
)
def test_values_of_the_wrong_type_or_range_are_refused(body: bytes) -> None:
    with pytest.raises(BadBehaviour):
        parse_behaviour(body, BASE)


def test_a_behaviour_does_not_change() -> None:
    with pytest.raises(ValidationError):
        BASE.ttft_ms = 1.0  # type: ignore[misc]
