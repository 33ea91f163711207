"""What n-grams cannot tell: lengths, shares of digits and marks, list and question counts, words of reasoning.

Counted on the focus bytes that were kept, so the cost is bounded. The order of `STRUCTURE_NAMES` is part of the recipe.
"""

from math import log1p
from typing import Final

import numpy as np
import numpy.typing as npt

from serve_app.classification.hashing import Uint32s, hash_words

STRUCTURE_NAMES: Final = (
    "log_focus_chars",
    "log_context_chars",
    "log_turns",
    "log_tokens",
    "log_lines",
    "log_indented_lines",
    "log_list_items",
    "log_sentence_ends",
    "log_questions",
    "log_numbers",
    "log_fences",
    "log_backslashes",
    "log_reasoning_words",
    "log_constraint_words",
    "log_extraction_words",
    "log_small_talk_words",
    "upper_share",
    "digit_share",
    "mark_share",
    "code_mark_share",
    "math_mark_share",
    "symbol_share",
    "non_latin_share",
    "emoji_share",
    "distinct_token_share",
    "bytes_per_token",
    "has_choices",
)

# Each word is one folded token and stands in one list only.
_REASONING_WORDS: Final = (
    "prove proof theorem lemma derive deduce infer logically contradiction induction optimal optimise optimize minimum "
    "maximum minimise minimize maximise maximize irrational generalise generalize knight knights knave knaves puzzle "
    "necessarily sufficient implies therefore counterexample complexity trade tradeoff tradeoffs rigorous formally "
    "steps step explain justify probability expected shortest paradox equilibrium converge asymptotic invariant"
)
_CONSTRAINT_WORDS: Final = (
    "must only exactly least most without unless except cannot never always each every both neither either constraint "
    "constraints limit within between however although given suppose assume assuming if then while budget deadline"
)
_EXTRACTION_WORDS: Final = (
    "extract list json csv table summarize summarise summary fields field names dates following text below paragraph "
    "identify classify label format"
)
_SMALL_TALK_WORDS: Final = (
    "hi hello hey thanks thank bye goodbye morning evening night welcome cheers ok okay yes no sure great cool nice "
    "lol haha please sorry you how are hola bonjour hallo ciao"
)


def structure_of(
    data: bytes, token_hashes: Uint32s, *, num_focus_chars: int, num_context_chars: int, num_turns: int
) -> npt.NDArray[np.float32]:
    """float32 [len(STRUCTURE_NAMES)] of the kept focus bytes and its token hashes."""
    array = np.frombuffer(data, dtype=np.uint8)
    counts = np.bincount(array, minlength=256)
    *shares, num_stops = (counts @ _BYTE_CLASSES).tolist()
    num_bytes, num_tokens = max(1, len(data)), len(token_hashes)
    num_distinct = len(np.unique(token_hashes))
    logs_of = (
        num_focus_chars,
        num_context_chars,
        num_turns,
        num_tokens,
        data.count(b"\n"),
        data.count(b"\n  ") + data.count(b"\n\t"),
        sum(data.count(start) for start in _LIST_STARTS),
        num_stops,
        counts[ord("?")],
        _count_numbers(array),
        data.count(b"```"),
        counts[ord("\\")],
        *_count_words(token_hashes),
    )
    rest = (
        num_distinct / max(1, num_tokens),
        min(20.0, num_bytes / max(1, num_tokens)),
        float(b"\nB." in data or b"\nB)" in data or b"(B)" in data),
    )
    return np.array([*(log1p(n) for n in logs_of), *(n / num_bytes for n in shares), *rest], dtype=np.float32)


def _count_numbers(array: npt.NDArray[np.uint8]) -> int:
    """Runs of ASCII digits."""
    is_digit = (array >= ord("0")) & (array <= ord("9"))
    return int(np.count_nonzero(is_digit[1:] & ~is_digit[:-1]) + is_digit[:1].sum())


def _count_words(token_hashes: Uint32s) -> list[int]:
    """How many tokens are in each word list."""
    at = np.minimum(np.searchsorted(_LISTED_HASHES, token_hashes), len(_LISTED_HASHES) - 1)
    is_listed = _LISTED_HASHES[at] == token_hashes
    return [int(n) for n in np.bincount(_LIST_OF_HASH[at[is_listed]], minlength=len(_WORD_LISTS))]


def _listed_words() -> tuple[Uint32s, npt.NDArray[np.intp]]:
    """Sorted hashes of all listed words, and the number of each one's list."""
    hashes = np.concatenate([hash_words(words) for words in _WORD_LISTS])
    list_numbers = np.repeat(np.arange(len(_WORD_LISTS)), [len(words.split()) for words in _WORD_LISTS])
    order = np.argsort(hashes)
    return hashes[order], list_numbers[order]


def _byte_classes() -> npt.NDArray[np.int64]:
    """int64 [256, 9]: which classes a byte counts for, in the order of the shares, sentence ends last."""
    upper = range(ord("A"), ord("Z") + 1)
    digits = range(ord("0"), ord("9") + 1)
    marks = b"!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
    # The lead byte tells the script: Latin ends with U+027F (0xC9), 0xE2 leads punctuation, arrows and math symbols.
    non_latin = (*range(0xCA, 0xE2), *range(0xE3, 0xF0))
    classes = (upper, digits, marks, b"{}[]();=<>_`#|&", b"+-*/^=<>%$", (0xE2,), non_latin, range(0xF0, 0xF5), b".!?")
    table = np.zeros((256, len(classes)), dtype=np.int64)
    for column, members in enumerate(classes):
        table[list(members), column] = 1
    return table


_WORD_LISTS: Final = (_REASONING_WORDS, _CONSTRAINT_WORDS, _EXTRACTION_WORDS, _SMALL_TALK_WORDS)
_LISTED_HASHES, _LIST_OF_HASH = _listed_words()
_BYTE_CLASSES: Final = _byte_classes()
_LIST_STARTS: Final = (b"\n- ", b"\n* ", b"\n1", b"\n2", b"\n3", b"\n4", b"\n5")
