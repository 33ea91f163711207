from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serve_app.streaming.sse import DONE, EventTooLarge, SseParser

# Payload lines hold any bytes but line ends; one that starts with a space needs the space after the colon.
lines = st.binary(max_size=24).map(lambda line: line.replace(b"\n", b".").replace(b"\r", b"."))
payloads = st.lists(lines, min_size=1, max_size=4).map(b"\n".join).filter(bool)
line_ends = st.sampled_from([b"\n", b"\r\n", b"\r"])
noise = st.lists(
    st.sampled_from([b": keep-alive", b":", b"event: delta", b"id: 7", b"retry: 100", b"nonsense", b"dataset: 3"]),
    max_size=3,
)


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[bytes], bytes]:
    """Payloads, and one way of writing them down."""
    events = draw(st.lists(payloads, max_size=6))
    encoded = draw(st.sampled_from([b"", b"\xef\xbb\xbf"]))
    for event in events:
        end = draw(line_ends)
        encoded += b"".join(each + end for each in draw(noise))
        encoded += b"".join(b"data: " + line + end for line in event.split(b"\n"))
        encoded += b"".join(each + end for each in draw(noise)) + end
    return events, encoded


def feed_all(parser: SseParser, pieces: Sequence[bytes]) -> list[bytes]:
    return [payload for piece in pieces for payload in parser.feed(piece)]


def cut(data: bytes, places: Sequence[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


@settings(max_examples=1000, deadline=None)  # the splits that matter are rare
@given(streams(), st.lists(st.integers(min_value=0), max_size=12))
def test_any_split_of_any_stream_gives_the_same_events(stream: tuple[list[bytes], bytes], places: list[int]) -> None:
    events, encoded = stream
    assert feed_all(SseParser(), cut(encoded, places)) == events


@given(streams())
def test_byte_by_byte_gives_the_same_events(stream: tuple[list[bytes], bytes]) -> None:
    events, encoded = stream
    assert feed_all(SseParser(), [bytes([each]) for each in encoded]) == events


@given(st.binary(max_size=200), st.lists(st.integers(min_value=0), max_size=12), st.integers(min_value=1, max_value=40))
def test_rubbish_has_one_outcome_however_it_is_cut(data: bytes, places: list[int], max_event_bytes: int) -> None:
    def outcome(pieces: Sequence[bytes]) -> list[bytes] | None:
        try:
            return feed_all(SseParser(max_event_bytes), pieces)
        except EventTooLarge:
            return None

    assert outcome([data]) == outcome(cut(data, places)) == outcome([bytes([each]) for each in data])


def test_an_event_is_given_with_its_blank_line_and_not_before() -> None:
    parser = SseParser()
    assert parser.feed(b'data: {"a":1}\n') == []
    assert parser.feed(b"\n") == [b'{"a":1}']


@pytest.mark.parametrize("blank_line", [b"\r", b"\n", b"\r\n"])
def test_a_blank_line_ends_an_event_without_waiting_for_more(blank_line: bytes) -> None:
    parser = SseParser()
    assert parser.feed(b"data: x" + blank_line + blank_line) == [b"x"]


def test_crlf_cut_in_its_middle_is_one_line_end() -> None:
    parser = SseParser()
    assert feed_all(parser, [b"data: a\r", b"\ndata: b\r", b"\n\r", b"\ndata: c\n\n"]) == [b"a\nb", b"c"]


def test_a_line_end_after_a_cr_and_more_is_a_line_end_of_its_own() -> None:
    parser = SseParser()
    assert feed_all(parser, [b"data: a\r\rdata: b", b"\ndata: c\n\n"]) == [b"a", b"b\nc"]


def test_a_cr_inside_a_network_chunk_is_a_line_end() -> None:
    assert SseParser().feed(b"data: a\rdata: b\n\n") == [b"a\nb"]


def test_many_events_in_one_network_chunk_are_all_given() -> None:
    assert SseParser().feed(b"data: 1\n\ndata: 2\n\ndata: [DONE]\n\n") == [b"1", b"2", DONE]


def test_a_utf8_character_cut_in_its_middle_survives() -> None:
    data = "data: Grüße 🙂\n\n".encode()
    parser = SseParser()
    assert feed_all(parser, [data[:9], data[9:15], data[15:]]) == ["Grüße 🙂".encode()]


def test_only_one_space_after_the_colon_is_left_out() -> None:
    assert SseParser().feed(b"data:a\n\ndata:  b\n\n") == [b"a", b" b"]


@pytest.mark.parametrize("data", [b"\n\n\n", b": ping\n\n", b"data\n\n", b"data:\n\n", b"data: \n\n", b"event: x\n\n"])
def test_an_event_without_data_is_no_event(data: bytes) -> None:
    assert SseParser().feed(data) == []


def test_a_bom_is_left_out_at_the_start_and_nowhere_else() -> None:
    parser = SseParser()
    assert feed_all(parser, [b"\xef", b"\xbb", b"\xbfdata: a\n\n"]) == [b"a"]
    assert parser.feed(b"\xef\xbb\xbfdata: b\n\n") == []


def test_the_beginning_of_a_bom_that_is_none_is_kept() -> None:
    assert feed_all(SseParser(), [b"\xef", b"\xbb", b"data: a\n\ndata: b\n\n"]) == [b"b"]


def test_an_event_that_the_end_of_the_stream_cuts_off_is_not_given() -> None:
    assert SseParser().feed(b'data: {"choices": [') == []
    assert SseParser().feed(b"data: whole line\n") == []


@pytest.mark.parametrize("size", [1, 7])
@pytest.mark.parametrize(
    "data",
    [b"data: " + b"x" * 100 + b"\n\n", b"x" * 101, b"data: 12345\n" * 10, b"data\n" * 30, b":" + b"x" * 200 + b"\n\n"],
)
def test_an_event_past_the_bound_is_refused_whole_and_in_pieces(data: bytes, size: int) -> None:
    with pytest.raises(EventTooLarge, match="larger than 100 bytes"):
        feed_all(SseParser(100), [data])
    with pytest.raises(EventTooLarge):
        feed_all(SseParser(100), [data[at : at + size] for at in range(0, len(data), size)])


def test_an_event_of_just_the_bound_is_given() -> None:
    assert SseParser(100).feed(b"data: " + b"x" * 94 + b"\n\n") == [b"x" * 94]
    assert feed_all(SseParser(100), [b"data: " + b"x" * 94, b"\n\n"]) == [b"x" * 94]


def test_comments_without_end_fill_nothing() -> None:
    parser = SseParser(100)
    for _ in range(1000):
        assert parser.feed(b": ping\n") == []
    assert parser.feed(b"data: a\n\n") == [b"a"]
