"""The rule by which the simulator counts."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.simulator.tokens import count_message_tokens, count_tokens, split_tokens


@pytest.mark.parametrize(
    ("text", "num"), [("", 0), ("   ", 0), ("four", 1), ("fives", 2), ("a b c", 3), ("eight888 9", 3), (" é\n\tü ", 2)]
)
def test_a_word_is_one_token_for_each_four_characters_or_part_of_them(text: str, num: int) -> None:
    assert count_tokens(text) == num


@given(st.text())
def test_splitting_and_counting_agree_and_nothing_but_trailing_space_is_lost(text: str) -> None:
    tokens = split_tokens(text)
    assert len(tokens) == count_tokens(text)
    assert "".join(tokens) == text.rstrip()


def test_only_the_text_of_messages_counts() -> None:
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": [{"type": "text", "text": "what is"}, {"type": "image_url", "image_url": {}}]},
        {"role": "assistant", "content": None},
    ]
    assert count_message_tokens(messages) == count_tokens("be brief what is") == 5
