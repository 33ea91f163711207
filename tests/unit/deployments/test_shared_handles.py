"""What routers share, behind a handle: no request waits long for an owner that does not answer."""

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import grpc  # type: ignore[import-untyped]  # Ray brings it without types
import pytest
from ray.exceptions import ActorUnavailableError
from ray.serve.exceptions import BackPressureError

from deployments.shared_handles import HandleAllowances, HandleBreakerBoard, HandleLedger, HandleTenants
from serve_app.errors import IdempotencyConflict, SharedStateUnavailable
from tests.unit.deployments.test_handle_upstream import Response, task_error

Asking = Callable[[Any], Awaitable[Any]]
ASKINGS: dict[str, Asking] = {
    "record": lambda handle: HandleLedger(handle, 0.02).record([]),
    "claim": lambda handle: HandleLedger(handle, 0.02, 0.02).claim("acme", "key", b"digest"),
    "keep_answer": lambda handle: HandleLedger(handle, 0.02).keep_answer("acme", "key", b"digest", None),
    "tenants_version": lambda handle: HandleTenants(handle, 0.02).tenants_version(),
    "tenants": lambda handle: HandleTenants(handle, 0.02).tenants(),
    "trade": lambda handle: HandleAllowances(handle, 0.02).trade("router", 5.0, []),
    "report": lambda handle: HandleBreakerBoard(handle, 0.02).report("router", []),
    "try_probe": lambda handle: HandleBreakerBoard(handle, 0.02).try_probe("router", "smollm2"),
}
TROUBLES: list[BaseException] = [
    ActorUnavailableError("Actor is unavailable.", b"1" * 16),
    BackPressureError(num_queued_requests=9, max_queued_requests=8),
    grpc.RpcError("peer reset"),
    task_error(ValueError("odd")),
]


def handle_over(method: str, response: Response) -> Any:
    return SimpleNamespace(**{method: SimpleNamespace(remote=lambda *_: response)})


@pytest.mark.parametrize("method", ASKINGS)
async def test_the_owners_answer_is_handed_on(method: str) -> None:
    answer = await ASKINGS[method](handle_over(method, Response("an answer")))
    assert answer in ("an answer", None)


@pytest.mark.parametrize("method", ASKINGS)
@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda trouble: type(trouble).__name__)
async def test_every_trouble_of_ray_says_that_the_owner_is_away(method: str, trouble: BaseException) -> None:
    with pytest.raises(SharedStateUnavailable) as raised:
        await ASKINGS[method](handle_over(method, Response(error=trouble)))
    assert raised.value.retry_after_s == 1.0


@pytest.mark.parametrize("method", ASKINGS)
async def test_an_owner_that_does_not_answer_is_not_waited_for(method: str) -> None:
    response = Response(hangs=True)
    async with asyncio.timeout(1.0):
        with pytest.raises(SharedStateUnavailable):
            await ASKINGS[method](handle_over(method, response))
    assert response.was_cancelled


async def test_a_claim_waits_longer_than_what_no_request_waits_for() -> None:
    ledger = HandleLedger(handle_over("claim", Response(hangs=True)), 0.01)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await ledger.claim("acme", "key", b"digest")


async def test_the_owners_own_word_is_not_taken_for_its_absence() -> None:
    with pytest.raises(IdempotencyConflict) as raised:
        await ASKINGS["claim"](handle_over("claim", Response(error=task_error(IdempotencyConflict()))))
    assert type(raised.value) is IdempotencyConflict
