"""Seeded prompts from templates: each `{slot}` is filled from a word bank, slots within fillings too."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Final

from serve_app.contracts.vocabulary import Domain

_SLOT: Final = re.compile(r"\{(\w+)\}")


class Level(StrEnum):
    """How much a template asks for."""

    EASY = "easy"
    STANDARD = "standard"
    HARD = "hard"


@dataclass(frozen=True, slots=True)
class Bank:
    """Templates of one domain by level, and the words for their slots."""

    domain: Domain
    templates: Mapping[Level, tuple[str, ...]]
    slots: Mapping[str, tuple[str, ...]]

    def prompts(self, level: Level, rng: Random) -> Iterator[str]:
        """Endless prompts of one level; they repeat once the templates are exhausted."""
        templates = self.templates[level]
        while True:
            yield self._filled(rng.choice(templates), rng)

    def _filled(self, template: str, rng: Random) -> str:
        text = template
        while _SLOT.search(text):
            text = _SLOT.sub(lambda match: rng.choice(self.slots[match.group(1)]), text)
        return text[:1].upper() + text[1:]


def number_words(start: int, stop: int, step: int = 1) -> tuple[str, ...]:
    """Numbers as slot fillings."""
    return tuple(str(n) for n in range(start, stop, step))
