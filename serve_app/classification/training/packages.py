"""Prompts from packages with permissive licences: chatterbot-corpus (BSD-3) and reasoning-gym (Apache-2.0)."""

import importlib.resources
from collections.abc import Iterator
from typing import Final

import reasoning_gym
import yaml

from serve_app.contracts.vocabulary import Domain

_GREETING_FILES: Final = ("greetings.yml", "conversations.yml")
_CHAT_FILES: Final = ("botprofile.yml", "humor.yml", "gossip.yml", "emotion.yml")

# By what their prompts are about. Left out: generators that print, that run code, or whose prompts change with
# Python's hash seed (polynomial_multiplication).
_HARD_PUZZLES: Final = {
    "knights_knaves": Domain.REASONING, "zebra_puzzles": Domain.REASONING, "propositional_logic": Domain.REASONING,
    "syllogism": Domain.REASONING, "self_reference": Domain.REASONING, "aiw": Domain.REASONING,
    "family_relationships": Domain.REASONING, "jugs": Domain.REASONING, "tower_of_hanoi": Domain.REASONING,
    "course_schedule": Domain.REASONING, "word_ladder": Domain.REASONING, "graph_color": Domain.REASONING,
    "n_queens": Domain.REASONING, "countdown": Domain.MATH, "intermediate_integration": Domain.MATH,
    "polynomial_equations": Domain.MATH, "complex_arithmetic": Domain.MATH,
    "advanced_geometry": Domain.MATH, "cryptarithm": Domain.MATH, "prime_factorization": Domain.MATH,
}  # fmt: skip
_MIDDLE_PUZZLES: Final = {
    "gsm_symbolic": Domain.MATH, "simple_equations": Domain.MATH, "simple_geometry": Domain.MATH, "gcd": Domain.MATH,
    "lcm": Domain.MATH, "products": Domain.MATH, "fraction_simplification": Domain.MATH, "time_intervals": Domain.MATH,
    "calendar_arithmetic": Domain.MATH, "leg_counting": Domain.MATH, "number_sequence": Domain.REASONING,
    "group_anagrams": Domain.REASONING, "letter_jumble": Domain.REASONING,
}  # fmt: skip
_EASY_PUZZLES: Final = {"basic_arithmetic": Domain.MATH, "chain_sum": Domain.MATH, "number_sorting": Domain.MATH}

PUZZLE_DIFFICULTY: Final = ((_HARD_PUZZLES, 0.88), (_MIDDLE_PUZZLES, 0.58), (_EASY_PUZZLES, 0.38))
NUM_GENERATORS: Final = sum(len(generators) for generators, _ in PUZZLE_DIFFICULTY)


def chat_openers() -> Iterator[str]:
    """What people open a chat with, in the corpus' languages; each once, in the order of the files."""
    seen: set[str] = set()
    root = importlib.resources.files("chatterbot_corpus") / "data"
    for language in sorted(root.iterdir(), key=lambda entry: entry.name):
        names = _GREETING_FILES + (_CHAT_FILES if language.name == "english" else ())
        for name in names:
            path = language / name
            if not path.is_file():
                continue
            for conversation in yaml.safe_load(path.read_text(encoding="utf-8"))["conversations"]:
                text = str(conversation[0]).strip()
                if text and text not in seen:
                    seen.add(text)
                    yield text


def puzzles(num_each: int, seed: int) -> Iterator[tuple[str, float, Domain]]:
    """(prompt, difficulty, domain) from every generator that is used."""
    if num_each == 0:  # the generators refuse to make none
        return
    for generators, difficulty in PUZZLE_DIFFICULTY:
        for name, domain in sorted(generators.items()):
            for entry in reasoning_gym.create_dataset(name, size=num_each, seed=seed):
                yield str(entry["question"]), difficulty, domain
