"""The simulator's rule for tokens: a word is one token for each four of its characters, rounded up.

A token carries the white space before it: joined tokens are the text again, and every content chunk is one token.
White space at the end of a text belongs to no token. Messages cost what their text costs; nothing else does.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

CHARS_PER_TOKEN = 4
_TOKEN = re.compile(r"\s*\S{1,4}")


def split_tokens(text: str) -> list[str]:
    """The tokens of `text`, in order."""
    return _TOKEN.findall(text)


def count_tokens(text: str) -> int:
    """`len(split_tokens(text))`, without making them."""
    return sum((len(word) + CHARS_PER_TOKEN - 1) // CHARS_PER_TOKEN for word in text.split())


def text_of(message: Mapping[str, Any]) -> str:
    """A message's text; parts that are not text have none."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    return " ".join(_text_of_part(part) for part in content)


def count_message_tokens(messages: Iterable[Mapping[str, Any]]) -> int:
    """Prompt tokens of a conversation."""
    return sum(count_tokens(text_of(message)) for message in messages)


def _text_of_part(part: object) -> str:
    if not isinstance(part, dict):
        return ""
    text = part.get("text")
    return text if isinstance(text, str) else ""
