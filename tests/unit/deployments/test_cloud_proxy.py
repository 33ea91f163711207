"""A provider behind a deployment: what it says goes through, and silence is no riddle."""

from collections.abc import Sequence
from contextlib import aclosing

import pytest

from deployments.cloud_proxy import CloudProxy
from serve_app.contracts.upstream import UpstreamCall
from serve_app.contracts.vocabulary import Place
from tests.fakes.upstreams import ScriptedUpstream

CALL = UpstreamCall({}, "gpt-5", Place("cloud"), frozenset({Place("cloud")}), "r-1", "attempt-1", None, 5.0)


def proxy_over(upstream: ScriptedUpstream) -> CloudProxy:
    proxy = CloudProxy.__new__(CloudProxy)
    proxy._upstream = upstream  # type: ignore[assignment]  # the provider, without its HTTP
    return proxy


@pytest.mark.parametrize(
    ("script", "batches"),
    [([], [()]), ([[b"one", b"two"]], [[b"one", b"two"]]), ([b"one", b"two"], [[b"one"], [b"two"]])],
    ids=["nothing", "together", "one by one"],
)
async def test_every_stream_has_a_batch(script: list[bytes], batches: list[Sequence[bytes]]) -> None:
    async with aclosing(proxy_over(ScriptedUpstream(script)).stream(CALL)) as stream:
        assert [batch async for batch in stream] == batches
