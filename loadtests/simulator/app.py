"""The routes: OpenAI's under /v1, and the simulator's own control plane under /_sim."""

from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import orjson

from loadtests.simulator.behaviour import BadBehaviour, parse_behaviour
from loadtests.simulator.chat import answer_chat
from loadtests.simulator.embeddings import answer_embeddings
from loadtests.simulator.frames import error_body
from loadtests.simulator.state import State
from loadtests.simulator.wire import Exchange, Handler

Route = Callable[[State, Exchange], Coroutine[Any, Any, None] | None]


def make_handler(state: State) -> Handler:
    """The one function that answers every request."""

    def handle(exchange: Exchange) -> Coroutine[Any, Any, None] | None:
        routes = _ROUTES.get(exchange.request.path)
        route = None if routes is None else routes.get(exchange.request.method)
        if route is not None:
            return route(state, exchange)
        if routes is None:
            _refuse(exchange, 404, "unknown_path", "This path does not exist here.")
        else:
            _refuse(exchange, 405, "method_not_allowed", f"This path accepts: {', '.join(routes)}.")
        return None

    return handle


def _refuse(exchange: Exchange, status: int, code: str, message: str) -> None:
    exchange.respond(status, error_body(message, "invalid_request_error", code=code))


def _models(state: State, exchange: Exchange) -> None:
    card = {"id": state.name, "object": "model", "created": 0, "owned_by": "upcoach-simulator"}
    exchange.respond(200, orjson.dumps({"object": "list", "data": [card]}))


def _health(_: State, exchange: Exchange) -> None:
    exchange.respond(200, b'{"status":"ok"}')


def _served(state: State, exchange: Exchange) -> None:
    exchange.respond(200, orjson.dumps(state.counters.as_json()))


def _last(state: State, exchange: Exchange) -> None:
    exchange.respond(200, orjson.dumps({"requests": [seen.as_json() for seen in state.last]}))


def _reset(state: State, exchange: Exchange) -> None:
    state.reset()
    _show_behaviour(state, exchange)


def _show_behaviour(state: State, exchange: Exchange) -> None:
    exchange.respond(200, orjson.dumps(state.behaviour.model_dump(mode="json")))


def _set_behaviour(state: State, exchange: Exchange) -> None:
    """Lays the given keys over what held at the start: `{}` gives that back."""
    try:
        state.behave(parse_behaviour(exchange.request.body, state.base))
    except BadBehaviour as error:
        _refuse(exchange, 400, "invalid_behaviour", str(error))
    else:
        _show_behaviour(state, exchange)


_ROUTES: Mapping[str, Mapping[str, Route]] = {
    "/v1/chat/completions": {"POST": answer_chat},
    "/v1/embeddings": {"POST": answer_embeddings},
    "/v1/models": {"GET": _models},
    "/healthz": {"GET": _health},
    "/_sim/served": {"GET": _served},
    "/_sim/last": {"GET": _last},
    "/_sim/reset": {"POST": _reset},
    "/_sim/behaviour": {"GET": _show_behaviour, "PUT": _set_behaviour},
}
