import re

import pytest
from starlette.datastructures import Headers

from serve_app.admission.tenants import TenantDirectory
from serve_app.contracts.assessment import Assessment
from serve_app.contracts.decision import Decision, Scored
from serve_app.contracts.request import Envelope
from serve_app.contracts.vocabulary import DataClass, Domain, Reason, ScoredBy, Tier
from serve_app.errors import NotAuthenticated
from serve_app.http_api.envelope import answer_headers, idempotency_key, read_envelope, request_id_of
from serve_app.pipeline.trail import Trail
from tests.fakes.dispatching import PLACES, candidate_of
from tests.fakes.gateways import KEY, TENANTS

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
FRESH = re.compile(r"[0-9a-f]{32}")


def envelope_of(**headers: str) -> Envelope:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return read_envelope(Headers({"authorization": f"Bearer {KEY}", **given}), TenantDirectory(TENANTS), "r-1", 7.0)


@pytest.mark.parametrize("given", ["r-1", "A.b_c:d-9", "x" * 128])
def test_a_request_id_that_may_stand_in_a_header_is_kept(given: str) -> None:
    assert request_id_of(Headers({"x-request-id": given})) == given


@pytest.mark.parametrize("given", [None, "", "x" * 129, "a b", "a\r\nset-cookie: x", "a\n", "ü", "a;b", "<script>"])
def test_any_other_request_id_is_exchanged_for_a_fresh_one(given: str | None) -> None:
    headers = Headers({} if given is None else {"x-request-id": given})
    first, second = request_id_of(headers), request_id_of(headers)
    assert FRESH.fullmatch(first)
    assert first != second


def test_a_caller_who_says_nothing_gets_no_more_than_a_tenant() -> None:
    envelope = envelope_of()
    assert envelope.tenant.id == "everything"
    assert (envelope.data_class, envelope.wanted_tier, envelope.deadline_s) == (None, None, None)
    assert (envelope.traceparent, envelope.request_id, envelope.arrived_at) == (None, "r-1", 7.0)


def test_what_the_caller_says_is_read_in_any_case_of_letters() -> None:
    envelope = envelope_of(
        x_upcoach_data_class=" Confidential ", x_upcoach_tier="cloud_Enhanced", x_upcoach_deadline_ms="1500"
    )
    assert envelope.data_class is DataClass.CONFIDENTIAL
    assert envelope.wanted_tier is Tier.CLOUD_ENHANCED
    assert envelope.deadline_s == 1.5


@pytest.mark.parametrize(("given", "kept"), [(TRACE, TRACE), ("garbage", None), (TRACE + "-x", None), ("", None)])
def test_a_trace_is_handed_on_only_where_it_is_one(given: str, kept: str | None) -> None:
    assert envelope_of(traceparent=given).traceparent == kept


def test_the_key_comes_before_every_other_fault() -> None:
    with pytest.raises(NotAuthenticated):
        read_envelope(Headers({"x-upcoach-tier": "nonsense"}), TenantDirectory(TENANTS), "r-1", 0.0)


def test_an_idempotency_key_is_taken_as_it_is() -> None:
    assert idempotency_key(Headers({"idempotency-key": "k" * 255})) == "k" * 255
    assert idempotency_key(Headers({})) is None


def test_a_request_that_ended_early_tells_what_is_known_of_it() -> None:
    headers = answer_headers(Trail("r-1", 0.0))
    assert set(headers) == {"x-request-id", "x-upcoach-attempts", "server-timing"}
    assert headers["x-upcoach-attempts"] == "0"


def test_an_answer_tells_who_gave_it_why_and_in_what_time() -> None:
    candidate = candidate_of("first")
    trail = Trail(
        "r-1",
        arrived_at=0.0,
        assessment=Assessment(0.12345, Domain.MATH, 1.0, ScoredBy.MODEL, 0.0),
        decision=Decision((Scored(candidate, 1.0, {}),), (), Reason.COMPLEX, PLACES),
        candidate=candidate,
        num_attempts=1,
        classify_s=0.001,
        decide_s=0.0005,
        queue_s=0.25,
        upstream_s=1.5,
    )
    headers = answer_headers(trail)
    assert headers["x-upcoach-tier"] == "CLOUD_ENHANCED"
    assert headers["x-upcoach-upstream"] == "first"
    assert headers["x-upcoach-model"] == "first-model"
    assert headers["x-upcoach-complexity"] == "0.123"
    assert headers["x-upcoach-reason"] == "complex"
    assert headers["x-upcoach-attempts"] == "1"
    assert headers["server-timing"].startswith("classify;dur=1.000, decide;dur=0.500, queue;dur=250.000, upstream;dur=1500.000, overhead;dur=")  # noqa: E501 # fmt: skip


@pytest.mark.parametrize("reason", [Reason.FAILOVER, Reason.SPILLED, Reason.HEDGED, Reason.OVER_BUDGET])
def test_why_it_was_this_candidate_in_the_end_stands_in_place_of_the_decisions_reason(reason: Reason) -> None:
    candidate = candidate_of("first")
    decision = Decision((Scored(candidate, 1.0, {}),), (), Reason.SIMPLE, PLACES)
    trail = Trail("r-1", 0.0, decision=decision, candidate=candidate)
    assert answer_headers(trail)["x-upcoach-reason"] == "simple"
    trail.turn_to(candidate, reason)
    assert answer_headers(trail)["x-upcoach-reason"] == reason.value
