"""One inference request from its bytes to its answer: read, admit, replay or run, and give back what was held."""

import logging
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from serve_app.contracts.chat import ChatCall, Dialect
from serve_app.contracts.ledger import StoredAnswer
from serve_app.contracts.request import Envelope
from serve_app.dialects.body import read_body
from serve_app.errors import GatewayError
from serve_app.http_api.bodies import read_raw
from serve_app.http_api.envelope import answer_headers, idempotency_key, read_envelope
from serve_app.http_api.gateway import Gateway
from serve_app.http_api.leaving import until_client_leaves
from serve_app.http_api.replay import ReplayGuard
from serve_app.http_api.streaming import StreamedAnswer
from serve_app.pipeline.committed import CommittedStream
from serve_app.pipeline.prepare import Prepared
from serve_app.pipeline.trail import Trail

log = logging.getLogger(__name__)

JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it was read. `raw` is its body."""

    request: Request
    path: str
    dialect: Dialect
    trail: Trail
    envelope: Envelope
    raw: bytes
    call: ChatCall


class Inference:
    """Answers what was asked. Every admission and every idempotency claim it takes ends with the answer."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def read(self, request: Request, path: str, dialect: Dialect, trail: Trail) -> Asked:
        """Raises the caller's errors: who it is, how much it sent, and what."""
        gateway = self._gateway
        envelope = read_envelope(request.headers, gateway.directory, trail.request_id, trail.arrived_at)
        trail.tenant = envelope.tenant
        raw = await read_raw(request, gateway.limits.max_body_bytes)
        call = dialect.parse(read_body(raw, gateway.limits.max_json_depth))
        return Asked(request, path, dialect, trail, envelope, raw, call)

    async def prepare(self, asked: Asked) -> Prepared:
        """The decision alone, admitted like any other request."""
        async with _Stay(self._gateway, asked):
            return await self._gateway.preparation.prepare(asked.envelope, asked.call, asked.trail)

    async def answer(self, asked: Asked) -> Response:
        async with _Stay(self._gateway, asked) as stay:
            guard = ReplayGuard(self._gateway.ledger, asked.envelope.tenant.id, idempotency_key(asked.request.headers))
            stored = await guard.claim(asked.path, asked.raw)
            if stored is not None:
                return _replayed(stored, asked.trail)
            try:
                return await self._run(asked, guard, stay)
            except BaseException:
                await guard.settle(None)
                raise

    async def _run(self, asked: Asked, guard: ReplayGuard, stay: "_Stay") -> Response:
        call, trail, gateway = asked.call, asked.trail, self._gateway
        prepared = await gateway.preparation.prepare(asked.envelope, call, trail)
        gateway.metrics.record_decision(prepared.decision.chosen.tier.name, prepared.decision.reason.value)
        if call.is_streaming:
            return await self._stream(asked, prepared, guard, stay)
        answer = await until_client_leaves(asked.request.receive, gateway.dispatcher.complete(prepared, trail))
        body = asked.dialect.render(answer, call)
        trail.mark_answered()
        headers = answer_headers(trail)
        await guard.settle(StoredAnswer(200, JSON, tuple(headers.items()), body))
        return Response(body, media_type=JSON, headers=headers)

    async def _stream(self, asked: Asked, prepared: Prepared, guard: ReplayGuard, stay: "_Stay") -> Response:
        trail = asked.trail
        opening = self._gateway.dispatcher.stream(prepared, trail)
        stream = await until_client_leaves(asked.request.receive, opening, CommittedStream.aclose)
        trail.mark_answered()
        try:
            answer = StreamedAnswer(
                stream,
                asked.dialect.stream(prepared.call),
                answer_headers(trail),
                guard=guard,
                limits=self._gateway.limits,
                on_end=lambda error: _log_broken(trail, error),
                on_close=stay.close,
            )
        except BaseException:
            await stream.aclose()
            raise
        stay.prolong()
        return answer


class _Stay:
    """A request's admission; it ends with the block, or later where a stream goes on after it."""

    def __init__(self, gateway: Gateway, asked: Asked) -> None:
        self._gate, self._asked = gateway.gate, asked
        self._typical_output_tokens = gateway.limits.typical_output_tokens
        self._is_prolonged = False

    async def __aenter__(self) -> "_Stay":
        call = self._asked.call
        num_tokens = call.num_prompt_tokens + (call.max_output_tokens or self._typical_output_tokens)
        self._admission = await self._gate.admit(self._asked.envelope.tenant, num_tokens=num_tokens)
        return self

    async def __aexit__(self, *_: object) -> None:
        if not self._is_prolonged:
            self.close()

    def prolong(self) -> None:
        """Whoever asks for it ends the admission, with `close`."""
        self._is_prolonged = True

    def close(self) -> None:
        self._admission.close(self._asked.trail.num_tokens)


def _replayed(stored: StoredAnswer, trail: Trail) -> Response:
    headers = {**dict(stored.headers), "x-request-id": trail.request_id, "x-upcoach-replayed": "true"}
    return Response(stored.body, stored.status_code, headers, stored.media_type)


def _log_broken(trail: Trail, error: GatewayError | None) -> None:
    if error is not None:
        log.warning("stream of request %s broke: %s", trail.request_id, error.code)
