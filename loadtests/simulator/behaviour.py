"""How the simulator behaves: strict, frozen settings that flags and `PUT /_sim/behaviour` share."""

import difflib

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from loadtests.simulator.faults import Fault


class Behaviour(BaseModel):
    """Holds for every request that does not order a fault of its own."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    ttft_ms: float = Field(0.0, ge=0, le=600_000, description="wait before the first token")
    tokens_per_s: float = Field(0.0, ge=0, le=1_000_000, description="pace after the first token; 0 = all at once")
    jitter: float = Field(0.1, ge=0, le=1, description="each wait is drawn from wait * (1 +- jitter)")
    num_tokens: int = Field(32, ge=1, le=100_000, description="length of an answer in text, in tokens")
    error_rate: float = Field(0.0, ge=0, le=1, description="share of requests answered with status 500")
    fault: Fault | None = Field(None, description="the fault that befalls requests: " + ", ".join(Fault))
    fault_rate: float = Field(1.0, ge=0, le=1, description="share of requests that the fault befalls")
    fault_after_chunks: int = Field(3, ge=0, le=100_000, description="content chunks before a fault 'after n'")
    retry_after_s: int = Field(1, ge=0, le=86_400, description="Retry-After of 429 and 503")
    seed: int = Field(1, ge=0, description="of the answers, the jitter and the draws of faults")


class BadBehaviour(ValueError):
    """Settings that cannot hold; the message names the key and, where it is unknown, the nearest one that is not."""


def parse_behaviour(body: bytes, base: Behaviour) -> Behaviour:
    """`base` with the keys of the JSON object in `body` laid over it. Raises BadBehaviour."""
    try:
        given = _Overlay.model_validate_json(body, strict=True)
    except ValidationError as error:
        raise BadBehaviour(describe(error)) from None
    return Behaviour.model_validate({**base.model_dump(), **given.model_dump(exclude_unset=True)})


def describe(error: ValidationError) -> str:
    """One sentence for the first problem in `error`."""
    problem = error.errors()[0]
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] != "extra_forbidden":
        return f"{key or 'the body'}: {problem['msg']}"
    nearest = difflib.get_close_matches(key, Behaviour.model_fields, n=1, cutoff=0.0)[0]
    return f"unknown key {key!r}; did you mean {nearest!r}?"


class _Overlay(Behaviour):
    """The same fields; a type of its own so that only the keys that were given are laid over."""
