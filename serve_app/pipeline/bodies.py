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
    room = max(1, candidate.upstream.context_window - call.num_prompt_tokens)
    length = min(candidate.max_output_tokens, room, call.max_output_tokens or candidate.max_output_tokens)
    for field in LENGTH_FIELDS:
        body.pop(field, None)
    body[candidate.upstream.length_field] = length
    if call.is_streaming:
        body["stream_options"] = {**(body.get("stream_options") or {}), "include_usage": True}
    return body
