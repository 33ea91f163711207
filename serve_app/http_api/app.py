"""The ASGI application: one way in for every route, and one place where errors become JSON."""

import logging
import traceback
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from serve_app.admission.tenants import TenantDirectory
from serve_app.contracts.chat import ChatCall, Dialect
from serve_app.contracts.ledger import Ledger, StoredAnswer
from serve_app.contracts.request import Envelope
from serve_app.dialects.body import read_body
from serve_app.errors import GatewayError, InternalError, MethodNotAllowed, UnknownPath
from serve_app.http_api.bodies import read_raw
from serve_app.http_api.envelope import answer_headers, idempotency_key, new_trail, read_envelope
from serve_app.http_api.leaving import ClientLeft, until_client_leaves
from serve_app.http_api.listing import ModelListing
from serve_app.http_api.replay import ReplayGuard
from serve_app.http_api.route_view import view_of
from serve_app.http_api.streaming import StreamedAnswer
from serve_app.pipeline.dispatch import CommittedStream, Dispatcher
from serve_app.pipeline.prepare import Preparation, Prepared
from serve_app.pipeline.trail import Trail
from serve_app.telemetry.metrics import CONTENT_TYPE, Metrics
from serve_app.upstreams.fleet import Fleet

log = logging.getLogger(__name__)

JSON = "application/json"
CLIENT_CLOSED_REQUEST = 499


@dataclass(frozen=True, slots=True)
class Gateway:
    """Everything a request meets on its way, put together by whoever runs the application."""

    directory: TenantDirectory
    preparation: Preparation
    dispatcher: Dispatcher
    fleet: Fleet
    ledger: Ledger
    metrics: Metrics
    dialects: Mapping[str, Dialect]
    max_body_bytes: int
    max_json_depth: int
    max_kept_answer_bytes: int


class Api:
    """The handlers. Each route differs in its dialect alone."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._listing = ModelListing(gateway.fleet.candidates)

    def inference(self, path: str) -> Callable[[Request], Awaitable[Response]]:
        dialect = self._gateway.dialects[path]

        async def handle(request: Request) -> Response:
            return await self._guarded(request, path, lambda trail: self._answer(request, path, dialect, trail))

        return handle

    async def route(self, request: Request) -> Response:
        """The decision only, as `upcoach explain` shows it."""

        async def decide(trail: Trail) -> Response:
            envelope, _, call = await self._read(request, self._gateway.dialects["/v1/chat/completions"], trail)
            prepared = await self._gateway.preparation.prepare(envelope, call, trail)
            trail.candidate = prepared.decision.chosen
            body = orjson.dumps(view_of(prepared.facts, prepared.decision, trail.assessment))
            return Response(body, media_type=JSON, headers=answer_headers(trail))

        return await self._guarded(request, "/v1/route", decide)

    async def models(self, request: Request) -> Response:
        async def show(trail: Trail) -> Response:
            envelope = read_envelope(request.headers, self._gateway.directory, trail.request_id, trail.arrived_at)
            body = self._listing.show(envelope.tenant, request.path_params.get("model"))
            return Response(body, media_type=JSON, headers={"x-request-id": trail.request_id})

        return await self._guarded(request, "/v1/models", show)

    async def healthz(self, request: Request) -> Response:
        return Response(b'{"status":"ok"}', media_type=JSON)

    async def readyz(self, request: Request) -> Response:
        """200 while at least one upstream could answer. `local_ready`: so could every model inside the cluster."""
        fleet = self._gateway.fleet
        upstreams = fleet.availability()
        is_ready = any(upstreams.values())
        body = orjson.dumps({"ready": is_ready, "local_ready": fleet.is_local_ready(), "upstreams": upstreams})
        return Response(body, status_code=200 if is_ready else 503, media_type=JSON)

    async def metrics(self, request: Request) -> Response:
        for upstream_id, is_available in self._gateway.fleet.availability().items():
            self._gateway.metrics.record_availability(upstream_id, is_available=is_available)
        return Response(self._gateway.metrics.render(), media_type=CONTENT_TYPE)

    async def _answer(self, request: Request, path: str, dialect: Dialect, trail: Trail) -> Response:
        envelope, raw, call = await self._read(request, dialect, trail)
        guard = ReplayGuard(self._gateway.ledger, envelope.tenant.id, idempotency_key(request.headers))
        stored = await guard.claim(path, raw)
        if stored is not None:
            return _replayed(stored, trail)
        try:
            prepared = await self._gateway.preparation.prepare(envelope, call, trail)
            self._gateway.metrics.record_decision(prepared.decision.chosen.tier.name, prepared.decision.reason.value)
            if call.is_streaming:
                return await self._stream(request, dialect, prepared, trail, guard)
            answer = await until_client_leaves(request.receive, self._gateway.dispatcher.complete(prepared, trail))
            body = dialect.render(answer, call)
        except BaseException:
            await guard.settle(None)
            raise
        trail.mark_answered()
        headers = answer_headers(trail)
        await guard.settle(StoredAnswer(200, JSON, tuple(headers.items()), body))
        return Response(body, media_type=JSON, headers=headers)

    async def _stream(
        self, request: Request, dialect: Dialect, prepared: Prepared, trail: Trail, guard: ReplayGuard
    ) -> Response:
        opening = self._gateway.dispatcher.stream(prepared, trail)
        stream = await until_client_leaves(request.receive, opening, CommittedStream.aclose)
        trail.mark_answered()
        return StreamedAnswer(
            stream,
            dialect.stream(prepared.call),
            answer_headers(trail),
            guard=guard,
            max_kept_bytes=self._gateway.max_kept_answer_bytes,
            on_end=lambda error: _log_broken(trail, error),
        )

    async def _read(self, request: Request, dialect: Dialect, trail: Trail) -> tuple[Envelope, bytes, ChatCall]:
        gateway = self._gateway
        envelope = read_envelope(request.headers, gateway.directory, trail.request_id, trail.arrived_at)
        raw = await read_raw(request, gateway.max_body_bytes)
        return envelope, raw, dialect.parse(read_body(raw, gateway.max_json_depth))

    async def _guarded(self, request: Request, route: str, handle: Callable[[Trail], Awaitable[Response]]) -> Response:
        trail = new_trail(request.headers)
        try:
            response = await handle(trail)
        except ClientLeft:
            response = Response(status_code=CLIENT_CLOSED_REQUEST)
        except GatewayError as error:
            if error.status_code == 500:
                log.error("request %s stopped: %s", trail.request_id, error.code)  # noqa: TRY400 - our own words
            response = error_response(error, trail)
        except Exception as error:  # noqa: BLE001 - the ingress rim: the caller gets a typed error, the log the place
            log.error("request %s failed: %s", trail.request_id, _where(error))  # noqa: TRY400 - its text may be private
            response = error_response(InternalError(), trail)
        trail.mark_answered()
        tier = "none" if trail.candidate is None else trail.candidate.tier.name
        self._gateway.metrics.record_request(route, response.status_code, tier)
        self._gateway.metrics.record_overhead(trail.overhead_s)
        return response


def create_app(gateway: Gateway, background: Callable[[], AbstractAsyncContextManager[None]]) -> Starlette:
    """`background` owns the tasks that live as long as the application; it is entered at its start-up."""
    api = Api(gateway)
    app = Starlette(
        routes=[
            *(Route(path, api.inference(path), methods=["POST"]) for path in gateway.dialects),
            Route("/v1/route", api.route, methods=["POST"]),
            Route("/v1/models", api.models, methods=["GET"]),
            Route("/v1/models/{model:path}", api.models, methods=["GET"]),
            Route("/healthz", api.healthz, methods=["GET"]),
            Route("/readyz", api.readyz, methods=["GET"]),
            Route("/metrics", api.metrics, methods=["GET"]),
        ],
        exception_handlers={HTTPException: _not_routed},
        lifespan=lambda app: background(),
    )
    # A path is known or it is not: a redirect is no answer that an API's client expects.
    app.router.redirect_slashes = False
    return app


def error_response(error: GatewayError, trail: Trail) -> Response:
    headers = answer_headers(trail)
    if error.retry_after_s is not None and error.status_code in (409, 429, 503):
        headers["retry-after"] = str(max(1, round(error.retry_after_s)))
    if error.status_code == 401:
        headers["www-authenticate"] = "Bearer"
    return Response(orjson.dumps(error.to_openai()), error.status_code, headers, JSON)


def _not_routed(request: Request, exception: Exception) -> Response:
    is_method = isinstance(exception, HTTPException) and exception.status_code == 405
    response = error_response(MethodNotAllowed() if is_method else UnknownPath(), new_trail(request.headers))
    allowed = exception.headers.get("Allow") if isinstance(exception, HTTPException) and exception.headers else None
    if allowed is not None:
        response.headers["allow"] = allowed
    return response


def _replayed(stored: StoredAnswer, trail: Trail) -> Response:
    headers = {**dict(stored.headers), "x-request-id": trail.request_id, "x-upcoach-replayed": "true"}
    return Response(stored.body, stored.status_code, headers, stored.media_type)


def _log_broken(trail: Trail, error: GatewayError | None) -> None:
    if error is not None:
        log.warning("stream of request %s broke: %s", trail.request_id, error.code)


def _where(error: Exception) -> str:
    """The type and the places, never the text: an exception's text may hold a prompt."""
    places = [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
    return f"{type(error).__name__} at {' < '.join(reversed(places[-4:]))}"
