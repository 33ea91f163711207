"""What a whole answer holds: its tokens, or the error that it is in disguise."""

import orjson

from serve_app.contracts.attempt import Usage
from serve_app.errors import (
    GatewayError,
    UpstreamBroken,
    UpstreamRefused,
    UpstreamRejectedRequest,
    UpstreamUnreachable,
)
from serve_app.streaming.chunks import count_answer_chars, estimate_usage, read_complaint, read_usage
from serve_app.upstreams.complaints import error_of


def read_answer(body: bytes, upstream_id: str, *, num_prompt_tokens: int, is_embedding: bool) -> Usage:
    """The tokens of a chat.completion or an embeddings list. Raises UpstreamFailed or UpstreamRejectedRequest."""
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise UpstreamBroken(upstream_id, "not_json") from None
    if not isinstance(parsed, dict):
        raise UpstreamBroken(upstream_id, "not_an_object")
    complaint = read_complaint(parsed)
    if complaint is not None:
        raise error_of(complaint, upstream_id)
    parts = parsed.get("data" if is_embedding else "choices")
    if not isinstance(parts, list) or not parts:
        raise UpstreamBroken(upstream_id, "empty_answer")
    if not is_embedding and not all(_has_message(part) for part in parts):
        raise UpstreamBroken(upstream_id, "malformed_answer")
    return read_usage(parsed) or estimate_usage(num_prompt_tokens, count_answer_chars(parsed))


def _has_message(choice: object) -> bool:
    return isinstance(choice, dict) and isinstance(choice.get("message"), dict)


def usage_of_failure(error: BaseException, num_prompt_tokens: int) -> Usage:
    """What a call that gave nothing is assumed to cost: its prompt, unless the upstream refused it or never had it."""
    is_free = isinstance(error, UpstreamRefused | UpstreamUnreachable | UpstreamRejectedRequest) or (
        isinstance(error, GatewayError) and error.status_code == 500
    )
    return Usage(0 if is_free else num_prompt_tokens, 0, is_estimated=True)
