"""Bytes to hashed n-grams. Everything is defined on bytes, so that a port to Swift or Kotlin gives the same numbers.

hash(bytes, kind) = fmix32(kind * 0x9E3779B9 xor sum_j (b_j + 1) * 0x01000193^j), all modulo 2^32, where fmix32 is the
finaliser of MurmurHash3. The sum is a polynomial, so the hash of every window comes from one running sum.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

MAX_FOLDED_BYTES: Final = 16_384
TOKEN_KIND: Final = 1
TOKEN_PAIR_KIND: Final = 2

Uint8s = npt.NDArray[np.uint8]
Uint32s = npt.NDArray[np.uint32]
Indices = npt.NDArray[np.intp]

_BASE: Final = 0x01000193
_KIND_SALT: Final = 0x9E3779B9
_SPACE, _WORD, _MARK = 0, 1, 2


@dataclass(frozen=True, slots=True)
class FoldedText:
    """Folded bytes, where its tokens start and end (exclusive), and the running sums its hashes come from."""

    data: Uint8s
    starts: Indices
    ends: Indices
    sums: Uint32s

    def token_hashes(self) -> Uint32s:
        return _mixed(self._windows(self.starts, self.ends), TOKEN_KIND)

    def token_pair_hashes(self) -> Uint32s:
        """Two neighbouring tokens and the space between them, if there is one."""
        return _mixed(self._windows(self.starts[:-1], self.ends[1:]), TOKEN_PAIR_KIND)

    def byte_ngram_hashes(self, num_bytes: int) -> Uint32s:
        """Every window of `num_bytes`, the spaces at both ends included; the kind is the size."""
        num_windows = max(0, len(self.data) - num_bytes + 1)
        sums = self.sums[num_bytes : num_bytes + num_windows] - self.sums[:num_windows]
        return _mixed(sums * _INVERSE_POWERS[:num_windows], num_bytes)

    def _windows(self, starts: Indices, ends: Indices) -> Uint32s:
        return (self.sums[ends] - self.sums[starts]) * _INVERSE_POWERS[starts]


def fold(data: bytes) -> FoldedText:
    """A-Z to a-z, digits to `0`, 0x00-0x20 and 0x7F to a space; runs of spaces to one, and one at either end.

    A token is a run of letters, digits and bytes from 0x80, or one other byte that is not a space.
    Raises ValueError above MAX_FOLDED_BYTES.
    """
    folded = np.frombuffer(b" " + b" ".join(data.translate(_FOLDED).split()) + b" ", dtype=np.uint8)
    if len(folded) > MAX_FOLDED_BYTES:
        raise ValueError(f"more than {MAX_FOLDED_BYTES} bytes to hash")
    kinds = _KIND_OF_BYTE[folded]
    is_word, is_mark = kinds == _WORD, kinds == _MARK
    # A word goes on only from word byte to word byte; the spaces at both ends spare the edge cases.
    starts = np.flatnonzero(is_mark[1:] | (is_word[1:] & ~is_word[:-1])) + 1
    ends = np.flatnonzero(is_mark[:-1] | (is_word[:-1] & ~is_word[1:])) + 1
    sums = np.zeros(len(folded) + 1, dtype=np.uint32)
    terms = (folded.astype(np.uint32) + np.uint32(1)) * _POWERS[: len(folded)]
    np.cumsum(terms, dtype=np.uint32, out=sums[1:])
    return FoldedText(folded, starts, ends, sums)


def hash_words(words: str) -> Uint32s:
    """Token hashes of words separated by spaces, for word lists: uint32 [number of words]."""
    return fold(words.encode()).token_hashes()


def _mixed(sums: Uint32s, kind: int) -> Uint32s:
    h = sums ^ np.uint32(kind * _KIND_SALT & 0xFFFFFFFF)
    h ^= h >> np.uint32(16)
    h *= np.uint32(0x85EBCA6B)
    h ^= h >> np.uint32(13)
    h *= np.uint32(0xC2B2AE35)
    h ^= h >> np.uint32(16)
    return h


def _powers_of(base: int) -> Uint32s:
    powers, power = [], 1
    for _ in range(MAX_FOLDED_BYTES + 1):
        powers.append(power)
        power = power * base & 0xFFFFFFFF
    return np.array(powers, dtype=np.uint32)


def _folding() -> bytes:
    folded = bytes(0x20 if b <= 0x20 or b == 0x7F else b for b in range(256))
    return folded.translate(
        bytes.maketrans(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", b"abcdefghijklmnopqrstuvwxyz" + b"0" * 10)
    )


def _byte_kinds() -> Uint8s:
    kinds = np.full(256, _MARK, dtype=np.uint8)
    kinds[0x20] = _SPACE
    kinds[[*range(ord("a"), ord("z") + 1), ord("0")]] = _WORD
    kinds[0x80:] = _WORD
    return kinds


_FOLDED: Final = _folding()
_KIND_OF_BYTE: Final = _byte_kinds()
_POWERS: Final = _powers_of(_BASE)
# An odd number has an inverse modulo 2^32: dividing by BASE^start makes a window's hash independent of its place.
_INVERSE_POWERS: Final = _powers_of(pow(_BASE, -1, 1 << 32))
