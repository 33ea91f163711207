"""Puts the training prompts together, and the mix that stands for the product's traffic."""

from collections.abc import Callable, Iterator
from itertools import islice
from random import Random
from typing import Final

from serve_app.classification.training.coaching_bank import COACHING
from serve_app.classification.training.config import CorpusSpec
from serve_app.classification.training.examples import DIFFICULTY, Example, in_conversation, one_turn
from serve_app.classification.training.grammar import Bank, Level
from serve_app.classification.training.packages import NUM_GENERATORS, chat_openers, puzzles
from serve_app.classification.training.talk_bank import KNOWLEDGE, SMALLTALK
from serve_app.classification.training.technical_bank import CODING, MATH, REASONING
from serve_app.classification.training.text_bank import EXTRACTION, WRITING
from serve_app.classification.training.world_bank import WORLD
from serve_app.contracts.assessment import Turn
from serve_app.contracts.vocabulary import Domain

BANKS: Final = (COACHING, SMALLTALK, KNOWLEDGE, WRITING, EXTRACTION, CODING, MATH, REASONING)
_CONVERSATION_SHARE: Final = 0.35
_NUM_WORLD_COPIES: Final = 4
_SPREAD: Final = 0.04

MIX_SHARES: Final = (
    ("smalltalk", SMALLTALK, Level.EASY, 0.15),
    ("coaching easy", COACHING, Level.EASY, 0.18),
    ("coaching standard", COACHING, Level.STANDARD, 0.16),
    ("coaching hard", COACHING, Level.HARD, 0.10),
    ("knowledge easy", KNOWLEDGE, Level.EASY, 0.06),
    ("knowledge standard", KNOWLEDGE, Level.STANDARD, 0.06),
    ("writing easy", WRITING, Level.EASY, 0.05),
    ("writing standard", WRITING, Level.STANDARD, 0.05),
    ("extraction easy", EXTRACTION, Level.EASY, 0.02),
    ("extraction standard", EXTRACTION, Level.STANDARD, 0.03),
    ("coding standard", CODING, Level.STANDARD, 0.05),
    ("math standard", MATH, Level.STANDARD, 0.03),
    ("reasoning standard", REASONING, Level.STANDARD, 0.02),
    ("reasoning hard", REASONING, Level.HARD, 0.04),
)
"""The stated mix: what a coaching product is expected to be asked. Sums to 1."""


def made_examples(spec: CorpusSpec, seed: int, report: Callable[[float], None]) -> list[Example]:
    """Every example that needs no file: templates, other languages, chat openers, puzzles, longer conversations.

    `report` gets the fraction done.
    """
    rng = Random(seed)
    examples = [*_from_banks(spec.num_template_prompts, rng), *_from_world(), *_from_packages(spec, seed, report)]
    report(1.0)
    chosen = rng.sample(examples, int(len(examples) * _CONVERSATION_SHARE))
    return examples + [in_conversation(example, rng.choice(examples), rng) for example in chosen]


def product_mix(num_prompts: int, seed: int) -> dict[str, list[tuple[Turn, ...]]]:
    """Conversations by source, in the stated shares."""
    rng = Random(seed)
    return {
        name: [one_turn(text) for text in islice(bank.prompts(level, rng), round(num_prompts * share))]
        for name, bank, level, share in MIX_SHARES
    }


def _from_banks(num_each: int, rng: Random) -> Iterator[Example]:
    for bank in BANKS:
        for level in Level:
            # Templates repeat themselves: only what differs is kept, so small banks give less.
            for text in dict.fromkeys(islice(bank.prompts(level, rng), num_each)):
                yield Example(
                    one_turn(text), _target(bank, level, text), bank.domain, f"template:{bank.domain}:{level}"
                )


def _target(bank: Bank, level: Level, text: str) -> float:
    """The level's difficulty, a little more for a longer prompt of the same level."""
    length = min(1.0, len(text) / 600.0) - 0.5
    spread = 0.0 if bank.domain is Domain.SMALLTALK else _SPREAD
    return DIFFICULTY[bank.domain][level] + spread * length


def _from_world() -> Iterator[Example]:
    for domain, level, text in WORLD:
        for _ in range(_NUM_WORLD_COPIES):
            yield Example(one_turn(text), DIFFICULTY[domain][level], domain, "other languages")


def _from_packages(spec: CorpusSpec, seed: int, report: Callable[[float], None]) -> Iterator[Example]:
    difficulty = DIFFICULTY[Domain.SMALLTALK][Level.EASY]
    for text in chat_openers():
        yield Example(one_turn(text), difficulty, Domain.SMALLTALK, "chatterbot-corpus")
    num_puzzles = spec.num_puzzles_each * NUM_GENERATORS
    for number, (text, puzzle_difficulty, domain) in enumerate(puzzles(spec.num_puzzles_each, seed)):
        report((number + 1) / num_puzzles)
        yield Example(one_turn(text), puzzle_difficulty, domain, "reasoning-gym")
