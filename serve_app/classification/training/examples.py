"""What the network learns from, and the split that keeps a prompt on one side."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

from serve_app.classification.training.grammar import Level
from serve_app.contracts.assessment import Turn
from serve_app.contracts.vocabulary import Domain


@dataclass(frozen=True, slots=True)
class Example:
    """A conversation and what should be said of it. `target` in [0, 1]; `domain` None where it is not known."""

    turns: tuple[Turn, ...]
    target: float
    domain: Domain | None
    source: str
    weight: float = 1.0


DIFFICULTY: Final = {
    Domain.SMALLTALK: {Level.EASY: 0.03, Level.STANDARD: 0.05, Level.HARD: 0.06},
    Domain.COACHING: {Level.EASY: 0.16, Level.STANDARD: 0.34, Level.HARD: 0.75},
    Domain.KNOWLEDGE: {Level.EASY: 0.18, Level.STANDARD: 0.38, Level.HARD: 0.70},
    Domain.WRITING: {Level.EASY: 0.20, Level.STANDARD: 0.38, Level.HARD: 0.72},
    Domain.EXTRACTION: {Level.EASY: 0.22, Level.STANDARD: 0.40, Level.HARD: 0.70},
    Domain.CODING: {Level.EASY: 0.36, Level.STANDARD: 0.60, Level.HARD: 0.90},
    Domain.MATH: {Level.EASY: 0.30, Level.STANDARD: 0.58, Level.HARD: 0.92},
    Domain.REASONING: {Level.EASY: 0.36, Level.STANDARD: 0.65, Level.HARD: 0.94},
}
"""How hard a prompt of a level is meant to be: the product's judgement, on the scale of the score."""


def one_turn(text: str) -> tuple[Turn, ...]:
    return (Turn("user", text),)


def is_held_out(turns: Sequence[Turn], share: float) -> bool:
    """By a hash of the text, so the same prompt always falls on the same side, in whichever source it appears."""
    text = "\n".join(turn.text.strip().lower() for turn in turns)
    digest = hashlib.sha256(text.encode("utf-8", "replace")).digest()
    return int.from_bytes(digest[:4], "big") < share * 2**32


_SYSTEM_TEXTS: Final = (
    "You are a helpful assistant.",
    "You are a supportive coach. Be brief, warm and practical.",
    "Answer in plain language. Do not give medical advice.",
    "You are UpCoach, a personal development companion. Ask one question at a time and keep the user's goals in mind.",
)
_REPLIES: Final = (
    "Sure, I can help with that.",
    "Good question. Let us look at it together.",
    "Of course!",
    "Done. Anything else?",
)
_FOLLOW_UPS: Final = (
    "Go on.",
    "Can you explain that again?",
    "And then?",
    "Continue please",
    "Why?",
    "Give me an example.",
    "Do it.",
    "What is the next step?",
)


def in_conversation(example: Example, earlier: Example, rng: Random) -> Example:
    """The same request inside a longer conversation: a system text, an earlier exchange, or a follow-up to it.

    The last request decides the target, whatever the earlier exchange was about; a bare follow-up continues it.
    """
    request, question = example.turns[-1], earlier.turns[-1]
    system = Turn("system", rng.choice(_SYSTEM_TEXTS))
    # A real reply repeats the words of its question; a canned one does not.
    reply = Turn("assistant", rng.choice((*_REPLIES, f"{rng.choice(_REPLIES)} {question.text}")))
    shapes: tuple[tuple[Turn, ...], ...] = (
        (system, request),
        (question, reply, request),
        (system, question, reply, request),
        (system, request, Turn("assistant", rng.choice(_REPLIES)), Turn("user", rng.choice(_FOLLOW_UPS))),
    )
    return Example(rng.choice(shapes), example.target, example.domain, example.source, example.weight)
