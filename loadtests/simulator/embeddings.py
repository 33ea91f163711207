"""POST /v1/embeddings: unit vectors, the same for the same seed and text."""

import base64
import math
import random
import struct
from collections.abc import Mapping
from typing import Any

import orjson

from loadtests.simulator.chat import CUTS, reject
from loadtests.simulator.chat_request import BadRequest, parse_object
from loadtests.simulator.counters import Ending
from loadtests.simulator.damage import cut_plain, strike
from loadtests.simulator.faults import UnknownFault
from loadtests.simulator.state import State
from loadtests.simulator.tokens import count_tokens
from loadtests.simulator.wire import Exchange

DEFAULT_DIMENSIONS = 256
MAX_DIMENSIONS = 4096
MAX_INPUTS = 2048


def answer_embeddings(state: State, exchange: Exchange) -> None:
    """Faults that only a stream can have leave it as it is."""
    ticket = state.open_ticket(exchange)
    try:
        body = parse_object(exchange.request.body)
        texts = _texts(body)
        vectors = [vector_of(text, _dimensions(body), state.behaviour.seed) for text, _ in texts]
        damage = state.damage_for(exchange.request, _model(body))
    except BadRequest as error:
        return reject(exchange, ticket, error.problem, error.param)
    except UnknownFault as error:
        return reject(exchange, ticket, str(error), "model")
    num_tokens = sum(num for _, num in texts)
    ticket.model = str(body["model"])
    ticket.read_prompt(num_tokens)
    answer = _render(body, vectors, num_tokens)
    if damage is not None:
        ticket.suffer(damage.fault)
        if strike(exchange, ticket, damage, is_stream=False):
            return None
        if damage.fault in CUTS:
            return cut_plain(exchange, ticket, damage.fault, answer)
    ticket.end(Ending.COMPLETED)
    return exchange.respond(200, answer)


def vector_of(text: str, num_dimensions: int, seed: int) -> list[float]:
    """A vector of length 1, drawn from a generator that `seed` and `text` seed; each number survives a float32."""
    draw = random.Random(f"{seed}:{text}")
    raw = [draw.gauss(0.0, 1.0) for _ in range(num_dimensions)]
    norm = math.sqrt(sum(value * value for value in raw))
    return list(struct.unpack(f"<{num_dimensions}f", struct.pack(f"<{num_dimensions}f", *(v / norm for v in raw))))


def _render(body: Mapping[str, Any], vectors: list[list[float]], num_tokens: int) -> bytes:
    is_base64 = body.get("encoding_format") == "base64"
    rows = [
        {"object": "embedding", "index": at, "embedding": _as_base64(vector) if is_base64 else vector}
        for at, vector in enumerate(vectors)
    ]
    usage = {"prompt_tokens": num_tokens, "total_tokens": num_tokens}
    return orjson.dumps({"object": "list", "data": rows, "model": body["model"], "usage": usage})


def _as_base64(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def _model(body: Mapping[str, Any]) -> str:
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise BadRequest("model must be a string", "model")
    return model


def _dimensions(body: Mapping[str, Any]) -> int:
    wanted = body.get("dimensions")
    if wanted is None:
        return DEFAULT_DIMENSIONS
    if not isinstance(wanted, int) or isinstance(wanted, bool) or not 1 <= wanted <= MAX_DIMENSIONS:
        raise BadRequest(f"dimensions must be a whole number from 1 to {MAX_DIMENSIONS}", "dimensions")
    return wanted


def _texts(body: Mapping[str, Any]) -> list[tuple[str, int]]:
    """Each input as text, with its number of tokens; a list of token ids counts as many tokens as it has."""
    given = body.get("input")
    items = given if isinstance(given, list) and given and not isinstance(given[0], int) else [given]
    if len(items) > MAX_INPUTS:
        raise BadRequest(f"input must hold at most {MAX_INPUTS} texts", "input")
    return [_text(item) for item in items]


def _text(item: object) -> tuple[str, int]:
    if isinstance(item, str) and item:
        return item, count_tokens(item)
    if isinstance(item, list) and item and all(isinstance(token, int) for token in item):
        return " ".join(map(str, item)), len(item)
    raise BadRequest("input must be a text, a list of token ids, or a list of these", "input")
