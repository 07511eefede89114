from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cuvee.audit.replay import Layout, Replay

BASE = 3
Table = dict[tuple[int, int], Any]


def recounted(words: list[list[int]], weight_WC: Any, merges: list[tuple[int, int]]) -> list[Table]:
    """Pair counts before every merge, by going through all words again."""
    words, found = [list(w) for w in words], []
    for t, merge in enumerate(merges):
        counts: Table = {}
        for word, weight in zip(words, weight_WC, strict=True):
            for pair in pairwise(word):
                counts[pair] = counts.get(pair, 0) + weight
        found.append(counts)
        for word in words:
            i = 0
            while i < len(word) - 1:
                if (word[i], word[i + 1]) == merge:
                    word[i : i + 2] = [BASE + t]
                i += 1
    return found


@settings(max_examples=60)
@given(
    words=st.lists(st.lists(st.integers(0, BASE - 1), min_size=1, max_size=12), min_size=1, max_size=15),
    choices=st.lists(st.tuples(st.integers(0, 1), st.integers(0, 99), st.integers(0, 99)), max_size=7),
    seed=st.integers(0, 99),
)
def test_counts_are_those_of_counting_again(words: list[list[int]], choices: list[Any], seed: int) -> None:
    weight_WC = np.random.default_rng(seed).integers(0, 5, (len(words), 2)).astype(np.float64)
    token_N = np.array([t for w in words for t in w], np.int32)
    word_N = np.repeat(np.arange(len(words), dtype=np.int32), [len(w) for w in words])
    replay, merges = Replay(Layout.of(token_N, word_N, BASE), weight_WC, 2), list[tuple[int, int]]()
    for kind, a, b in choices:
        best = replay.best(a % 2)
        given_pair = (a % (BASE + len(merges)), b % (BASE + len(merges)))
        left, right = replay.tokens_of(best) if kind and best >= 0 else given_pair
        if (left, right) not in merges:
            merges.append((left, right))
            replay.merge(replay.find(left, right))
    counts, wanted = replay.counts(), recounted(words, weight_WC, merges)
    found: list[Table] = [{} for _ in merges]
    left_P, right_P = counts.pairs
    rows = zip(counts.pair_R, counts.begin_R, counts.end_R, counts.count_RC, strict=True)
    for pair, begin, end, count in rows:
        for t in range(begin, end):
            key = (int(left_P[pair]), int(right_P[pair]))
            assert key not in found[t]
            found[t][key] = count.tolist()
    for t, merge in enumerate(merges):
        merged = wanted[t].pop(merge, np.zeros(2))
        assert counts.merged_TC[t].tolist() == merged.tolist()
        assert found[t] == {k: v.tolist() for k, v in wanted[t].items() if v.any()}


def test_a_symbol_outside_the_alphabet_parts_words() -> None:
    token_N = np.array([0, 1, -1, 0, 1, 1], np.int32)
    replay = Replay(Layout.of(token_N, np.zeros(6, np.int32), 2), np.ones((1, 1)), 1)
    assert replay.count_PC[replay.find(0, 1), 0] == 2
    assert replay.find(1, 0) == -1
    assert replay.initial_C == [3.0]


def test_runs_are_merged_from_the_left() -> None:
    replay = Replay(Layout.of(np.zeros(5, np.int32), np.zeros(5, np.int32), 1), np.ones((1, 1)), 1)
    replay.merge(replay.find(0, 0))  # aaaaa -> XXa
    assert replay.count_PC[replay.find(1, 1), 0] == 1
    assert replay.count_PC[replay.find(1, 0), 0] == 1
