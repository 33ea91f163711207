"""The body that one candidate gets: the caller's, with the upstream's model and within the tier's limits."""

from typing import Any

from serve_app.contracts.chat import ChatCall
from serve_app.contracts.fleet import Candidate
from serve_app.contracts.vocabulary import Capability

LENGTH_FIELDS = ("max_completion_tokens", "max_tokens")


def body_for(call: ChatCall, candidate: Candidate) -> dict[str, Any]:
    """The answer's length is capped by the tier and by what the context leaves; usage is always asked for."""
    body = {**call.body, "model": candidate.upstream.model}
    if Capability.EMBEDDINGS in call.needs:
        return body
    for field in LENGTH_FIELDS:
        body.pop(field, None)
    body[candidate.upstream.length_field] = answer_length(call, candidate)
    if call.is_streaming:
        body["stream_options"] = {**(body.get("stream_options") or {}), "include_usage": True}
    return body


def most_prompt_tokens(call: ChatCall) -> int:
    """The estimate counts 4 bytes of text as a token, and no tokeniser makes more than one of each byte.

    Money is set aside for this many, so that racing callers with unusual scripts do not overspend together.
    """
    return 4 * call.num_prompt_tokens


def answer_length(call: ChatCall, candidate: Candidate) -> int:
    """The most tokens that this candidate may answer with; 0 where the answer has none."""
    if Capability.EMBEDDINGS in call.needs:
        return 0
    room = max(1, candidate.upstream.context_window - call.num_prompt_tokens)
    return min(candidate.max_output_tokens, room, call.max_output_tokens or candidate.max_output_tokens)
