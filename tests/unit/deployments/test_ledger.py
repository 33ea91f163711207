"""The ledger's deployment: nothing is asked of it before it has started, and it hands everything on."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

import deployments.ledger
from deployments.ledger import Ledger


class Owner:
    """Stands for all three parts of the shared state, and says which call it got."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        async def call(*_arguments: object) -> str:
            self.calls.append(name)
            await asyncio.sleep(0)
            return name

        return call


@pytest.fixture
def owner(monkeypatch: pytest.MonkeyPatch) -> Owner:
    owner = Owner()
    state = SimpleNamespace(ledger=owner, allowances=owner, board=owner, start=owner.start, aclose=owner.aclose)
    monkeypatch.setattr(deployments.ledger, "SharedState", lambda _loaded: state)
    return owner


async def started() -> Any:
    """As Serve makes a replica of a class whose `__init__` is a coroutine."""
    ledger: Any = Ledger.__new__(Ledger)
    await ledger.__init__(None)
    return ledger


async def test_it_is_made_only_once_its_state_has_started(owner: Owner) -> None:
    ledger = await started()
    assert owner.calls == ["start"]
    await ledger.__del__()


async def test_every_call_reaches_the_state_and_its_answer_comes_back(owner: Owner) -> None:
    ledger = await started()
    answers = [
        await ledger.claim("acme", "key", b"digest"),
        await ledger.attempts_of("request"),
        await ledger.totals(),
        await ledger.tenants_version(),
        await ledger.tenants(),
        await ledger.trade("router", 5.0, []),
        await ledger.report("router", []),
        await ledger.try_probe("router", "smollm2"),
    ]
    await ledger.record([])
    await ledger.keep_answer("acme", "key", b"digest", None)
    assert answers == ["claim", "attempts_of", "totals", "tenants_version", "tenants", "trade", "report", "try_probe"]
    assert owner.calls == ["start", *answers, "record", "keep_answer"]


async def test_serve_closes_the_state_when_it_stops_the_replica(owner: Owner) -> None:
    ledger = await started()
    await ledger.__del__()
    assert owner.calls[-1] == "aclose"
