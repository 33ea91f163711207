"""The ASGI application: one way in for every route, and one place where errors become JSON."""

import logging
import traceback
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from serve_app.errors import GatewayError, InternalError, MethodNotAllowed, UnknownPath
from serve_app.http_api.envelope import answer_headers, new_trail, read_envelope
from serve_app.http_api.gateway import Gateway
from serve_app.http_api.inference import JSON, Inference
from serve_app.http_api.leaving import ClientLeft
from serve_app.http_api.limits import limit_headers
from serve_app.http_api.listing import ModelListing
from serve_app.http_api.route_view import view_of
from serve_app.pipeline.trail import Trail
from serve_app.resilience.retry_after import header_value
from serve_app.telemetry.metrics import CONTENT_TYPE

log = logging.getLogger(__name__)

CLIENT_CLOSED_REQUEST = 499
SHOWS_RETRY_AFTER = frozenset({409, 429, 503})


class Api:
    """The handlers. Each route differs in its dialect alone."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._inference = Inference(gateway)
        self._listing = ModelListing(gateway.fleet.candidates)

    def inference(self, path: str) -> Callable[[Request], Awaitable[Response]]:
        dialect = self._gateway.dialects[path]

        async def handle(request: Request) -> Response:
            async def answer(trail: Trail) -> Response:
                return await self._inference.answer(await self._inference.read(request, path, dialect, trail))

            return await self._guarded(request, path, answer)

        return handle

    async def route(self, request: Request) -> Response:
        """The decision only, as `upcoach explain` shows it."""

        async def decide(trail: Trail) -> Response:
            dialect = self._gateway.dialects["/v1/chat/completions"]
            prepared = await self._inference.prepare(await self._inference.read(request, "/v1/route", dialect, trail))
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
        """200 while at least one upstream could answer, and this router is not about to stop.

        `local_ready`: so could every model inside the cluster.
        """
        fleet = self._gateway.fleet
        upstreams = fleet.availability()
        is_draining = self._gateway.is_draining()
        is_ready = any(upstreams.values()) and not is_draining
        status = {
            "ready": is_ready,
            "draining": is_draining,
            "local_ready": fleet.is_local_ready(),
            "upstreams": upstreams,
        }
        return Response(orjson.dumps(status), status_code=200 if is_ready else 503, media_type=JSON)

    async def metrics(self, request: Request) -> Response:
        for upstream_id, is_available in self._gateway.fleet.availability().items():
            self._gateway.metrics.record_availability(upstream_id, is_available=is_available)
        for upstream_id, state in self._gateway.fleet.snapshot().states.items():
            self._gateway.metrics.record_circuit(upstream_id, state.circuit)
        return Response(self._gateway.metrics.render(), media_type=CONTENT_TYPE)

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
        if trail.tenant is not None:
            response.headers.update(limit_headers(trail.tenant, self._gateway.gate))
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
    if error.retry_after_s is not None and error.status_code in SHOWS_RETRY_AFTER:
        headers["retry-after"] = header_value(error.retry_after_s)
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


def _where(error: Exception) -> str:
    """The type and the places, never the text: an exception's text may hold a prompt."""
    places = [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
    return f"{type(error).__name__} at {' < '.join(reversed(places[-4:]))}"
