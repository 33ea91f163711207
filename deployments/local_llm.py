"""One local model: ray.serve.llm's own server, taught the Upstream port and to refuse weights it cannot vouch for.

vLLM's types stay on this side of the handle, so that routers and cloud proxies need no vLLM.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ray.serve.llm import LLMConfig
from ray.serve.llm.deployment import LLMServer
from ray.serve.llm.openai_api_models import ChatCompletionRequest

from deployments.logs import log_with_serve
from serve_app.contracts.upstream import UpstreamCall
from serve_app.contracts.vocabulary import LOCAL
from serve_app.errors import UpstreamBroken, UpstreamRefused, UpstreamRejectedRequest
from serve_app.integrity.manifest import verify_model
from serve_app.streaming.chunks import read_complaint
from serve_app.upstreams.complaints import error_of

DONE = "data: [DONE]"


class LocalLLM(LLMServer):
    """Implements the Upstream port beside everything that LLMServer does."""

    async def __init__(  # type: ignore[misc]  # Serve awaits it, as LLMServer's own
        self, llm_config: LLMConfig, *, folder: Path, manifest: Path
    ) -> None:
        """Raises ModelRejected, and so never becomes healthy, when the weights are not those of the manifest."""
        log_with_serve()
        await asyncio.to_thread(verify_model, folder, manifest)
        await super().__init__(llm_config)
        await self._warm_up(llm_config.model_id)

    async def _warm_up(self, model_id: str) -> None:
        """The first request compiles kernels, up to half a minute on a CPU: that time belongs to start-up."""
        messages = [{"role": "user", "content": "Say hello."}]
        request = ChatCompletionRequest(model=model_id, messages=messages, max_completion_tokens=4)
        answers: AsyncIterator[Any] = await self.chat(request)
        async for _ in answers:
            pass

    async def complete(self, call: UpstreamCall) -> bytes:
        answers: AsyncIterator[Any] = await self.chat(_request(call, is_streaming=False))
        async for answer in answers:
            _raise_if_error(answer, call)
            body: str = answer.model_dump_json(exclude_none=True)
            return body.encode()
        raise UpstreamBroken(call.upstream_id, "no_answer")

    async def stream(self, call: UpstreamCall) -> AsyncGenerator[Sequence[bytes], None]:
        batches: AsyncIterator[Any] = await self.chat(_request(call, is_streaming=True))
        async for batch in batches:
            payloads = [payload for item in batch for payload in _payloads(item, call)]
            if payloads:
                yield payloads

    async def answer(self, call: UpstreamCall, is_streaming: bool) -> AsyncGenerator[Sequence[bytes], None]:
        """Either kind of answer, a whole one as the only item: a slot is reserved before it is known for which."""
        if not is_streaming:
            yield [await self.complete(call)]
            return
        async with aclosing(self.stream(call)) as batches:
            async for batch in batches:
                yield batch

    async def embed(self, call: UpstreamCall) -> bytes:
        raise UpstreamRefused(call.upstream_id, "no_embeddings")

    async def probe(self) -> None:
        await self.check_health()


def _request(call: UpstreamCall, *, is_streaming: bool) -> Any:
    call.check_egress(LOCAL)
    try:
        return ChatCompletionRequest(**{**call.body, "stream": is_streaming, "request_id": call.request_id})
    except ValidationError as error:
        param = ".".join(str(part) for part in error.errors(include_input=False)[0]["loc"])
        raise UpstreamRejectedRequest(call.upstream_id, "The local model does not accept this field.", param) from None


def _payloads(item: Any, call: UpstreamCall) -> Iterator[bytes]:
    """An item is the text of one or more SSE events, or an error object."""
    _raise_if_error(item, call)
    for line in item.splitlines():
        if line.startswith("data: ") and line != DONE:
            yield line.removeprefix("data: ").encode()


def _raise_if_error(item: Any, call: UpstreamCall) -> None:
    """An answer has choices and a streamed item is text; whatever else comes is one of vLLM's error objects."""
    if isinstance(item, str) or hasattr(item, "choices"):
        return
    complaint = read_complaint(item.model_dump()) if hasattr(item, "model_dump") else None
    if complaint is not None:
        raise error_of(complaint, call.upstream_id)
    raise UpstreamBroken(call.upstream_id, "unreadable_answer")
