"""The targets of the contract: the application in this process, and the running graph."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import TypeVar

import httpx
import openai
import pytest

from tests.fakes.circuits import close_circuits
from tests.fakes.in_process import KEY, Providers, demo_settings, serving
from tests.fakes.processes import TLS, RunningSimulator
from tests.fakes.targets import Target

TARGETS = ("in_process", "running_graph")
"""A target's name is that of the session fixture that gives it."""

TIMEOUT_S = 60.0

TargetT = TypeVar("TargetT", bound=Target)


@dataclass(frozen=True, slots=True)
class InProcess:
    """Implements Target; its local model is a simulator too."""

    url: str
    key: str
    local: RunningSimulator
    cloud: RunningSimulator
    fallback: RunningSimulator


@pytest.fixture(scope="session")
def in_process(tmp_path_factory: pytest.TempPathFactory, providers: Providers) -> Iterator[InProcess]:
    loaded = demo_settings(tmp_path_factory.mktemp("gateway"), providers)
    with serving(loaded, providers) as url:
        yield InProcess(url, KEY, providers.local, providers.cloud, providers.fallback)


@pytest.fixture(scope="session", params=TARGETS)
def any_target(request: pytest.FixtureRequest) -> Target:
    found: Target = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def target(any_target: Target) -> Iterator[Target]:
    """Every target in turn, its simulators well and without a memory."""
    yield from _well(any_target, any_target.cloud, any_target.fallback)


@pytest.fixture
def rig(in_process: InProcess) -> Iterator[InProcess]:
    """The target whose local model can be made to fail, well and without a memory."""
    yield from _well(in_process, in_process.local, in_process.cloud, in_process.fallback)


def _well(target: TargetT, *simulators: RunningSimulator) -> Iterator[TargetT]:
    for each in simulators:
        each.reset()
    close_circuits(target.url, target.key)
    for each in simulators:
        each.reset()
    yield target
    for each in simulators:
        each.reset()


def client_of(target: Target) -> openai.OpenAI:
    http = openai.DefaultHttpxClient(verify=TLS)
    return openai.OpenAI(
        base_url=f"{target.url}/v1", api_key=target.key, max_retries=0, timeout=TIMEOUT_S, http_client=http
    )


@pytest.fixture
def client(target: Target) -> Iterator[openai.OpenAI]:
    with client_of(target) as opened:
        yield opened


@pytest.fixture
def rig_client(rig: InProcess) -> Iterator[openai.OpenAI]:
    with client_of(rig) as opened:
        yield opened


@pytest.fixture
async def async_client(target: Target) -> AsyncIterator[openai.AsyncOpenAI]:
    http = openai.DefaultAsyncHttpxClient(verify=TLS)
    async with openai.AsyncOpenAI(
        base_url=f"{target.url}/v1", api_key=target.key, max_retries=0, timeout=TIMEOUT_S, http_client=http
    ) as opened:
        yield opened


@pytest.fixture
def http(target: Target) -> Iterator[httpx.Client]:
    """Requests that the official client would not make."""
    headers = {"authorization": f"Bearer {target.key}"}
    with httpx.Client(base_url=target.url, headers=headers, timeout=TIMEOUT_S, verify=TLS) as opened:
        yield opened
