"""How the two sides are measured and reported."""

import pytest

from loadtests.compare.overhead import Side, compare, measure, render, report_of
from loadtests.compare.stats import Conditions
from loadtests.compare.wire_client import BadAnswer, Timing, WireClient

CONDITIONS = Conditions("2026-11-23 00:00 UTC", 2, "a cpu", "CPython 3.11", 0.0, {})


class FakeClient(WireClient):
    """Answers without a socket, and writes down whose turn it was."""

    def __init__(self, name: str, turns: list[str], *, total_s: float = 0.001, fails_every: int = 0) -> None:
        self._name, self._turns, self._total_s, self._fails_every = name, turns, total_s, fails_every

    async def ask(self, body: bytes) -> Timing:
        self._turns.append(self._name)
        if self._fails_every and len(self._turns) % self._fails_every == 0:
            raise BadAnswer("status 502")
        return Timing(self._total_s, self._total_s / 2, {"x-upcoach-upstream": "simulator"})


def runs_of(turns: list[str]) -> list[str]:
    return [turn for at, turn in enumerate(turns) if at == 0 or turns[at - 1] != turn]


async def test_blocks_alternate_as_a_b_b_a_and_the_warm_up_is_dropped() -> None:
    turns: list[str] = []
    direct, gateway = (Side([FakeClient(name, turns)]) for name in ("direct", "gateway"))
    await measure(direct, gateway, b"{}", 200)
    assert len(direct.times) == len(gateway.times) == 200
    assert len(turns) == 2 * (200 + 20)
    assert runs_of(turns) == ["direct", "gateway"] * (len(runs_of(turns)) // 2) + ["direct"]
    assert turns[40:140] == ["direct"] * 25 + ["gateway"] * 50 + ["direct"] * 25


async def test_several_clients_share_the_requests() -> None:
    turns: list[str] = []
    direct, gateway = (Side([FakeClient(name, turns) for _ in range(4)]) for name in ("direct", "gateway"))
    await measure(direct, gateway, b"{}", 400)
    assert len(direct.times) == len(gateway.times) == 400


async def test_a_failure_is_kept_and_not_measured() -> None:
    turns: list[str] = []
    side = Side([FakeClient("direct", turns, fails_every=5)])
    await side.run_block(b"{}", 20)
    assert len(side.times) == 16
    assert side.failures == ["BadAnswer: status 502"] * 4
    assert "FAILED on the direct side: 4 requests" in render(report_of(side, side, CONDITIONS, is_stream=False))


async def test_a_streamed_report_compares_ttft_as_well() -> None:
    direct, gateway = Side([FakeClient("d", [], total_s=0.001)]), Side([FakeClient("g", [], total_s=0.003)])
    await measure(direct, gateway, b"{}", 40)
    report = report_of(direct, gateway, CONDITIONS, is_stream=True)
    ttft, whole = report.comparisons
    assert (ttft.quantity, whole.quantity) == ("TTFT", "whole answer")
    assert whole.added.estimate == pytest.approx(2.0)
    assert report.upstreams == ["simulator"]


def test_the_difference_is_in_milliseconds_and_the_ratio_between_medians() -> None:
    comparison = compare("whole answer", [0.001] * 10, [0.003] * 10)
    assert comparison.added.estimate == pytest.approx(2.0)
    assert comparison.ratio == pytest.approx(3.0)


@pytest.mark.parametrize("address", ["https://example.com", "127.0.0.1:8000", ""])
def test_only_plain_http_can_be_measured(address: str) -> None:
    with pytest.raises(ValueError, match="only http://"):
        WireClient(address, {}, 1.0)
