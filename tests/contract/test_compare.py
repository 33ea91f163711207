"""The overhead measurement against simulators: one in the gateway's place, so that the true difference is none."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from loadtests.compare.clients import CLIENTS, compare
from loadtests.compare.overhead import main
from loadtests.simulator.process import running_simulator


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with running_simulator() as simulator:
        yield simulator.address


@pytest.mark.parametrize("flags", [[], ["--stream"], ["--clients", "4"], ["--stream", "--clients", "4"]])
def test_both_sides_are_measured_and_the_key_goes_to_the_gateway_only(
    address: str, flags: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    key_file = tmp_path / "key"
    key_file.write_text("k-secret\n")
    with running_simulator() as gateway:
        sides = ["--direct", address, "--gateway", gateway.address, "--key-file", str(key_file)]
        status = main([*sides, "--requests", "80", "--json", *flags])
        at_gateway = httpx.get(f"{gateway.address}/_sim/last").json()["requests"]
    report = json.loads(capsys.readouterr().out)
    assert status == 0
    assert [one["quantity"] for one in report["comparisons"]] == ["TTFT", "whole answer"][
        0 if "--stream" in flags else 1 :
    ]
    assert all(one["direct"]["num"] == one["gateway"]["num"] == 80 for one in report["comparisons"])
    assert all("authorization" in seen["header_names"] for seen in at_gateway)
    at_direct = httpx.get(f"{address}/_sim/last").json()["requests"]
    assert not any("authorization" in seen["header_names"] for seen in at_direct)


@pytest.mark.parametrize("fault", ["http_500", "die_after_n", "no_done", "empty", "hang"])
def test_a_failed_request_shows_in_the_status(
    address: str, fault: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loadtests.compare.overhead.TIMEOUT_S", 0.1)
    with running_simulator("--fault", fault, "--fault-rate", "0.2") as gateway:
        assert main(["--direct", address, "--gateway", gateway.address, "--requests", "40", "--stream"]) == 1
    assert "FAILED on the gateway side" in capsys.readouterr().out


def test_a_side_that_never_answers_leaves_nothing_to_compare(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    with running_simulator() as gone:
        pass
    assert main(["--direct", address, "--gateway", gone.address, "--requests", "8"]) == 2
    assert "nothing to compare" in capsys.readouterr().err


async def test_every_http_client_is_measured_in_every_mode(address: str) -> None:
    figures = await compare(address, num_requests=16, num_rounds=1)
    assert {(figure.client, figure.mode, figure.num_clients) for figure in figures} == {
        (client, mode, num_clients) for client in CLIENTS for mode in ("plain", "stream") for num_clients in (1, 16)
    }
    assert all(figure.p50_ms > 0 and figure.cpu_ms_per_request > 0 for figure in figures)
