"""A conversation as model input: bucket ids of hashed n-grams in two bags, and a vector of structural features.

The recipe, which `FEATURES_VERSION` names and golden.json pins down:

1. Only the first 4 and the last 60 turns are looked at. The *focus* is the last `user` turn (the last turn where there
   is none); the *context* is every other turn, joined by one newline.
2. UTF-8, each lone surrogate replaced by `?`. Text longer than head + tail bytes keeps its first `head` and last `tail`
   bytes with one newline between; a character cut in two is left so.
3. Folding and tokens as `hashing.fold` says. N-grams: every token, every two neighbouring tokens, and every run of n
   bytes for each n of `byte_ngrams`, hashed as `hashing` says; bucket = hash modulo `num_buckets`.
4. A bag is the set of its buckets, ascending; each weighs 1 / sqrt(size of the set).
5. `structure.structure_of` adds what n-grams cannot tell.

Invariants: any str and any number of turns is accepted, and the cost is bounded by the byte limits.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, field_validator

from serve_app.classification.hashing import FoldedText, fold
from serve_app.classification.structure import structure_of
from serve_app.contracts.assessment import Turn
from serve_app.strict import StrictModel

FEATURES_VERSION: Final = 1
NUM_FIRST_TURNS: Final = 4
NUM_LAST_TURNS: Final = 60

_MAX_PART_BYTES: Final = 4096


class FeatureSpec(StrictModel):
    """The recipe's parameters; lengths in bytes. They travel with the artefact."""

    version: Literal[1] = FEATURES_VERSION
    num_buckets: int = Field(default=32_768, ge=16, le=1 << 20)
    byte_ngrams: tuple[int, ...] = (3, 5)
    focus_head_bytes: int = Field(default=1536, ge=16, le=_MAX_PART_BYTES)
    focus_tail_bytes: int = Field(default=1536, ge=16, le=_MAX_PART_BYTES)
    context_head_bytes: int = Field(default=512, ge=16, le=_MAX_PART_BYTES)
    context_tail_bytes: int = Field(default=1024, ge=16, le=_MAX_PART_BYTES)

    @field_validator("num_buckets")
    @classmethod
    def _is_power_of_two(cls, value: int) -> int:
        if value & (value - 1):
            raise ValueError("num_buckets must be a power of two")
        return value

    @field_validator("byte_ngrams")
    @classmethod
    def _is_apart_from_token_kinds(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(value)) != len(value) or any(not 3 <= n <= 8 for n in value):
            raise ValueError("byte_ngrams must be distinct sizes from 3 to 8")
        return value


@dataclass(frozen=True, slots=True)
class Features:
    """`ids`: int32 [L], focus first. `weights`: float32 [2, L], row 0 focus, row 1 context. `structure`: float32 [S].

    L is at least 1: with nothing to hash it is one bucket of weight zero.
    """

    ids: npt.NDArray[np.int32]
    weights: npt.NDArray[np.float32]
    structure: npt.NDArray[np.float32]

    def buckets_sha256(self) -> str:
        """Of the focus ids, -1, and the context ids, as little-endian int32: what a port must reproduce."""
        num_focus = int(np.count_nonzero(self.weights[0]))
        num_all = num_focus + int(np.count_nonzero(self.weights[1]))
        ids = np.concatenate([self.ids[:num_focus], [-1], self.ids[num_focus:num_all]])
        return hashlib.sha256(ids.astype("<i4").tobytes()).hexdigest()


def extract(turns: Sequence[Turn], spec: FeatureSpec) -> Features:
    """Features of a conversation. Accepts any turns, none included."""
    focus, others = split_conversation(turns)
    focus_bytes = kept_bytes(focus, spec.focus_head_bytes, spec.focus_tail_bytes)
    context = _joined_ends(others, spec.context_head_bytes + spec.context_tail_bytes)
    context_bytes = kept_bytes(context, spec.context_head_bytes, spec.context_tail_bytes)
    folded = fold(focus_bytes)
    token_hashes = folded.token_hashes()
    structure = structure_of(
        focus_bytes,
        token_hashes,
        num_focus_chars=len(focus),
        num_context_chars=sum(len(text) for text in others),
        num_turns=len(turns),
    )
    focus_bag = _bag(folded, token_hashes, spec)
    if not context_bytes:
        return _features(focus_bag, np.empty(0, dtype=np.int32), structure)
    folded = fold(context_bytes)
    return _features(focus_bag, _bag(folded, folded.token_hashes(), spec), structure)


def split_conversation(turns: Sequence[Turn]) -> tuple[str, list[str]]:
    """(focus, texts of the other turns that are looked at, in order)."""
    if len(turns) > NUM_FIRST_TURNS + NUM_LAST_TURNS:
        seen = [*turns[:NUM_FIRST_TURNS], *turns[-NUM_LAST_TURNS:]]
    else:
        seen = list(turns)
    if not seen:
        return "", []
    focus_at = next((i for i in range(len(seen) - 1, -1, -1) if seen[i].role == "user"), len(seen) - 1)
    focus = seen.pop(focus_at).text
    return focus, [turn.text for turn in seen]


def kept_bytes(text: str, num_head: int, num_tail: int) -> bytes:
    """UTF-8 of `text`, or its first `num_head` and last `num_tail` bytes where it is longer than both together."""
    if len(text) <= num_head + num_tail:
        data = text.encode("utf-8", "replace")
        if len(data) <= num_head + num_tail:
            return data
    # A character is at least one byte: cutting characters first bounds the work and loses none of the wanted bytes.
    head, tail = text[:num_head].encode("utf-8", "replace"), text[-num_tail:].encode("utf-8", "replace")
    return head[:num_head] + b"\n" + tail[-num_tail:]


def _joined_ends(texts: Sequence[str], num_kept: int) -> str:
    """The texts joined by newlines, each cut first to the ends that `kept_bytes` could still want."""
    return "\n".join(t if len(t) <= 2 * num_kept else t[:num_kept] + t[-num_kept:] for t in texts)


def _bag(folded: FoldedText, token_hashes: npt.NDArray[np.uint32], spec: FeatureSpec) -> npt.NDArray[np.int32]:
    parts = [token_hashes, folded.token_pair_hashes()]
    parts.extend(folded.byte_ngram_hashes(n) for n in spec.byte_ngrams)
    hashes = np.concatenate(parts) & np.uint32(spec.num_buckets - 1)
    # Sorting and dropping neighbours is np.unique without its overhead, which counts at this size.
    hashes.sort()
    is_first = np.empty(len(hashes), dtype=np.bool_)
    is_first[:1] = True
    np.not_equal(hashes[1:], hashes[:-1], out=is_first[1:])
    buckets: npt.NDArray[np.int32] = hashes[is_first].astype(np.int32)
    return buckets


def _features(
    focus: npt.NDArray[np.int32], context: npt.NDArray[np.int32], structure: npt.NDArray[np.float32]
) -> Features:
    num_focus, num_context = len(focus), len(context)
    if num_focus + num_context == 0:
        return Features(np.zeros(1, dtype=np.int32), np.zeros((2, 1), dtype=np.float32), structure)
    weights = np.zeros((2, num_focus + num_context), dtype=np.float32)
    weights[0, :num_focus] = 1.0 / np.sqrt(max(1, num_focus))
    weights[1, num_focus:] = 1.0 / np.sqrt(max(1, num_context))
    return Features(np.concatenate([focus, context]), weights, structure)
