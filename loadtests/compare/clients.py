"""`python -m loadtests.compare.clients`: what each HTTP client costs as the way to a cloud upstream.

Each client asks the simulator for the same answers, whole and streamed. What comes is parsed as the gateway must parse
it: the openai client makes its own objects; for the others the stream is split into events, each read by orjson.
"""

import argparse
import asyncio
import json
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, replace

import aiohttp
import httpx
import httpx2
import openai
import orjson
import uvloop
from openai.types.chat import ChatCompletionUserMessageParam

from loadtests.compare.stats import conditions_now

TIMEOUT_S = 30.0
_HEADERS = {"Content-Type": "application/json", "Authorization": "Bearer simulated"}
_PROMPT = "Tell me in a few sentences how I can keep a habit. " * 4
_MESSAGES: list[ChatCompletionUserMessageParam] = [{"role": "user", "content": _PROMPT}]
_PACKAGES = ("openai", "httpx", "httpx2", "aiohttp", "uvloop", "orjson")

Ask = Callable[[bool], Awaitable[int]]
"""Sends one request, streamed or not, and returns the number of content chunks (1 for a whole answer)."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One client in one mode: the median over rounds. CPU is this process's own, user and system."""

    client: str
    mode: str
    num_clients: int
    p50_ms: float
    p95_ms: float
    cpu_ms_per_request: float
    requests_per_s: float


def _body(is_stream: bool) -> bytes:
    return orjson.dumps({"model": "simulator", "messages": _MESSAGES, "stream": is_stream})


async def _count_events(pieces: AsyncIterator[bytes]) -> int:
    """Splits a stream into events, parses each, and counts those that carry content."""
    rest, num_contents = b"", 0
    async for piece in pieces:
        *events, rest = (rest + piece).split(b"\n\n")
        for event in events:
            payload = event.removeprefix(b"data: ")
            if payload != b"[DONE]" and orjson.loads(payload)["choices"][0]["delta"].get("content"):
                num_contents += 1
    return num_contents


async def _openai_client(stack: AsyncExitStack, base_url: str) -> Ask:
    client = openai.AsyncOpenAI(base_url=f"{base_url}/v1", api_key="simulated", max_retries=0, timeout=TIMEOUT_S)
    await stack.enter_async_context(client)

    async def ask(is_stream: bool) -> int:
        if not is_stream:
            answer = await client.chat.completions.create(model="simulator", messages=_MESSAGES)
            return len(answer.choices)
        chunks = await client.chat.completions.create(model="simulator", messages=_MESSAGES, stream=True)
        return len([chunk async for chunk in chunks if chunk.choices[0].delta.content])

    return ask


async def _openai_raw(stack: AsyncExitStack, base_url: str) -> Ask:
    client = openai.AsyncOpenAI(base_url=f"{base_url}/v1", api_key="simulated", max_retries=0, timeout=TIMEOUT_S)
    await stack.enter_async_context(client)
    create = client.chat.completions.with_streaming_response.create

    async def ask(is_stream: bool) -> int:
        async with create(model="simulator", messages=_MESSAGES, stream=is_stream) as response:
            if is_stream:
                return await _count_events(response.iter_bytes())
            return len(orjson.loads(await response.read())["choices"])

    return ask


async def _httpx_client(stack: AsyncExitStack, base_url: str) -> Ask:
    client = await stack.enter_async_context(httpx.AsyncClient(timeout=TIMEOUT_S, headers=_HEADERS))
    return _asker(client, f"{base_url}/v1/chat/completions")


async def _httpx2_client(stack: AsyncExitStack, base_url: str) -> Ask:
    client = await stack.enter_async_context(httpx2.AsyncClient(timeout=TIMEOUT_S, headers=_HEADERS))
    return _asker(client, f"{base_url}/v1/chat/completions")


def _asker(client: httpx.AsyncClient | httpx2.AsyncClient, url: str) -> Ask:
    async def ask(is_stream: bool) -> int:
        if not is_stream:
            answer = await client.post(url, content=_body(False))
            return len(orjson.loads(answer.content)["choices"])
        async with client.stream("POST", url, content=_body(True)) as response:
            return await _count_events(response.aiter_raw())

    return ask


async def _aiohttp_client(stack: AsyncExitStack, base_url: str) -> Ask:
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    session = await stack.enter_async_context(aiohttp.ClientSession(timeout=timeout, headers=_HEADERS))
    url = f"{base_url}/v1/chat/completions"

    async def ask(is_stream: bool) -> int:
        async with session.post(url, data=_body(is_stream)) as response:
            if is_stream:
                return await _count_events(response.content.iter_any())
            return len(orjson.loads(await response.read())["choices"])

    return ask


CLIENTS: dict[str, Callable[[AsyncExitStack, str], Awaitable[Ask]]] = {
    "openai": _openai_client,
    "openai (raw bytes)": _openai_raw,
    "httpx": _httpx_client,
    "httpx2": _httpx2_client,
    "aiohttp": _aiohttp_client,
}


async def _measure(name: str, base_url: str, *, is_stream: bool, num_clients: int, num_requests: int) -> Figure:
    """One round: a tenth as many requests to warm up, then `num_requests` by `num_clients` at once."""
    async with AsyncExitStack() as stack:
        ask = await CLIENTS[name](stack, base_url)
        await _run_clients(ask, num_clients, num_requests // 10, is_stream=is_stream)
        wall, cpu = time.perf_counter(), time.process_time()
        times_s = await _run_clients(ask, num_clients, num_requests, is_stream=is_stream)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    cuts = statistics.quantiles(times_s, n=20)
    num = len(times_s)
    mode = "stream" if is_stream else "plain"
    return Figure(name, mode, num_clients, cuts[9] * 1e3, cuts[18] * 1e3, cpu / num * 1e3, num / wall)


async def _run_clients(ask: Ask, num_clients: int, num_requests: int, *, is_stream: bool) -> list[float]:
    times_s: list[float] = []

    async def one_client() -> None:
        for _ in range(max(1, num_requests // num_clients)):
            started = time.perf_counter()
            if not await ask(is_stream):
                raise RuntimeError("an answer had no content")
            times_s.append(time.perf_counter() - started)

    async with asyncio.TaskGroup() as group:
        for _ in range(num_clients):
            group.create_task(one_client())
    return times_s


async def compare(base_url: str, num_requests: int, num_rounds: int) -> list[Figure]:
    """The median of `num_rounds`, in each of which every client has its turn in every mode."""
    rounds: defaultdict[tuple[str, int, str], list[Figure]] = defaultdict(list)
    for number in range(num_rounds):
        for is_stream in (False, True):
            for num_clients in (1, 16):
                for name in CLIENTS:
                    sys.stderr.write(f"round {number + 1}/{num_rounds}: {name}, {num_clients} at once\n")
                    figure = await _measure(
                        name, base_url, is_stream=is_stream, num_clients=num_clients, num_requests=num_requests
                    )
                    rounds[figure.mode, num_clients, name].append(figure)
    return [_median(figures) for figures in rounds.values()]


def _median(figures: list[Figure]) -> Figure:
    """Field by field."""
    numbers = ("p50_ms", "p95_ms", "cpu_ms_per_request", "requests_per_s")
    middle = {field: statistics.median(asdict(figure)[field] for figure in figures) for field in numbers}
    return replace(figures[0], **middle)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.compare.clients",
        description="Compares HTTP clients against a simulator without delays.",
        epilog="example: python -m loadtests.compare.clients --url http://127.0.0.1:9001 --requests 1000",
    )
    parser.add_argument("--url", default="http://127.0.0.1:9001", help="of a running simulator")
    parser.add_argument("--requests", type=int, default=1000, help="in each round, for each client and mode")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    conditions = conditions_now(_PACKAGES)
    figures = uvloop.run(compare(options.url, options.requests, options.rounds))
    if options.json:
        print(json.dumps({"conditions": conditions.as_json(), "figures": [asdict(figure) for figure in figures]}))
        return 0
    print(f"{conditions}\n{options.rounds} rounds of {options.requests} requests; medians\n")
    print(
        "| mode | at once | client | p50 ms | p95 ms | CPU ms a request | requests/s |\n|---|---|---|---|---|---|---|"
    )
    for figure in figures:
        print(
            f"| {figure.mode} | {figure.num_clients} | {figure.client} | {figure.p50_ms:.3f} | {figure.p95_ms:.3f}"
            f" | {figure.cpu_ms_per_request:.3f} | {figure.requests_per_s:.0f} |"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
