from __future__ import annotations

import hashlib
from bisect import bisect_left, insort

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cuvee.base.errors import DataError
from cuvee.mixture.schedule import Schedule
from cuvee.mixture.weights import Mixture
from cuvee.shards.pools import Pool
from cuvee.stream.bestfit import BestFit, Packed, best_fit
from cuvee.stream.mixer import Mixer
from tests.pools import made

LENGTHS = st.lists(st.integers(0, 50), min_size=1, max_size=60)


def packed(lengths: list[int], seq_len: int, *, name: str = "x", seed: int = 0, block: int = 0, pad: int = 0) -> Packed:
    items = BestFit(pad).items(name, made(lengths), seq_len, seed, block)
    assert isinstance(items, Packed)
    return items


def one_pass(items: Packed, epoch: int = 0) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    tokens = np.empty((items.count, items.seq_len + 1), np.int64)
    documents = np.empty(tokens.shape, np.int32)
    places = items.places(epoch * items.count + np.arange(items.count)).tolist()
    for place, tokens_L1, documents_L1 in zip(places, tokens, documents, strict=True):
        items.read(place, tokens_L1)
        items.documents(place, documents_L1)
    return tokens, documents


@pytest.mark.slow
@settings(max_examples=60)
@given(LENGTHS, st.integers(1, 16), st.integers(0, 2**31))
def test_every_token_is_a_target_once_a_pass_and_no_document_is_cut_without_need(
    lengths: list[int], seq_len: int, seed: int
) -> None:
    lengths = [*lengths, seq_len]
    items, total = packed(lengths, seq_len, seed=seed, pad=-7), sum(lengths)
    owner = np.repeat(np.arange(len(lengths)), lengths)
    for epoch in (0, 3):
        tokens, documents = one_pass(items, epoch)
        real = documents[:, 1:] >= 0
        assert sorted(tokens[:, 1:][real].tolist()) == list(range(total))
        assert np.array_equal(owner[tokens[:, 1:][real]], documents[:, 1:][real])
        assert (tokens[:, 1:][~real] == -7).all()
        assert items.fill * real.size == pytest.approx(total, rel=1e-12)
        pieces = [piece for k in range(items.count) for piece in items.pieces(epoch * items.count + k)]
        for document, length in enumerate(lengths):
            assert sum(p.document == document for p in pieces) == -(-length // seq_len)


@settings(max_examples=30)
@given(LENGTHS, st.integers(2, 16))
def test_the_first_token_is_context(lengths: list[int], seq_len: int) -> None:
    tokens, documents = one_pass(packed([*lengths, seq_len], seq_len))
    total = sum(lengths) + seq_len
    assert np.array_equal(tokens[:, 0], (tokens[:, 1] - 1) % total)
    starts = np.cumsum([0, *lengths])
    goes_on = ~np.isin(tokens[:, 1], starts)
    assert np.array_equal(documents[:, 0], np.where(goes_on, documents[:, 1], -1))


def plain(pieces: list[int], seq_len: int) -> list[int]:
    """Best-fit decreasing one piece at a time: tokens in each bin, sorted."""
    rooms: list[int] = []
    for piece in sorted(pieces, reverse=True):
        place = bisect_left(rooms, piece)
        room = rooms.pop(place) if place < len(rooms) else seq_len
        insort(rooms, room - piece)
    return sorted(seq_len - room for room in rooms)


@settings(max_examples=150)
@given(st.integers(2, 40).flatmap(lambda n: st.tuples(st.just(n), st.lists(st.integers(1, n - 1), max_size=120))))
def test_packing_many_at_a_time_is_best_fit_decreasing(case: tuple[int, list[int]]) -> None:
    seq_len, pieces = case
    runs, bins = best_fit(np.bincount(np.array(pieces, np.int64), minlength=seq_len), seq_len)
    used, count = np.zeros(bins, np.int64), np.zeros(seq_len, np.int64)
    for run in runs:
        used[run.first : run.first + run.bins] += run.length * run.each
        count[run.length] += run.bins * run.each
    assert sorted(used.tolist()) == plain(pieces, seq_len)
    assert np.array_equal(count, np.bincount(np.array(pieces, np.int64), minlength=seq_len))
    assert len(runs) <= len(pieces)


def lognormal(documents: int) -> list[int]:
    drawn = np.random.default_rng(0).normal(size=documents)
    return [max(round(600 * float(np.exp(x))), 1) for x in drawn]


def test_padding_is_a_hundredth_of_a_percent_where_concat_cuts_a_quarter_of_the_documents() -> None:
    lengths, seq_len = np.array(lognormal(20_000)), 2048
    assert packed(lengths.tolist(), seq_len).fill > 0.9995
    ends = np.cumsum(lengths)
    cut = (ends - lengths) // seq_len != (ends - 1) // seq_len
    assert 0.25 < (cut & (lengths <= seq_len)).mean() < 0.32


def test_passes_seeds_blocks_and_names_have_orders_and_companions_of_their_own() -> None:
    lengths = np.random.default_rng(1).integers(1, 12, 300).tolist()

    def rows(name: str = "x", seed: int = 0, block: int = 0, epoch: int = 0) -> NDArray[np.int32]:
        return one_pass(packed(lengths, 20, name=name, seed=seed, block=block), epoch)[1]

    found = [rows(), rows("y"), rows(seed=1), rows(block=1), rows(epoch=1)]
    assert len({r.tobytes() for r in found}) == 5
    assert np.array_equal(found[0], rows())
    companions = [{frozenset(row[1:].tolist()) for row in r} for r in found]
    for other in companions[1:]:
        assert len(companions[0] & other) < 0.2 * len(companions[0])


def test_the_order_is_pinned() -> None:
    """A stored format, like every order."""
    tokens, documents = one_pass(packed(np.random.default_rng(1).integers(1, 40, 200).tolist(), 32, seed=3), 2)
    hashed = hashlib.blake2b(tokens.astype("<i8").tobytes() + documents.astype("<i4").tobytes(), digest_size=8)
    assert hashed.hexdigest() == "51363cc71a4a089b"


def test_any_item_can_be_asked_for_at_any_time() -> None:
    lengths = np.random.default_rng(2).integers(1, 40, 100).tolist()
    one, two = packed(lengths, 16), packed(lengths, 16)
    there = one.places(np.arange(5 * one.count)).tolist()
    back = [int(two.places(np.array([k]))[0]) for k in reversed(range(5 * one.count))][::-1]
    assert there == back
    assert [one.pieces(p) for p in there] == [two.pieces(p) for p in there[::-1]][::-1]


def test_token_shares_are_kept_where_domains_fill_their_rows_differently() -> None:
    sources = {"half": made([9] * 90), "full": made([16] * 70)}
    mixture = Mixture.from_shares({"half": 0.5, "full": 0.5})
    mixer = Mixer(sources, Schedule.constant(mixture), seq_len=16, seed=0, batch=8, packing=BestFit())
    tokens = np.zeros(2)
    for _ in range(100):
        batch = next(mixer)
        for domain, documents in zip(batch.domains.tolist(), batch.documents, strict=True):
            tokens[domain] += (documents[1:] >= 0).sum()
        assert abs(tokens[0] - tokens[1]) <= 16
    assert list(mixer.realised.values()) == tokens.tolist()


def test_a_domain_that_would_not_fill_a_sequence_is_refused() -> None:
    assert packed([5, 3], 8).count == 1
    with pytest.raises(DataError, match="domain 'x' has 7 tokens, less than one sequence"):
        packed([4, 3], 8)
    with pytest.raises(DataError, match="0 tokens"):
        BestFit().items("x", Pool(np.empty(0, np.int64), np.empty(0, np.int64)), 8, 0, 0)
