from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cuvee.base.errors import DataError
from cuvee.shards.pools import Pool
from cuvee.stream.gather import Gather
from cuvee.stream.lengths import Decomposed, Pieces
from tests.pools import made

LENGTHS = st.lists(st.integers(0, 90), min_size=1, max_size=700)


@settings(max_examples=40)
@given(LENGTHS, st.integers(0, 3), st.integers(0, 3), st.integers(0, 2**31))
def test_a_pass_has_every_token_once_but_the_ends_that_are_too_short(
    lengths: list[int], low: int, more: int, seed: int
) -> None:
    lengths = [*lengths, 1 << low]
    source = made(lengths)
    found = Decomposed("x", source, low, low + more)
    owner, seen, pieces, gather = (
        np.repeat(np.arange(len(lengths)), lengths),
        [],
        Pieces({2: found}, 3, seed),
        Gather(source),
    )
    for k, count in enumerate(found.counts.tolist()):
        size = 1 << (low + k)
        places = pieces.places(np.full(count, 2 * (more + 1) + k), np.arange(count, 2 * count))
        rows = np.empty((count, size + 1), np.int64)
        gather.write(places, np.arange(count), rows)
        for place, tokens in zip(places.tolist(), rows, strict=True):
            alone, documents = np.empty(size + 1, np.int64), np.empty(size + 1, np.int32)
            gather.one(place, alone)
            found.documents(place, documents)
            assert np.array_equal(alone, tokens)
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
    pieces = Pieces({0: found}, 1, 0)
    assert found.counts.tolist() == [1, 0, 3]
    assert pieces.starts(np.full(3, 2), np.arange(3)).tolist() == [5, 37, 69]
    assert pieces.starts(np.zeros(1, int), np.zeros(1, int)).tolist() == [101]
    assert found.natural.tolist() == [8 / 104, 0, 96 / 104]


@settings(max_examples=25)
@given(LENGTHS, st.integers(0, 4), st.integers(0, 12))
def test_pieces_are_counted_bit_by_bit(lengths: list[int], low: int, more: int) -> None:
    lengths = [*lengths, 1 << low, 70_000, 3]
    found, sizes = Decomposed("x", made(lengths), low, low + more), np.array(lengths)
    wanted = [int((sizes >> (low + k) & 1).sum()) for k in range(more)]
    assert found.counts.tolist() == [*wanted, int((sizes >> (low + more)).sum())]


def test_an_array_without_ends_of_documents_is_one_document_of_any_length() -> None:
    found = Decomposed("x", Pool(np.zeros(0, np.int64), np.array([5, 3_000_000_012])), 2, 10)
    last = int(found.counts[-1]) - 1
    pieces = Pieces({0: found}, 1, 0)
    assert found.tokens == 4 + 3_000_000_007 // 4 * 4
    assert pieces.starts(np.full(2, 8), np.array([0, last])).tolist() == [5, 5 + last * 1024]


def test_passes_domains_and_lengths_are_permuted_apart() -> None:
    found = [Decomposed(name, made([24] * 400), 3, 4) for name in "xy"]
    pieces, items = Pieces({0: found[0], 1: found[1]}, 2, 0), np.arange(400)
    cells = [np.full(400, c) for c in range(4)]
    orders = [pieces.places(cells[c], items + 400 * p) // 24 for c in range(4) for p in range(2)]
    orders.append(Pieces({0: found[0]}, 2, 1).places(cells[0], items) // 24)
    for a in range(len(orders)):
        assert np.array_equal(np.sort(orders[a]), items)
        assert all((orders[a] == orders[b]).mean() < 0.05 for b in range(a))


def test_pieces_asked_for_one_at_a_time_are_those_asked_for_together() -> None:
    draw = np.random.default_rng(0)
    found = {i: Decomposed(f"d{i}", made(draw.integers(0, 99, 700).tolist()), 2, 4) for i in (0, 3)}
    pieces, cells = Pieces(found, 5, 5), draw.choice([0, 1, 2, 9, 10, 11], 900)
    items = draw.integers(0, 4000, 900)
    together = pieces.places(cells, items).tolist()
    assert [int(pieces.places(cells[n : n + 1], items[n : n + 1])[0]) for n in range(0, 900, 7)] == together[::7]


def test_a_domain_without_a_piece_is_refused() -> None:
    with pytest.raises(DataError, match="domain 'x' has no document of 16 tokens"):
        Decomposed("x", made([15, 15, 3]), 4, 6)
