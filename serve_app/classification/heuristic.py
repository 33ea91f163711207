"""The stated heuristic that answers when the network cannot. Pure, bounded, accepts any text.

    complexity = 0.04                                   for up to 8 words of greeting or thanks; otherwise
                 0.10 + 0.015 * log2(1 + words)         length, up to 0.25
                      + 0.20 * min(reasoning words, 4)  prove, minimum, knights, optimal ...
                      + 0.03 * min(constraint words, 6) must, exactly, without ...
                      + 0.15 if it holds code, + 0.10 if it holds formulas

clipped to [0, 1]. The scale is that of the trained score, so that the same thresholds serve both. The domain is the
first that matches: small talk, coding, extraction, writing, math, reasoning, coaching, and knowledge when none does.
"""

import re
from collections.abc import Sequence
from math import log2
from typing import Final

from serve_app.contracts.assessment import Assessment, Turn
from serve_app.contracts.vocabulary import Domain, ScoredBy

_NUM_END_CHARS: Final = 2000
_NUM_TURNS_SEEN: Final = 64
_MAX_SMALL_TALK_WORDS: Final = 8
_SURE, _UNSURE = 0.5, 0.2


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_SMALL_TALK: Final = _words(
    "hi hello hey thanks thank thx bye goodbye morning evening night welcome ok okay cool great nice cheers lol yes no "
    "sure good hola bonjour hallo ciao"
)
_REASONING: Final = _words(
    "prove proof derive deduce infer logic logical logically theorem lemma contradiction induction optimal optimise "
    "optimize minimise minimize maximise maximize minimum maximum irrational generalise generalize knight knights "
    "knave knaves puzzle riddle counterexample tradeoff tradeoffs trade rigorous rigorously formally necessarily "
    "implies justify probability equilibrium asymptotic shortest causation "
    "confounders deduction deductions undecidable"
)
_CONSTRAINTS: Final = _words(
    "must most least exactly only without unless except never always every each both neither given suppose assume "
    "assuming within between however although constraint constraints deadline budget"
)
_CODE_WORDS: Final = _words(
    "python javascript typescript java sql regex rust kotlin golang refactor stacktrace segfault endpoint compiler"
)
_CODE: Final = re.compile(r"```|\b(?:def|class|const) \w+ ?[(:={]|^(?:import|#include) |=>|[{};]$", re.MULTILINE)
_FORMULA_WORDS: Final = _words("equation equations integral derivative polynomial matrix modulo")
_FORMULA: Final = re.compile(r"[=^√∑∫≤≥]|\\frac|\\sqrt|\d ?[-+*/] ?\d")
_EXTRACTION: Final = _words("extract summarise summarize summary json csv classify")
_WRITING: Final = _words("write draft rewrite rephrase proofread translate essay poem story email blog headline")
_COACHING: Final = _words(
    "feedback career habit habits goal goals motivated motivation colleague colleagues manager boss team burnout "
    "stress stressed promotion procrastinate procrastinating confidence confident mentor coach feel feeling struggling"
)
_TASKS: Final = _REASONING | _CODE_WORDS | _FORMULA_WORDS | _EXTRACTION | _WRITING


def assess_by_heuristic(turns: Sequence[Turn], elapsed_s: float = 0.0) -> Assessment:
    """Assesses the last user turn. `elapsed_s` is what the caller has spent so far, and is passed on."""
    text = _last_user_text(turns).lower()
    words = re.findall(r"[^\W_]+", text)
    if _is_small_talk(words):
        return Assessment(0.04, Domain.SMALLTALK, _SURE, ScoredBy.HEURISTIC, elapsed_s)
    has_code = not _CODE_WORDS.isdisjoint(words) or _CODE.search(text) is not None
    has_formula = not _FORMULA_WORDS.isdisjoint(words) or _FORMULA.search(text) is not None
    complexity = 0.10 + min(0.15, 0.015 * log2(1 + len(words))) + 0.15 * has_code + 0.10 * has_formula
    complexity += 0.20 * min(4, sum(word in _REASONING for word in words))
    complexity += 0.03 * min(6, sum(word in _CONSTRAINTS for word in words))
    domain = _domain(frozenset(words), has_code=has_code, has_formula=has_formula)
    confidence = _UNSURE if domain is Domain.KNOWLEDGE else _SURE
    return Assessment(min(1.0, complexity), domain, confidence, ScoredBy.HEURISTIC, elapsed_s)


def _is_small_talk(words: Sequence[str]) -> bool:
    if len(words) > _MAX_SMALL_TALK_WORDS or not _TASKS.isdisjoint(words):
        return False
    return not words or words[0] in _SMALL_TALK or words[:2] == ["how", "are"]


def _domain(words: frozenset[str], *, has_code: bool, has_formula: bool) -> Domain:
    claims = (
        (Domain.CODING, has_code),
        (Domain.EXTRACTION, bool(words & _EXTRACTION)),
        (Domain.WRITING, bool(words & _WRITING)),
        (Domain.MATH, has_formula),
        (Domain.REASONING, bool(words & _REASONING)),
        (Domain.COACHING, bool(words & _COACHING)),
    )
    return next((domain for domain, is_claimed in claims if is_claimed), Domain.KNOWLEDGE)


def _last_user_text(turns: Sequence[Turn]) -> str:
    seen = turns[-_NUM_TURNS_SEEN:]
    text = next((turn.text for turn in reversed(seen) if turn.role == "user"), seen[-1].text if seen else "")
    if len(text) <= 2 * _NUM_END_CHARS:
        return text
    return text[:_NUM_END_CHARS] + "\n" + text[-_NUM_END_CHARS:]
