from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cuvee.corpus.words import BANDS, WordHasher, hash64, minhash_bands, shingles
from tests.corpus.writing import sentences


def bands(*texts: str) -> np.ndarray[tuple[int, ...], np.dtype[np.uint64]]:
    hasher = WordHasher()
    identity = np.array([hash64(text.encode()) for text in texts], np.uint64)
    return minhash_bands([hasher.hashes(text) for text in texts], identity)


def test_hashes_are_pinned() -> None:
    assert hash64(b"cuv\xc3\xa9e") == 8734031867275337380
    assert WordHasher().hashes("The the, THE!").tolist() == [hash64(b"the")] * 3


def test_words_of_unspaced_scripts_are_characters() -> None:
    assert len(WordHasher().hashes("日本語 text 한국")) == 6
    assert len(WordHasher().hashes("naïve café_2")) == 2


@given(st.lists(st.lists(st.integers(0, 5), max_size=9), max_size=8), st.integers(1, 5))
def test_shingles_stay_inside_documents(documents: list[list[int]], length: int) -> None:
    flat = np.array([word for words in documents for word in words], np.uint64)
    ends = np.cumsum([len(words) for words in documents], dtype=np.int64)
    if not documents:
        return
    hashes, shingle_ends = shingles(flat, ends, length)
    expected = [tuple(d[i : i + length]) for d in documents for i in range(len(d) - length + 1)]
    assert len(hashes) == len(expected) == shingle_ends[-1]
    known: dict[tuple[int, ...], int] = {}
    for value, run in zip(hashes.tolist(), expected, strict=True):
        assert known.setdefault(run, value) == value
    assert len(set(known.values())) == len(known)


def test_near_duplicates_share_a_band_and_others_do_not() -> None:
    first, second = sentences(2, 0, words=400)
    edited = " ".join(word if i not in (50, 300) else "other" for i, word in enumerate(first.split()))
    found = bands(first, edited, second)
    assert (found[:, 0] == found[:, 1]).any()
    assert not (found[:, 0] == found[:, 2]).any()


def test_short_documents_meet_only_their_like() -> None:
    found = bands("one two", "One, two.", "one three", "!!!", "???", "")
    assert found.shape == (BANDS, 6)
    assert (found[:, 0] == found[:, 1]).all()
    assert len({tuple(column) for column in found.T.tolist()}) == 5


def test_the_table_of_words_is_bounded_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = WordHasher().hashes("alpha beta gamma alpha beta delta")
    monkeypatch.setattr("cuvee.corpus.words._REMEMBERED_WORDS", 2)
    assert np.array_equal(WordHasher().hashes("alpha beta gamma alpha beta delta"), expected)
