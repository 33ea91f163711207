"""Every refusal of the decision becomes one error with the contract's status and code."""

import pytest

from serve_app.contracts.vocabulary import Alias, DropReason
from serve_app.pipeline.refusals import error_of_refusal
from tests.fakes.builders import a_refusal

RETRY_AFTER_S = 7.0


@pytest.mark.parametrize(
    ("reason", "status", "error_type", "code", "param"),
    [
        (DropReason.RESIDENCY, 403, "policy_refusal", "residency_forbidden", None),
        (DropReason.TENANT_TIER, 403, "policy_refusal", "tier_forbidden", None),
        (DropReason.CAPABILITY, 400, "caller_error", "unsupported_capability", "model"),
        (DropReason.CONTEXT_LENGTH, 400, "caller_error", "context_length_exceeded", "messages"),
        (DropReason.DEADLINE, 504, "gateway_error", "deadline_exceeded", None),
        (DropReason.UNAVAILABLE, 503, "capacity", "no_capacity", None),
        (DropReason.NOT_ASKED_FOR, 503, "capacity", "no_capacity", None),
        (DropReason.NO_SPECIALIST, 503, "capacity", "no_capacity", None),
        (DropReason.SAME_UPSTREAM, 503, "capacity", "no_capacity", None),
    ],
)
def test_a_refusal_becomes_the_contracts_error(
    reason: DropReason, status: int, error_type: str, code: str, param: str | None
) -> None:
    error = error_of_refusal(a_refusal(reason=reason), Alias.AUTO, RETRY_AFTER_S)
    assert (error.status_code, error.error_type, error.code, error.param) == (status, error_type, code, param)
    assert error.public_message


@pytest.mark.parametrize("reason", list(DropReason))
@pytest.mark.parametrize("wanted", [*Alias, "gpt-5"])
@pytest.mark.parametrize("is_local_only", [True, False])
def test_every_refusal_has_an_error_and_every_503_says_when_to_come_back(
    reason: DropReason, wanted: Alias | str, is_local_only: bool
) -> None:
    error = error_of_refusal(a_refusal(reason=reason, is_local_only=is_local_only), wanted, RETRY_AFTER_S)
    assert error.retry_after_s == (RETRY_AFTER_S if error.status_code == 503 else None)


def test_local_only_data_while_local_is_down_has_a_code_of_its_own() -> None:
    error = error_of_refusal(a_refusal(is_local_only=True), Alias.AUTO, RETRY_AFTER_S)
    assert (error.status_code, error.code, error.retry_after_s) == (503, "local_unavailable", RETRY_AFTER_S)


def test_a_model_that_nobody_serves_is_unknown_and_not_a_lack_of_capacity() -> None:
    error = error_of_refusal(a_refusal(reason=DropReason.NOT_ASKED_FOR), "gpt-5", RETRY_AFTER_S)
    assert (error.status_code, error.code, error.param) == (404, "model_not_found", "model")
