"""What is counted, under names with units, with labels from closed sets and no text of a request."""

import re

import pytest

from serve_app.contracts.vocabulary import Outcome, Tier
from serve_app.telemetry.metrics import CONTENT_TYPE, Metrics
from tests.fakes.builders import an_attempt


def samples(metrics: Metrics) -> dict[str, float]:
    lines = metrics.render().decode().splitlines()
    pairs = [line.rsplit(" ", 1) for line in lines if not line.startswith("#")]
    return {name: float(value) for name, value in pairs if "_created" not in name}


def everything() -> Metrics:
    metrics = Metrics()
    metrics.record_request("/v1/chat/completions", 200, "LOCAL_FAST")
    metrics.record_overhead(0.002)
    metrics.record_decision("LOCAL_FAST", "simple")
    metrics.record_attempt(an_attempt(request_id="req-private", tenant_id="tenant-private", model="model-private"))
    metrics.record_heuristic("timed_out")
    metrics.record_availability("mistral-7b", is_available=True)
    return metrics


def test_an_attempt_is_counted_with_its_tokens_its_cost_and_its_ttft() -> None:
    metrics = Metrics()
    metrics.record_attempt(an_attempt(num_input_tokens=7, num_output_tokens=5, cost_usd=0.5, ttft_s=0.15))
    found = samples(metrics)
    tier = 'tier="LOCAL_FAST",upstream="mistral-7b"'
    assert found[f'upcoach_attempts_total{{outcome="completed",{tier}}}'] == 1
    assert found['upcoach_tokens_total{direction="input",upstream="mistral-7b"}'] == 7
    assert found['upcoach_tokens_total{direction="output",upstream="mistral-7b"}'] == 5
    assert found['upcoach_cost_usd_total{upstream="mistral-7b"}'] == 0.5
    assert found[f"upcoach_attempt_ttft_seconds_sum{{{tier}}}"] == 0.15
    assert found[f'upcoach_attempt_ttft_seconds_bucket{{le="0.1",{tier}}}'] == 0
    assert found[f'upcoach_attempt_ttft_seconds_bucket{{le="0.2",{tier}}}'] == 1


def test_an_attempt_without_content_has_no_ttft() -> None:
    metrics = Metrics()
    metrics.record_attempt(an_attempt(ttft_s=None, outcome=Outcome.FAILED))
    assert not any(name.startswith("upcoach_attempt_ttft_seconds_") for name in samples(metrics))


def test_requests_decisions_fallbacks_and_overhead_are_counted() -> None:
    found = samples(everything())
    assert found['upcoach_requests_total{route="/v1/chat/completions",status="200",tier="LOCAL_FAST"}'] == 1
    assert found['upcoach_decisions_total{reason="simple",tier="LOCAL_FAST"}'] == 1
    assert found['upcoach_classifier_heuristic_total{cause="timed_out"}'] == 1
    assert found["upcoach_gateway_overhead_seconds_count"] == 1
    assert found["upcoach_gateway_overhead_seconds_sum"] == 0.002


@pytest.mark.parametrize(("is_available", "value"), [(True, 1.0), (False, 0.0)])
def test_availability_is_one_or_zero(is_available: bool, value: float) -> None:
    metrics = Metrics()
    metrics.record_availability("gpt-5", is_available=True)
    metrics.record_availability("gpt-5", is_available=is_available)
    assert samples(metrics)['upcoach_upstream_available{upstream="gpt-5"}'] == value


def test_every_name_has_our_prefix_and_every_label_is_one_of_the_closed_sets() -> None:
    text = everything().render().decode()
    names = re.findall(r"^# TYPE (\S+) ", text, re.MULTILINE)
    assert all(name.startswith("upcoach_") for name in names)
    labels = set(re.findall(r'[{,](\w+)="', text))
    assert labels == {"route", "status", "tier", "reason", "upstream", "outcome", "direction", "cause", "le"}


def test_neither_the_request_nor_the_tenant_nor_the_model_is_told() -> None:
    assert "private" not in everything().render().decode()


def test_two_routers_in_one_process_count_apart() -> None:
    one, other = Metrics(), Metrics()
    one.record_request("/v1/models", 200, "")
    assert samples(one) != samples(other)


def test_the_tiers_are_labelled_by_name() -> None:
    metrics = Metrics()
    for tier in Tier:
        metrics.record_attempt(an_attempt(tier=tier))
    assert set(re.findall(r'tier="(\w+)"', metrics.render().decode())) == set(Tier.__members__)


def test_the_content_type_is_that_of_the_text_format() -> None:
    assert CONTENT_TYPE.startswith("text/plain")
