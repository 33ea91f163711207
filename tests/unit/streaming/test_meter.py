from typing import Any

import orjson

from serve_app.contracts.attempt import Usage
from serve_app.streaming.chunks import read_chunk
from serve_app.streaming.meter import StreamMeter


def feed(
    meter: StreamMeter, *choices: dict[str, Any], now_s: float = 0.0, usage: tuple[int, int] | None = None
) -> None:
    body: dict[str, Any] = {"choices": list(choices)}
    if usage is not None:
        body["usage"] = {"prompt_tokens": usage[0], "completion_tokens": usage[1]}
    meter.feed(read_chunk(orjson.dumps(body)), now_s)


def text(content: str, index: int = 0) -> dict[str, Any]:
    return {"index": index, "delta": {"content": content}}


def end(reason: str = "stop", index: int = 0) -> dict[str, Any]:
    return {"index": index, "delta": {}, "finish_reason": reason}


def test_ttft_runs_to_the_first_content_and_not_to_the_role() -> None:
    meter = StreamMeter(started_at_s=10.0)
    feed(meter, {"index": 0, "delta": {"role": "assistant", "content": ""}}, now_s=10.1)
    assert meter.ttft_s is None
    feed(meter, text("a"), now_s=10.5)
    feed(meter, text("b"), now_s=11.0)
    assert meter.ttft_s == 0.5
    assert meter.num_chunks == 3


def test_a_stream_without_a_finish_reason_is_not_complete() -> None:
    meter = StreamMeter(0.0)
    assert not meter.is_complete
    feed(meter, text("a"))
    assert not meter.is_complete
    assert meter.finish_reason is None
    feed(meter, end("length"))
    assert meter.is_complete
    assert meter.finish_reason == "length"


def test_a_stream_of_two_choices_is_complete_when_both_finished() -> None:
    meter = StreamMeter(0.0)
    feed(meter, text("a", 0), text("b", 1))
    feed(meter, end(index=0))
    assert not meter.is_complete
    feed(meter, end(index=1))
    assert meter.is_complete


def test_a_usage_chunk_alone_completes_nothing() -> None:
    meter = StreamMeter(0.0)
    feed(meter, usage=(1, 0))
    assert not meter.is_complete


def test_the_upstreams_count_is_used_where_it_came() -> None:
    meter = StreamMeter(0.0)
    feed(meter, text("abcdefgh"))
    feed(meter, end())
    feed(meter, usage=(11, 3))
    assert meter.usage(num_prompt_tokens=99) == Usage(11, 3, is_estimated=False)


def test_a_stream_that_was_never_counted_is_estimated() -> None:
    meter = StreamMeter(0.0)
    feed(meter, text("abcdefgh"))
    assert meter.usage(num_prompt_tokens=99) == Usage(99, 2, is_estimated=True)


def test_content_after_the_last_count_is_billed_too() -> None:
    meter = StreamMeter(0.0)
    feed(meter, usage=(11, 0))
    feed(meter, text("a" * 40))
    assert meter.usage(num_prompt_tokens=99) == Usage(11, 10, is_estimated=True)


def test_an_estimate_never_falls_below_what_the_upstream_counted() -> None:
    meter = StreamMeter(0.0)
    feed(meter, text("a"), usage=(11, 6))
    feed(meter, text("b"))
    assert meter.usage(num_prompt_tokens=99) == Usage(11, 6, is_estimated=True)
