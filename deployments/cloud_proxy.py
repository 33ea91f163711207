"""One cloud provider: inline, or as a deployment that can be the only pod group with a way out of the cluster."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager

from deployments.logs import log_with_serve
from serve_app.assembly import parts
from serve_app.contracts.upstream import Upstream, UpstreamCall
from serve_app.settings.load import LoadedSettings


class CloudProxy:
    """Implements the Upstream port. The provider's secret is read here and nowhere else."""

    def __init__(self, loaded: LoadedSettings, provider_id: str) -> None:
        log_with_serve()
        self._upstream = parts.provider(loaded, provider_id)

    @asynccontextmanager
    async def reserve(self, limit_s: float) -> AsyncIterator[Upstream]:
        """Yields itself at once: room at a provider is the provider's to give."""
        yield self

    async def wake(self) -> None:
        """A provider sleeps for nobody."""

    async def complete(self, call: UpstreamCall) -> bytes:
        return await self._upstream.complete(call)

    async def stream(self, call: UpstreamCall) -> AsyncGenerator[Sequence[bytes], None]:
        """A stream without anything still gets a batch: Ray 2.60 cannot tell one with no message from a failure."""
        is_empty = True
        async with aclosing(self._upstream.stream(call)) as batches:
            async for batch in batches:
                is_empty = False
                yield batch
        if is_empty:
            yield ()

    async def embed(self, call: UpstreamCall) -> bytes:
        return await self._upstream.embed(call)

    async def probe(self) -> None:
        await self._upstream.probe()

    async def aclose(self) -> None:
        """Closes the connections to the provider; for a proxy inside another's process."""
        await self._upstream.aclose()
