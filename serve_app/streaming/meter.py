"""Times and tokens of one stream.

Invariants: `is_complete` holds only when every choice that began has finished; a count of the upstream's is used only
when no content came after it, so that a stream cut off in its middle is still billed for what it gave.
"""

from collections.abc import Mapping
from typing import Any

from serve_app.contracts.attempt import Usage
from serve_app.contracts.chat import Chunk
from serve_app.streaming.chunks import count_delta_chars, estimate_usage


class StreamMeter:
    """Fed every chunk with its time of arrival. `started_at_s` and `now_s` are on one clock, in seconds."""

    def __init__(self, started_at_s: float) -> None:
        self._started_at_s = started_at_s
        self._begun: set[int] = set()
        self._finished: set[int] = set()
        self._counted: Usage | None = None
        self._is_count_final = False
        self._num_output_chars = 0
        self.ttft_s: float | None = None
        self.num_chunks = 0
        self.finish_reason: str | None = None

    def feed(self, chunk: Chunk, now_s: float) -> None:
        self.num_chunks += 1
        if chunk.has_content:
            self._is_count_final = False
            if self.ttft_s is None:
                self.ttft_s = now_s - self._started_at_s
        for choice in chunk.parsed.get("choices") or ():
            self._read_choice(choice)
        if chunk.finish_reason is not None:
            self.finish_reason = chunk.finish_reason
        if chunk.usage is not None:
            self._counted, self._is_count_final = chunk.usage, True

    def _read_choice(self, choice: Mapping[str, Any]) -> None:
        index = choice.get("index", 0)
        self._begun.add(index)
        if choice.get("finish_reason"):
            self._finished.add(index)
        delta = choice.get("delta")
        if delta:
            self._num_output_chars += count_delta_chars(delta)

    @property
    def is_complete(self) -> bool:
        """A finish_reason was seen for every choice that began, and one began."""
        return bool(self._begun) and self._begun == self._finished

    def usage(self, num_prompt_tokens: int) -> Usage:
        """The upstream's count, or an estimate; `num_prompt_tokens` stands in where the input was never counted."""
        counted = self._counted
        if counted is not None and self._is_count_final:
            return counted
        estimate = estimate_usage(
            counted.num_input_tokens if counted is not None else num_prompt_tokens, self._num_output_chars
        )
        if counted is None or counted.num_output_tokens <= estimate.num_output_tokens:
            return estimate
        return Usage(counted.num_input_tokens, counted.num_output_tokens, is_estimated=True)
