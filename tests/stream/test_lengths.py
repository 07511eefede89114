from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cuvee.base.errors import DataError
from cuvee.stream.lengths import Bucket, Decomposed
from tests.pools import made

LENGTHS = st.lists(st.integers(0, 90), min_size=1, max_size=700)


@settings(deadline=None, max_examples=40)
@given(LENGTHS, st.integers(0, 3), st.integers(0, 3), st.integers(0, 2**31))
def test_a_pass_has_every_token_once_but_the_ends_that_are_too_short(
    lengths: list[int], low: int, more: int, seed: int
) -> None:
    lengths = [*lengths, 1 << low]
    source, found = made(lengths), Decomposed("x", made(lengths), low, low + more)
    owner, seen = np.repeat(np.arange(len(lengths)), lengths), []
    for k in range(found.buckets):
        size = 1 << (low + k)
        if not found.counts[k]:
            continue
        items = Bucket(found, k, seed)
        for place in items.places(np.arange(items.count, 2 * items.count)).tolist():
            tokens, documents = np.empty(size + 1, np.int64), np.empty(size + 1, np.int32)
            items.read(place, tokens)
            items.documents(place, documents)
            assert tokens[0] == (tokens[1] - 1) % source.tokens
            assert len(set(owner[tokens[1:]].tolist())) == 1
            assert np.array_equal(owner[tokens[1:]], documents[1:])
            begins = tokens[1] == (source.ends - np.array(lengths))[documents[1]]
            assert documents[0] == (-1 if begins else documents[1])
            seen += tokens[1:].tolist()
    kept = [length >> low << low for length in lengths]
    starts = np.cumsum([0, *lengths[:-1]])
    wanted = [t for start, keep in zip(starts.tolist(), kept, strict=True) for t in range(start, start + keep)]
    assert sorted(seen) == wanted
    assert found.tokens == sum(kept)


def test_a_document_is_cut_as_its_binary_form_says_longest_first() -> None:
    found = Decomposed("x", made([5, 64 + 32 + 8 + 3]), 3, 5)
    assert found.counts.tolist() == [1, 0, 3]
    assert found.starts(2, np.arange(3)).tolist() == [5, 37, 69]
    assert found.starts(0, np.arange(1)).tolist() == [101]
    assert found.natural.tolist() == [8 / 104, 0, 96 / 104]


def test_no_piece_is_longer_than_need_be_short() -> None:
    """Of every length but the longest, a document has at most one piece."""
    lengths = np.random.default_rng(0).integers(0, 300, 900)
    found = Decomposed("x", made(lengths.tolist()), 2, 6)
    pieces = np.stack([found.pieces(lengths, k) for k in range(5)])
    assert pieces[:-1].max() == 1
    assert np.array_equal(pieces.sum(1), found.counts)
    assert np.array_equal((pieces << np.arange(2, 7)[:, None]).sum(0), lengths >> 2 << 2)


def test_passes_are_permuted_anew() -> None:
    items = Bucket(Decomposed("x", made([16] * 400), 4, 4), 0, 0)
    first, second = items.places(np.arange(400)), items.places(400 + np.arange(400))
    assert (first == second).mean() < 0.05
    assert not np.array_equal(first, Bucket(items.decomposed, 0, 1).places(np.arange(400)))


def test_items_asked_for_one_at_a_time_are_those_asked_for_together() -> None:
    decomposed = Decomposed("x", made(np.random.default_rng(0).integers(0, 99, 700).tolist()), 2, 4)
    for k in range(3):
        one, many = Bucket(decomposed, k, 5), Bucket(decomposed, k, 5)
        found = [int(one.places(np.array([n]))[0]) for n in range(3 * one.count)]
        assert found == many.places(np.arange(3 * one.count)).tolist()


def test_a_domain_without_a_piece_is_refused() -> None:
    with pytest.raises(DataError, match="domain 'x' has no document of 16 tokens"):
        Decomposed("x", made([15, 15, 3]), 4, 6)
