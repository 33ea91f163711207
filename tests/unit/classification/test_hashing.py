"""The hash is checked against its definition, written out byte by byte as a port would do it."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.classification.hashing import MAX_FOLDED_BYTES, TOKEN_KIND, TOKEN_PAIR_KIND, fold, hash_words


def hash_as_defined(data: bytes, kind: int) -> int:
    total = sum((byte + 1) * pow(0x01000193, j, 2**32) for j, byte in enumerate(data)) % 2**32
    h = total ^ (kind * 0x9E3779B9 % 2**32)
    h ^= h >> 16
    h = h * 0x85EBCA6B % 2**32
    h ^= h >> 13
    h = h * 0xC2B2AE35 % 2**32
    return h ^ (h >> 16)


@given(st.binary(max_size=300))
def test_every_ngram_has_the_hash_that_the_definition_gives(data: bytes) -> None:
    folded = fold(data)
    text = folded.data.tobytes()
    spans = list(zip(folded.starts.tolist(), folded.ends.tolist(), strict=True))
    assert folded.token_hashes().tolist() == [hash_as_defined(text[s:e], TOKEN_KIND) for s, e in spans]
    expected = [hash_as_defined(text[first[0] : second[1]], TOKEN_PAIR_KIND) for first, second in pairwise(spans)]
    assert folded.token_pair_hashes().tolist() == expected
    for n in (3, 5):
        windows = [text[i : i + n] for i in range(len(text) - n + 1)]
        assert folded.byte_ngram_hashes(n).tolist() == [hash_as_defined(window, n) for window in windows]


def test_a_window_hashes_the_same_wherever_it_stands() -> None:
    early, late = fold(b"alpha beta"), fold(b"x" * 9000 + b" alpha beta")
    assert early.token_hashes().tolist() == late.token_hashes().tolist()[1:]


@pytest.mark.parametrize(
    ("data", "tokens"),
    [
        (b"", []),
        (b" \t\n\x00\x7f", []),
        (b"Hello, World", [b"hello", b",", b"world"]),
        (b"x=41+1", [b"x", b"=", b"00", b"+", b"0"]),
        (b"don't!!", [b"don", b"'", b"t", b"!", b"!"]),
        ("né 数".encode(), ["né".encode(), "数".encode()]),
    ],
)
def test_tokens_are_words_or_single_marks_of_the_folded_text(data: bytes, tokens: list[bytes]) -> None:
    folded = fold(data)
    text = folded.data.tobytes()
    assert [text[s:e] for s, e in zip(folded.starts, folded.ends, strict=True)] == tokens


def test_folding_merges_white_space_and_digits_and_ascii_case() -> None:
    assert fold(b" A\t\n b\x00C 1999 ").data.tobytes() == b" a b c 0000 "


def test_more_bytes_than_the_tables_hold_are_refused() -> None:
    with pytest.raises(ValueError, match="bytes to hash"):
        fold(b"x" * MAX_FOLDED_BYTES)


def test_word_lists_hash_as_tokens_do() -> None:
    assert hash_words("prove knight").tolist() == fold(b"Prove KNIGHT").token_hashes().tolist()


def test_neighbouring_inputs_spread_over_the_buckets() -> None:
    hashes = hash_words(" ".join(f"{a}{b}{c}" for a in "abcdefgh" for b in "abcdefgh" for c in "abcdefgh"))
    counts = np.bincount(hashes & np.uint32(63), minlength=64)
    assert len(np.unique(hashes)) == len(hashes)
    assert counts.max() <= 24  # 8 expected in each
