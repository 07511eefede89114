from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cuvee.base.permutation import permute, permute_all, permute_each

KEYS = st.integers(0, 2**64 - 1)


@pytest.mark.parametrize(
    ("key", "n", "i", "wanted"),
    [
        (0, 10, list(range(10)), [1, 0, 9, 3, 5, 6, 2, 8, 7, 4]),
        (0x0123456789ABCDEF, 1000, list(range(8)), [350, 547, 328, 97, 243, 673, 430, 922]),
        (2**64 - 1, 2**40, [0, 1, 2**40 - 1], [565861536809, 32677050811, 847983757096]),
    ],
)
def test_vectors_are_pinned_because_they_are_a_stored_format(key: int, n: int, i: list[int], wanted: list[int]) -> None:
    assert permute(key, n, np.array(i)).tolist() == wanted
    assert permute(key, n, np.array(i * 9)).tolist() == wanted * 9  # many are computed in another way than few


@settings(max_examples=60)
@given(KEYS, st.integers(1, 700))
def test_every_key_gives_a_permutation(key: int, n: int) -> None:
    assert sorted(permute(key, n, np.arange(n)).tolist()) == list(range(n))


@settings(max_examples=30)
@given(KEYS, st.integers(1, 2**62), st.lists(st.floats(0, 1, exclude_max=True), max_size=40))
def test_any_subset_in_any_shape_gives_the_same_values(key: int, n: int, places: list[float]) -> None:
    i = np.array([min(int(p * n), n - 1) for p in places], np.int64)
    there = permute(key, n, i)
    assert there.dtype == np.int64
    assert all(0 <= t < n for t in there.tolist())
    assert [int(permute(key, n, i[k : k + 1])[0]) for k in range(i.size)] == there.tolist()
    assert permute(key, n, i.reshape(1, -1)).shape == (1, i.size)


@pytest.mark.parametrize("n", [2, 5, 8, 24])
def test_every_place_is_as_likely_for_every_element(n: int) -> None:
    runs = 800
    counts = np.zeros((n, n))
    for key in range(runs):
        counts[np.arange(n), permute(key * 0x9E3779B97F4A7C15 % 2**64, n, np.arange(n))] += 1
    chi2 = float(((counts - runs / n) ** 2 / (runs / n)).sum())
    freedom = (n - 1) ** 2
    assert abs(chi2 - freedom) < 5 * (2 * freedom) ** 0.5, chi2


def test_all_orders_of_four_occur() -> None:
    seen = {tuple(permute(key, 4, np.arange(4)).tolist()) for key in range(500)}
    assert len(seen) == 24


def test_neighbouring_keys_give_unrelated_orders() -> None:
    orders = np.stack([permute(key, 1000, np.arange(1000)) for key in range(20)])
    correlations = np.asarray(np.corrcoef(orders))[~np.eye(20, dtype=bool)]
    assert float(np.abs(correlations).max()) < 0.15


@settings(max_examples=40)
@given(st.lists(KEYS, min_size=1, max_size=5), st.integers(1, 300))
def test_many_whole_permutations_are_those_of_their_keys(keys: list[int], n: int) -> None:
    assert permute_all(keys, n).tolist() == [permute(key, n, np.arange(n)).tolist() for key in keys]


@settings(max_examples=60)
@given(st.lists(st.integers(1, 700), min_size=1, max_size=6), st.integers(0, 2**63))
def test_permutations_of_several_sizes_at_once_reach_every_place_once(sizes: list[int], key: int) -> None:
    keys = np.repeat(np.arange(len(sizes), dtype=np.uint64) + np.uint64(key), sizes)
    index = np.concatenate([np.arange(n) for n in sizes])
    found = permute_each(keys, np.repeat(sizes, sizes), index)
    ends = np.cumsum(sizes)
    for end, n in zip(ends.tolist(), sizes, strict=True):
        assert np.sort(found[end - n : end]).tolist() == list(range(n))
    some = np.arange(0, index.size, 3)
    assert np.array_equal(permute_each(keys[some], np.repeat(sizes, sizes)[some], index[some]), found[some])


def test_permutations_at_once_are_pinned_and_spread_evenly() -> None:
    keys, sizes = np.arange(40_000, dtype=np.uint64) * np.uint64(7), np.full(40_000, 5)
    found = permute_each(keys, sizes, np.arange(40_000) % 5)
    assert found[:12].tolist() == [0, 2, 4, 4, 2, 1, 1, 1, 4, 4, 1, 4]
    counts = np.bincount(np.arange(40_000) % 5 * 5 + found, minlength=25)
    assert np.abs(counts - 1600).max() < 5 * 40
