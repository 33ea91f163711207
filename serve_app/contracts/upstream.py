"""The port to whatever completes a chat: a vLLM pool behind Ray Serve, or a cloud provider behind HTTP."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from serve_app.contracts.vocabulary import Place
from serve_app.errors import EgressForbidden


@dataclass(frozen=True, slots=True)
class UpstreamCall:
    """One attempt's order. `body` is OpenAI JSON with the upstream's own model id.

    `attempt_id` is the ledger row's; unlike `request_id`, which is the caller's word, it never comes twice.

    `remaining_s` is what the request's deadline left when the call was made; the callee starts its own clock from it.
    `allowed_places` comes from the decision: an upstream checks it again before it opens a socket.
    """

    body: Mapping[str, Any]
    upstream_id: str
    place: Place
    allowed_places: frozenset[Place]
    request_id: str
    attempt_id: str
    traceparent: str | None
    remaining_s: float

    def check_egress(self, place: Place) -> None:
        """Raises EgressForbidden unless this call may go to `place`."""
        if place not in self.allowed_places:
            raise EgressForbidden(self.upstream_id, place)


class Upstream(Protocol):
    """Every method raises only `UpstreamFailed`, `UpstreamRejectedRequest`, `EgressForbidden` or `DeadlineExceeded`."""

    def reserve(self, limit_s: float) -> AbstractAsyncContextManager["Upstream"]:
        """Holds room for one call while it is entered; what it yields takes that call.

        Raises UpstreamFull when no room came free within `limit_s`, UpstreamCold when nobody is there to have room.
        """
        ...

    async def wake(self) -> None:
        """Returns when somebody is there. Waiting here is the demand that starts a replica where there is none."""
        ...

    async def complete(self, call: UpstreamCall) -> bytes:
        """The whole chat.completion as JSON bytes."""
        ...

    def stream(self, call: UpstreamCall) -> AsyncGenerator[Sequence[bytes], None]:
        """Payloads of the SSE events that arrived together, as they arrive, without framing and without `[DONE]`.

        Ends when the upstream's stream ends; whether the answer was complete, its chunks must tell.
        """
        ...

    async def embed(self, call: UpstreamCall) -> bytes:
        """The embeddings list as JSON bytes."""
        ...

    async def probe(self) -> None:
        """Returns when the upstream could take a request now."""
        ...
