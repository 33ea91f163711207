import orjson

from serve_app.dialects.framing import DONE_FRAME, error_frame, event_frame, frame
from serve_app.errors import InvalidRequest, UpstreamBroken


def test_a_frame_holds_the_payloads_own_bytes() -> None:
    assert frame(b'{"a": 1}') == b'data: {"a": 1}\n\n'
    assert frame(b"[DONE]") == DONE_FRAME


def test_a_payload_with_line_ends_takes_several_data_lines() -> None:
    assert frame(b'{\n"a":\r\n1}') == b'data: {\ndata: "a":\ndata: 1}\n\n'


def test_a_named_event_has_one_line_of_json() -> None:
    assert event_frame("x.y", {"a": "b\nc"}) == b'event: x.y\ndata: {"a":"b\\nc"}\n\n'


def test_an_error_frame_has_openais_shape_and_nothing_private() -> None:
    head, data = error_frame(UpstreamBroken("azure-7", "secret detail")).split(b"\n", 1)
    assert head == b"event: error"
    assert orjson.loads(data.removeprefix(b"data: ")) == {
        "error": {"message": "An upstream failed.", "type": "upstream_error", "code": "upstream_broken", "param": None}
    }


def test_an_errors_body_names_the_field() -> None:
    assert InvalidRequest("'n' must be an integer.", "n").to_openai()["error"]["param"] == "n"
