"""The error tree: statuses and types of the contract, one public sentence each, safe to send between actors."""

import inspect
import pickle
import traceback
from collections.abc import Iterator

import pytest

from serve_app import errors
from serve_app.errors import GatewayError, UpstreamBroken

ARGUMENTS: dict[type[GatewayError], tuple[object, ...]] = {
    errors.EgressForbidden: ("gpt-5", "cloud-us"),
    errors.InvalidRequest: ("'n' must be a whole number.", "n", "out_of_range"),
    errors.BodyTooLarge: (10_000_000,),
    errors.PolicyRefusal: ("tier_forbidden", "This tenant may not use the tier."),
    errors.LimitReached: ("rate_limited", "Rate limit reached.", 2.5),
    errors.CapacityError: (2.5,),
    errors.UpstreamFailed: ("gpt-5", "refused", 3.0),
    errors.UpstreamRefused: ("gpt-5", "status_503", 3.0, 503),
    errors.UpstreamRejectedRequest: ("gpt-5", "The prompt is too long.", "messages"),
    errors.AllUpstreamsFailed: (3,),
}
"""By the class whose constructor takes them; classes that are not named take none."""

MEANING = {
    "GatewayError": (500, "gateway_error"),
    "InternalError": (500, "gateway_error"),
    "EgressForbidden": (500, "gateway_error"),
    "DeadlineExceeded": (504, "gateway_error"),
    "CallerError": (400, "caller_error"),
    "InvalidRequest": (400, "caller_error"),
    "NotAuthenticated": (401, "caller_error"),
    "UnknownModel": (404, "caller_error"),
    "UnknownPath": (404, "caller_error"),
    "MethodNotAllowed": (405, "caller_error"),
    "IdempotencyConflict": (409, "caller_error"),
    "IdempotencyInProgress": (409, "caller_error"),
    "IdempotencyAnswerGone": (409, "caller_error"),
    "BodyTooLarge": (413, "caller_error"),
    "PolicyRefusal": (403, "policy_refusal"),
    "LimitReached": (429, "policy_refusal"),
    "CapacityError": (503, "capacity"),
    "LocalUnavailable": (503, "capacity"),
    "GatewaySaturated": (503, "capacity"),
    "SharedStateUnavailable": (503, "capacity"),
    "UpstreamError": (502, "upstream_error"),
    "UpstreamFailed": (502, "upstream_error"),
    "UpstreamUnreachable": (502, "upstream_error"),
    "UpstreamTimedOut": (502, "upstream_error"),
    "UpstreamRefused": (502, "upstream_error"),
    "UpstreamBroken": (502, "upstream_error"),
    "UpstreamFull": (502, "upstream_error"),
    "UpstreamCold": (502, "upstream_error"),
    "UpstreamRejectedRequest": (400, "caller_error"),
    "AllUpstreamsFailed": (502, "upstream_error"),
}


def tree_of(root: type[GatewayError]) -> Iterator[type[GatewayError]]:
    yield root
    for child in root.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from tree_of(child)


TREE = list(tree_of(GatewayError))


def instance_of(cls: type[GatewayError]) -> GatewayError:
    arguments = next((ARGUMENTS[base] for base in cls.__mro__ if base in ARGUMENTS), ())
    return cls(*arguments)


def test_every_error_of_the_module_is_in_the_tree_and_has_a_stated_meaning() -> None:
    defined = {name for name, value in inspect.getmembers(errors, inspect.isclass) if issubclass(value, Exception)}
    assert defined == {cls.__name__ for cls in TREE} == set(MEANING)


@pytest.mark.parametrize("cls", TREE)
def test_an_error_has_the_contracts_status_and_type(cls: type[GatewayError]) -> None:
    error = instance_of(cls)
    assert (error.status_code, error.error_type) == MEANING[cls.__name__]


@pytest.mark.parametrize("cls", TREE)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_an_error_survives_the_way_between_actors(cls: type[GatewayError], protocol: int) -> None:
    error = instance_of(cls)
    copy = pickle.loads(pickle.dumps(error, protocol))  # noqa: S301 - our own bytes
    assert type(copy) is cls
    assert copy.args == error.args
    assert vars(copy) == vars(error)
    assert copy.to_openai() == error.to_openai()
    assert copy.retry_after_s == error.retry_after_s


@pytest.mark.parametrize("cls", TREE)
def test_an_error_has_one_public_sentence_and_openais_shape(cls: type[GatewayError]) -> None:
    error = instance_of(cls)
    assert error.public_message.endswith(".")
    assert "\n" not in error.public_message
    assert error.to_openai() == {
        "error": {"message": error.public_message, "type": error.error_type, "code": error.code, "param": error.param}
    }


@pytest.mark.parametrize("cls", [cls for cls in TREE if MEANING[cls.__name__][0] in (429, 503)])
def test_whoever_has_no_capacity_says_when_to_come_back(cls: type[GatewayError]) -> None:
    assert instance_of(cls).retry_after_s == 2.5


@pytest.mark.parametrize("cls", [cls for cls in TREE if issubclass(cls, errors.UpstreamFailed)])
def test_a_failed_attempt_tells_the_public_neither_the_upstream_nor_the_detail(cls: type[GatewayError]) -> None:
    sentence = cls("gpt-5", "private_detail").public_message
    assert "gpt-5" not in sentence
    assert "private_detail" not in sentence


def test_an_upstream_may_say_nothing_about_when_to_come_back() -> None:
    assert errors.UpstreamRefused("gpt-5", "http_500").retry_after_s is None


def test_a_forbidden_way_out_names_no_place_in_public() -> None:
    assert "cloud-us" not in errors.EgressForbidden("gpt-5", "cloud-us").public_message


def test_an_invalid_request_names_its_field_and_its_code() -> None:
    assert errors.InvalidRequest("'n' is wrong.", "n", "out_of_range").to_openai()["error"] == {
        "message": "'n' is wrong.",
        "type": "caller_error",
        "code": "out_of_range",
        "param": "n",
    }


@pytest.mark.parametrize("text", ["two words", "a-b", "", "x" * 65, "prompt: tell me"])
def test_a_detail_that_is_not_one_word_is_not_kept(text: str) -> None:
    error = UpstreamBroken("gpt-5", text)
    assert error.detail == "unnamed"
    assert text == "" or text not in repr(error)


@pytest.mark.parametrize("cls", TREE)
def test_a_traceback_tells_the_code_and_none_of_the_words(cls: type[GatewayError]) -> None:
    error = instance_of(cls)
    assert str(error) == error.code
    assert "The prompt is too long." not in "".join(traceback.format_exception(error))
