"""The published algorithm of tokenizer inference as it reads, to measure ours against (Hayase et al. 2024, section 3).

Each category is counted by itself with tables of pairs and of the words they occur in; the program is solved again and
again from the start, by the same solver as ours, while a replay of the merges through a heap finds a hundred new rows.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog
from scipy.sparse import csr_matrix

Pair = tuple[int, int]
_EPOCH_ROWS, _STEP_ROWS, _TOLERANCE = 100, 10, 1e-6


def count(words: Mapping[tuple[int, ...], int], merges: Sequence[Pair], tokens: int) -> list[dict[Pair, int]]:
    """Counts of all pairs before the first merge, then for each merge the counts that it changed."""
    parts = [list(word) for word in words]
    weights = list(words.values())
    table: defaultdict[Pair, int] = defaultdict(int)
    where: defaultdict[Pair, set[int]] = defaultdict(set)
    for i, word in enumerate(parts):
        for pair in pairwise(word):
            table[pair] += weights[i]
            where[pair].add(i)
    found = [dict(table)]
    for t, merge in enumerate(merges):
        changed: set[Pair] = set()
        for i in where.pop(merge, set()):
            word, merged, k = parts[i], [], 0
            for pair in pairwise(word):
                table[pair] -= weights[i]
                changed.add(pair)
            while k < len(word):
                if k < len(word) - 1 and (word[k], word[k + 1]) == merge:
                    merged.append(tokens + t)
                    k += 2
                else:
                    merged.append(word[k])
                    k += 1
            parts[i] = merged
            for pair in pairwise(merged):
                table[pair] += weights[i]
                where[pair].add(i)
                changed.add(pair)
        found.append({pair: table[pair] for pair in changed})
    return found


def solve(counts: Sequence[list[dict[Pair, int]]], merges: Sequence[Pair], epochs: int) -> NDArray[np.float64]:
    """Shares of initial pairs, by rows found in replays, after at most `epochs` of them."""
    n = len(counts)
    totals = np.array([sum(c[0].values()) for c in counts], np.float64)
    rows: dict[tuple[int, Pair], NDArray[np.float64]] = {}
    share_n = np.full(n, 1 / n)
    step_slack: defaultdict[int, float] = defaultdict(float)
    pair_slack: defaultdict[Pair, float] = defaultdict(float)
    for _ in range(epochs):
        before = len(rows)
        _replay(counts, merges, totals, share_n, step_slack, pair_slack, rows)
        if len(rows) == before:
            break
        steps = {t: i for i, t in enumerate(dict.fromkeys(t for t, _ in rows))}
        pairs = {p: i for i, p in enumerate(dict.fromkeys(p for _, p in rows))}
        width = n + len(steps) + len(pairs)
        row: list[int] = []
        column: list[int] = []
        value: list[float] = []
        for r, ((t, pair), difference) in enumerate(rows.items()):
            row += [r] * (n + 2)
            column += [*range(n), n + steps[t], n + len(steps) + pairs[pair]]
            value += [*difference.tolist(), -1.0, -1.0]
        cost = np.concatenate([np.zeros(n), np.ones(width - n)])
        simplex = csr_matrix(np.concatenate([np.ones(n), np.zeros(width - n)])[None])
        above = csr_matrix((value, (row, column)), shape=(len(rows), width))
        nothing = np.zeros(len(rows))
        solved: Any = linprog(cost, above, nothing, simplex, [1.0], method="highs")  # type: ignore[call-overload]
        share_n = solved.x[:n]
        step_slack = defaultdict(float, {t: solved.x[n + i] for t, i in steps.items()})
        pair_slack = defaultdict(float, {p: solved.x[n + len(steps) + i] for p, i in pairs.items()})
    return share_n


def _replay(
    counts: Sequence[list[dict[Pair, int]]],
    merges: Sequence[Pair],
    totals: NDArray[np.float64],
    share_n: NDArray[np.float64],
    step_slack: Mapping[int, float],
    pair_slack: Mapping[Pair, float],
    rows: dict[tuple[int, Pair], NDArray[np.float64]],
) -> None:
    """Add rows that the answer violates, from the first merge on, until there are a hundred more."""
    now: defaultdict[Pair, NDArray[np.float64]] = defaultdict(lambda: np.zeros(len(totals)))
    level: dict[Pair, float] = {}
    heap: list[tuple[float, Pair]] = []
    before = len(rows)
    for t, merge in enumerate(merges):
        changed = set()
        for i, category in enumerate(counts):
            for pair, k in category[t].items():
                now[pair][i] = k / totals[i]
                changed.add(pair)
        for pair in changed:
            level[pair] = float(now[pair] @ share_n) - pair_slack[pair]
            heapq.heappush(heap, (-level[pair], pair))
        if not now[merge].any():
            continue
        popped: list[tuple[float, Pair]] = []
        bound = float(now[merge] @ share_n) + step_slack[t] + _TOLERANCE
        while heap and len(popped) < _STEP_ROWS and -heap[0][0] > bound:
            height, pair = heapq.heappop(heap)
            if level[pair] == -height and pair not in {p for _, p in popped}:
                popped.append((height, pair))
        for entry in popped:
            heapq.heappush(heap, entry)
            if entry[1] != merge:
                rows.setdefault((t, entry[1]), now[entry[1]] - now[merge])
        if len(rows) - before >= _EPOCH_ROWS:
            return
