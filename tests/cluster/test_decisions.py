"""What the running graph decides: simple stays, hard leaves, confidential never does."""

import pytest
from openai import OpenAI

from tests.fakes.running_graph import RunningGraph

HARD = (
    "A, B and C are each a knight who always tells the truth or a knave who always lies. A says that B is a knave, B "
    "says that A and C are of the same kind, and C says nothing. Determine every possible assignment and prove that "
    "there is no other. Then generalise the argument to n people in a circle."
)


@pytest.fixture
def client(running_graph: RunningGraph) -> OpenAI:
    return OpenAI(base_url=f"{running_graph.url}/v1", api_key=running_graph.key, max_retries=0, timeout=60)


def ask(client: OpenAI, prompt: str, model: str = "auto", **headers: str) -> tuple[dict[str, str], str]:
    answer = client.chat.completions.with_raw_response.create(
        model=model, messages=[{"role": "user", "content": prompt}], max_tokens=24, extra_headers=headers
    )
    return dict(answer.headers), answer.parse().choices[0].message.content or ""


def test_a_greeting_is_answered_by_the_real_local_model(client: OpenAI) -> None:
    headers, text = ask(client, "Hi!")
    assert (headers["x-upcoach-tier"], headers["x-upcoach-upstream"]) == ("LOCAL_FAST", "smollm2")
    assert text.strip()
    assert "no model wrote this" not in text.lower()


def test_a_hard_reasoning_prompt_leaves_for_cloud_enhanced(client: OpenAI) -> None:
    headers, text = ask(client, HARD)
    assert (headers["x-upcoach-tier"], headers["x-upcoach-upstream"]) == ("CLOUD_ENHANCED", "simulator")
    assert headers["x-upcoach-reason"] == "complex"
    assert text


@pytest.mark.parametrize("model", ["auto", "local"])
@pytest.mark.parametrize("prompt", ["Hi!", HARD], ids=["simple", "hard"])
def test_confidential_data_never_leaves(client: OpenAI, running_graph: RunningGraph, model: str, prompt: str) -> None:
    running_graph.cloud.reset()
    running_graph.fallback.reset()
    headers, text = ask(client, prompt, model, **{"X-Upcoach-Data-Class": "confidential"})
    assert headers["x-upcoach-tier"].startswith("LOCAL_")
    assert text
    assert running_graph.cloud.served()["started"] == 0
    assert running_graph.fallback.served()["started"] == 0


def test_a_streamed_answer_arrives_token_by_token(client: OpenAI) -> None:
    stream = client.chat.completions.create(
        model="local",
        messages=[{"role": "user", "content": "Tell me a short story about a river."}],
        max_tokens=32,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    texts = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]
    usage = chunks[-1].usage
    assert len(texts) > 8
    assert usage is not None
    assert 8 < usage.completion_tokens <= 32
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] in ("stop", "length")
