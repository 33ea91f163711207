import pytest

from serve_app.errors import UpstreamRefused, UpstreamRejectedRequest
from serve_app.streaming.chunks import UpstreamComplaint
from serve_app.upstreams.complaints import error_of


def complaint(status_code: int | None, code: str | None = None, *, is_callers_fault: bool = True) -> UpstreamComplaint:
    return UpstreamComplaint(status_code, code, "the reason", "tools", is_callers_fault)


@pytest.mark.parametrize("status", [400, 413, 422, None])
def test_what_the_upstream_blames_on_the_caller_is_surfaced(status: int | None) -> None:
    error = error_of(complaint(status), "first")
    assert isinstance(error, UpstreamRejectedRequest)
    assert (error.public_message, error.param, error.status_code) == ("the reason", "tools", 400)


@pytest.mark.parametrize("code", ["context_length_exceeded", "model_not_found", "insufficient_quota"])
@pytest.mark.parametrize("status", [400, 404, 429, None])
def test_what_is_true_of_one_upstream_only_may_be_tried_elsewhere(code: str, status: int | None) -> None:
    error = error_of(complaint(status, code), "first", 7.0)
    assert isinstance(error, UpstreamRefused)
    assert (error.detail, error.status, error.retry_after_s) == (code, status, 7.0)


def test_a_404_is_the_gateways_own_doing_and_may_be_tried_elsewhere() -> None:
    error = error_of(complaint(404), "first")
    assert isinstance(error, UpstreamRefused)
    assert (error.detail, error.status) == ("status_404", 404)


@pytest.mark.parametrize("status", [401, 403, 408, 429, 500, 503])
def test_every_other_status_is_a_refusal_with_what_it_says_of_coming_back(status: int) -> None:
    error = error_of(complaint(status, is_callers_fault=False), "first", 7.0)
    assert isinstance(error, UpstreamRefused)
    assert (error.detail, error.retry_after_s, error.upstream_id) == (f"status_{status}", 7.0, "first")
    assert error.status == status


def test_a_refusal_repeats_nothing_of_the_upstreams_words() -> None:
    error = error_of(complaint(None, "secret words", is_callers_fault=False), "first")
    assert isinstance(error, UpstreamRefused)
    assert (error.detail, error.status) == ("error_body", None)
    assert "reason" not in error.public_message
    assert "secret" not in repr(error)
