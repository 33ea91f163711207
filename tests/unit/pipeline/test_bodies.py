from serve_app.contracts.vocabulary import Capability
from serve_app.pipeline.bodies import body_for
from tests.fakes.dispatching import call_of, candidate_of


def test_the_upstream_gets_its_own_model_name_and_the_callers_other_fields() -> None:
    body = body_for(call_of(temperature=0.3, seed=4), candidate_of("first"))
    assert body["model"] == "first-model"
    assert body["messages"] == [{"role": "user", "content": "hi"}]
    assert (body["temperature"], body["seed"]) == (0.3, 4)


def test_the_callers_body_is_left_as_it_was() -> None:
    call = call_of(is_streaming=True, max_tokens=5, stream_options={"include_usage": False})
    body_for(call, candidate_of())
    assert call.body["model"] == "auto"
    assert call.body["max_tokens"] == 5
    assert call.body["stream_options"] == {"include_usage": False}


def test_the_tiers_limit_stands_where_the_caller_gave_none() -> None:
    assert body_for(call_of(), candidate_of(max_output_tokens=77))["max_completion_tokens"] == 77


def test_the_callers_limit_holds_below_the_tiers() -> None:
    call = call_of(max_output_tokens=20, max_completion_tokens=20)
    assert body_for(call, candidate_of(max_output_tokens=77))["max_completion_tokens"] == 20


def test_the_tiers_limit_caps_the_callers() -> None:
    call = call_of(max_output_tokens=9999, max_tokens=9999)
    assert body_for(call, candidate_of(max_output_tokens=77))["max_completion_tokens"] == 77


def test_what_the_context_leaves_caps_both() -> None:
    candidate = candidate_of(context_window=100, max_output_tokens=77)
    assert body_for(call_of(num_prompt_tokens=60), candidate)["max_completion_tokens"] == 40


def test_a_prompt_estimated_past_the_context_still_asks_for_one_token() -> None:
    candidate = candidate_of(context_window=100)
    assert body_for(call_of(num_prompt_tokens=300), candidate)["max_completion_tokens"] == 1


def test_the_limit_goes_by_the_upstreams_own_name_and_by_no_other() -> None:
    call = call_of(max_output_tokens=20, max_tokens=20, max_completion_tokens=20)
    body = body_for(call, candidate_of(length_field="max_tokens"))
    assert body["max_tokens"] == 20
    assert "max_completion_tokens" not in body
    body = body_for(call, candidate_of(length_field="max_completion_tokens"))
    assert body["max_completion_tokens"] == 20
    assert "max_tokens" not in body


def test_a_stream_always_asks_for_its_usage_and_keeps_the_other_options() -> None:
    call = call_of(is_streaming=True, stream=True, stream_options={"include_usage": False, "include_obfuscation": True})
    options = body_for(call, candidate_of())["stream_options"]
    assert options == {"include_usage": True, "include_obfuscation": True}
    assert body_for(call_of(is_streaming=True, stream_options=None), candidate_of())["stream_options"] == {
        "include_usage": True
    }


def test_a_whole_answer_asks_for_no_stream_options() -> None:
    assert "stream_options" not in body_for(call_of(), candidate_of())


def test_embeddings_get_no_limit_of_an_answers_length() -> None:
    call = call_of(needs=frozenset({Capability.EMBEDDINGS}), input="text")
    body = body_for(call, candidate_of("first"))
    assert body["model"] == "first-model"
    assert not {"max_tokens", "max_completion_tokens", "stream_options"} & body.keys()
