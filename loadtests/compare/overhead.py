"""`python -m loadtests.compare.overhead`: the time that the gateway adds to a request.

The same body goes to the simulator directly and through the gateway, in blocks in the order A B B A, so that a drift of
the machine falls on both sides alike. Every client keeps one connection to each side. The warm-up before is dropped.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import uvloop

from loadtests.compare.stats import Conditions, Difference, Spread, conditions_now, difference_of_medians, spread_of
from loadtests.compare.wire_client import BadAnswer, Timing, WireClient

BLOCK = 25
TIMEOUT_S = 30.0
_PACKAGES = ("upcoach-llm", "ray", "uvloop")
_PROMPT = "How can I keep a habit of running in winter, when it is dark and cold before work?"
_EXAMPLE = """example:
  python -m loadtests.simulator --port 9001 &
  python -m loadtests.compare.overhead --direct http://127.0.0.1:9001 --gateway http://127.0.0.1:8000 \\
      --key-file .local/demo.key --model cloud --requests 1000
"""


@dataclass(slots=True)
class Side:
    """What one side answered."""

    clients: list[WireClient]
    times: list[Timing] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    async def run_block(self, body: bytes, num_each: int) -> None:
        """Every client sends `num_each` requests, one after another."""

        async def one_client(client: WireClient) -> None:
            for _ in range(num_each):
                try:
                    self.times.append(await client.ask(body))
                except (BadAnswer, OSError, EOFError, TimeoutError, ValueError) as error:
                    self.failures.append(f"{type(error).__name__}: {error}")

        async with asyncio.TaskGroup() as group:
            for client in self.clients:
                group.create_task(one_client(client))

    def forget(self) -> None:
        """Drops what the warm-up measured, but not its failures."""
        self.times.clear()


@dataclass(frozen=True, slots=True)
class Comparison:
    """One quantity on both sides, in milliseconds. `ratio` is between the medians."""

    quantity: str
    direct: Spread
    gateway: Spread
    added: Difference
    ratio: float


@dataclass(frozen=True, slots=True)
class Report:
    """`upstreams` are those that the gateway named; any but the simulator makes the comparison void."""

    conditions: Conditions
    mode: str
    num_clients: int
    comparisons: list[Comparison]
    upstreams: list[str]
    failures: dict[str, list[str]]


async def measure(direct: Side, gateway: Side, body: bytes, num_requests: int) -> None:
    """Fills both sides with about `num_requests` each, after a warm-up of a tenth of that."""
    num_clients = len(direct.clients)
    num_each = max(1, min(BLOCK, num_requests // (4 * num_clients)))
    num_rounds = max(1, round(num_requests / (2 * num_each * num_clients)))
    for side in (direct, gateway):
        await side.run_block(body, max(5, num_requests // (10 * num_clients)))
        side.forget()
    for number in range(num_rounds):
        sys.stderr.write(f"\rround {number + 1}/{num_rounds}")
        for side in (direct, gateway, gateway, direct):
            await side.run_block(body, num_each)
    sys.stderr.write("\n")


def compare(quantity: str, direct_s: Sequence[float], gateway_s: Sequence[float]) -> Comparison:
    """Both samples in seconds, neither empty."""
    direct_ms, gateway_ms = [time * 1e3 for time in direct_s], [time * 1e3 for time in gateway_s]
    direct, gateway = spread_of(direct_ms), spread_of(gateway_ms)
    added = difference_of_medians(direct_ms, gateway_ms)
    return Comparison(quantity, direct, gateway, added, gateway.p50 / direct.p50)


def report_of(direct: Side, gateway: Side, conditions: Conditions, *, is_stream: bool) -> Report:
    """Neither side may be empty."""
    comparisons = []
    if is_stream:
        ttfts = [[time.ttft_s for time in side.times if time.ttft_s is not None] for side in (direct, gateway)]
        comparisons.append(compare("TTFT", *ttfts))
    totals = [[time.total_s for time in side.times] for side in (direct, gateway)]
    comparisons.append(compare("whole answer", *totals))
    return Report(
        conditions,
        "stream" if is_stream else "plain",
        len(direct.clients),
        comparisons,
        sorted({time.headers.get("x-upcoach-upstream", "not named") for time in gateway.times}),
        {"direct": direct.failures, "gateway": gateway.failures},
    )


def render(report: Report) -> str:
    lines = [
        str(report.conditions),
        f"{report.mode}, {report.num_clients} at once, answered by: {', '.join(report.upstreams)}",
        "",
        "| ms | side | requests | p50 | p95 | p99 |",
        "|---|---|---|---|---|---|",
    ]
    for one in report.comparisons:
        for name, side in (("direct", one.direct), ("gateway", one.gateway)):
            lines.append(f"| {one.quantity} | {name} | {side.num} | {side.p50:.3f} | {side.p95:.3f} | {side.p99:.3f} |")
    lines.append("")
    lines += [
        f"{one.quantity}: the gateway adds {one.added.estimate:.3f} ms to the median "
        f"(95 % interval {one.added.low:.3f} to {one.added.high:.3f}), ratio {one.ratio:.2f}"
        for one in report.comparisons
    ]
    for name, failures in report.failures.items():
        if failures:
            lines.append(f"FAILED on the {name} side: {len(failures)} requests, the first with: {failures[0]}")
    return "\n".join(lines)


async def _measure_and_close(direct: Side, gateway: Side, body: bytes, num_requests: int) -> None:
    await measure(direct, gateway, body, num_requests)
    for client in direct.clients + gateway.clients:
        client.close()


def _body(model: str, *, is_stream: bool) -> bytes:
    return json.dumps(
        {"model": model, "messages": [{"role": "user", "content": _PROMPT}], "max_tokens": 32, "stream": is_stream}
    ).encode()


def main(arguments: Sequence[str] | None = None) -> int:
    """0; 1 when a request failed on either side; 2 when a side has no answer to compare."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.compare.overhead",
        description="Measures the time that the gateway adds to a request that the simulator answers at once.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--direct", default="http://127.0.0.1:9001", help="the simulator, started without delays")
    parser.add_argument("--gateway", default="http://127.0.0.1:8000")
    parser.add_argument("--key-file", help="holds the tenant's key; it is sent to the gateway only")
    parser.add_argument("--model", default="cloud", help="the model asked for on both sides")
    parser.add_argument("--requests", type=int, default=1000, help="on each side")
    parser.add_argument("--clients", type=int, default=1, help="at once")
    parser.add_argument("--stream", action="store_true", help="ask for streams, and compare TTFT as well")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args(arguments)
    conditions = conditions_now(_PACKAGES)
    key = Path(options.key_file).read_text().strip() if options.key_file else None
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    direct = Side([WireClient(options.direct, {}, TIMEOUT_S) for _ in range(options.clients)])
    gateway = Side([WireClient(options.gateway, headers, TIMEOUT_S) for _ in range(options.clients)])
    body = _body(options.model, is_stream=options.stream)
    uvloop.run(_measure_and_close(direct, gateway, body, options.requests))
    if not direct.times or not gateway.times:
        first = (direct.failures + gateway.failures)[0]
        sys.stderr.write(f"nothing to compare: every request failed on one side, the first with: {first}\n")
        return 2
    report = report_of(direct, gateway, conditions, is_stream=options.stream)
    print(json.dumps(asdict(report)) if options.json else render(report))
    return 1 if direct.failures or gateway.failures else 0


if __name__ == "__main__":
    sys.exit(main())
