from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cuvee.base.errors import DataError, UsageError
from cuvee.corpus.chunks import ROW
from cuvee.corpus.documents import Documents
from cuvee.corpus.duplicates import Clusters
from cuvee.corpus.split import MOST, Shares, split


def made(
    domains: list[int], sizes: list[int], clusters: list[int] | None = None, seed: int = 0
) -> tuple[Documents, Clusters]:
    rows = np.zeros(len(domains), ROW)
    rows["domain"], rows["bytes"] = domains, sizes
    rows["hash"] = np.random.default_rng(seed).integers(1, 2**63, len(domains))
    names = tuple(f"d{i}" for i in range(max(domains) + 1))
    _, of = np.unique(np.arange(len(domains)) if clusters is None else clusters, return_inverse=True)
    key = np.full(of.max() + 1, 2**64 - 1, np.uint64)
    np.minimum.at(key, of, rows["hash"])
    return Documents((), (), names, rows), Clusters(of.astype(np.int64), key)


@given(st.integers(0, 2**32), st.integers(30, 300), st.integers(1, 3), st.integers(0, 40_000))
def test_splits_keep_clusters_together_and_hold_out_enough(seed: int, count: int, width: int, least: int) -> None:
    rng = np.random.default_rng(seed)
    domains = np.arange(count) % width
    sizes = rng.integers(100, 1000, count)
    documents, clusters = made(domains.tolist(), sizes.tolist(), rng.integers(0, count, count).tolist(), seed)
    try:
        side = split(documents, clusters, Shares(0.05, 0.05, least), seed)
    except DataError:
        return
    for cluster in range(len(clusters.key_C)):
        assert len(set(side[clusters.of_N == cluster].tolist())) == 1
    for domain in range(width):
        here = domains == domain
        total = sizes[here].sum()
        held = [int(sizes[here & (side == s)].sum()) for s in (1, 2)]
        assert min(held) > 0
        if width == 1:
            assert max(held) <= MOST * total
            # every train cluster that is left would be too much
            if min(held) < least:
                alone = [sizes[clusters.of_N == c].sum() for c in set(clusters.of_N[side == 0].tolist())]
                assert min(alone) + held[int(np.argmin(held))] > MOST * total


def test_the_order_of_reading_changes_nothing() -> None:
    rng = np.random.default_rng(1)
    documents, clusters = made([0] * 200, rng.integers(10, 99, 200).tolist())
    side = split(documents, clusters, Shares(0.05, 0.05, 500), 3)
    order = rng.permutation(200)
    shuffled = Documents((), (), documents.domains, documents.rows_N[order])
    again = split(shuffled, Clusters(clusters.of_N[order], clusters.key_C), Shares(0.05, 0.05, 500), 3)
    assert np.array_equal(side[order], again)
    assert not np.array_equal(side, split(documents, clusters, Shares(0.05, 0.05, 500), 4))


def test_shares_are_about_what_was_asked() -> None:
    documents, clusters = made([0] * 20_000, [10] * 20_000)
    side = split(documents, clusters, Shares(0.05, 0.1, 0), 0)
    assert np.bincount(side) / 20_000 == pytest.approx([0.85, 0.05, 0.1], abs=0.01)


def test_a_domain_without_held_out_text_is_refused() -> None:
    documents, clusters = made([0] * 30 + [1] * 3, [100] * 33)
    with pytest.raises(DataError, match="'d1' has no held-out text: its 3 documents"):
        split(documents, clusters, Shares(0.05, 0.05, 100), 0)
    documents, clusters = made([0] * 30, [100] * 30, [0] * 30)
    with pytest.raises(DataError, match="1 clusters"):
        split(documents, clusters, Shares(0.05, 0.05, 100), 0)


@pytest.mark.parametrize(("search", "verify", "least"), [(0, 0.05, 0), (0.05, 0.2, 0), (0.05, 0.05, -1)])
def test_shares_that_make_no_sense(search: float, verify: float, least: int) -> None:
    with pytest.raises(UsageError):
        Shares(search, verify, least)
