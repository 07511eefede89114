"""Merges applied to words: how often every pair of tokens occurs before every merge, for all categories at once.

A pair of tokens exists from the step that makes the later of the two, so it is given its number then and only loses
occurrences afterwards. Each position knows the number of the pair that begins there: what a merge takes away needs no
look-up, what it adds is new. So a step is a handful of array operations on the positions it touches.

Letters: W words, N positions (base tokens of all words), C columns of counts, P pairs, T merges, R records.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
F64 = NDArray[np.float64]
_SHIFT = 32


@dataclass(frozen=True, eq=False)
class Counts:
    """Occurrences of the merged pair before each merge, and of all other pairs while they did not change.

    Args:
        merged_TC: Of merge t before it is applied.
        pair_R, begin_R, end_R: Record r holds for pair `pair_R[r]` before the merges `begin_R[r]` to `end_R[r] - 1`,
            its own merge left out.
        count_RC: Occurrences.
        initial_C: Pairs at the beginning, of all words.
        pairs: (left token, right token) of each pair number.
    """

    merged_TC: F64
    pair_R: I32
    begin_R: I32
    end_R: I32
    count_RC: F64
    initial_C: F64
    pairs: tuple[I32, I32]


@dataclass(frozen=True, eq=False)
class Layout:
    """Words as one array of base tokens; what every replay of them begins with.

    Args:
        token_N: Base tokens, from 0.
        word_N: The word of each position.
        tokens: Number of base tokens.
    """

    token_N: I32
    word_N: I32
    next_N: I32
    before_N: I32
    pair_N: I32
    keys_P: I64
    starts: I32
    bounds_P: I64
    tokens: int

    @classmethod
    def of(cls, token_N: I32, word_N: I32, tokens: int) -> Layout:
        """Of base tokens with the word of each; -1 is a symbol that takes part in no merge."""
        count = len(token_N)
        joined = (word_N[1:] == word_N[:-1]) & (token_N[1:] >= 0) & (token_N[:-1] >= 0)
        place_N = np.arange(count, dtype=np.int32)
        next_N, before_N = np.full(count, -1, np.int32), np.full(count, -1, np.int32)
        next_N[:-1][joined] = place_N[1:][joined]
        before_N[1:][joined] = place_N[:-1][joined]
        starts = place_N[next_N >= 0]
        keys = _key(token_N[starts], token_N[next_N[starts]])
        order = np.argsort(keys, kind="stable")
        keys_P, bounds_P = _groups(keys[order])
        pair_N = np.full(count, -1, np.int32)
        pair_N[starts[order]] = np.repeat(np.arange(len(keys_P), dtype=np.int32), np.diff(bounds_P))
        return cls(token_N, word_N, next_N, before_N, pair_N, keys_P, starts[order], bounds_P, tokens)


class Replay:
    """The words between two merges.

    Args:
        layout: The words.
        weight_WC: How often each word occurs, a column a category; other columns may be kept beside them.
        recorded: Leading columns whose counts are recorded.
    """

    def __init__(self, layout: Layout, weight_WC: F64, recorded: int) -> None:
        self._token_N, self._next_N = layout.token_N.copy(), layout.next_N.copy()
        self._before_N, self._pair_N = layout.before_N.copy(), layout.pair_N.copy()
        self._word_N, self._weight_WC, self._recorded = layout.word_N, weight_WC, recorded
        self._tokens, self._made = layout.tokens, {}
        self._size = 0
        columns = weight_WC.shape[1]
        self.count_PC = np.zeros((max(1024, 2 * len(layout.keys_P)), columns))
        self._since_P = np.zeros(len(self.count_PC), np.int32)
        self._left_P, self._right_P = np.zeros_like(self._since_P), np.zeros_like(self._since_P)
        self._places: list[I32] = []
        self._block_P, self._from_P, self._to_P = (np.zeros(len(self.count_PC), np.int64) for _ in range(3))
        self._keys: list[tuple[I64, int]] = []
        self._merged: list[F64] = []
        self._records: list[tuple[I32, I32, I32, F64]] = []
        self._add(layout.keys_P, layout.starts, layout.bounds_P)
        self.initial_C = self.count_PC[: self._size, :recorded].sum(0)

    _made: dict[int, int]
    """Token -> the step that made it; base tokens are not in it."""

    def find(self, left: int, right: int) -> int:
        """The number of that pair; -1 when it does not occur."""
        keys, base = self._keys[max(self._made.get(left, 0), self._made.get(right, 0))]
        key = (left << _SHIFT) | right
        i = int(np.searchsorted(keys, key))
        return base + i if i < len(keys) and keys[i] == key else -1

    def best(self, column: int) -> int:
        """The pair with the largest count in `column`; -1 when nothing is left to merge."""
        counts = self.count_PC[: self._size, column]
        pair = int(counts.argmax()) if self._size else -1
        return pair if pair >= 0 and counts[pair] > 0 else -1

    def tokens_of(self, pair: int) -> tuple[int, int]:
        """The two tokens of a pair."""
        return int(self._left_P[pair]), int(self._right_P[pair])

    def merge(self, pair: int) -> int:
        """Apply the merge of `pair`, everywhere, from left to right in each word; the new token.

        A `pair` of -1 occurs nowhere and only makes the token.
        """
        step, made = len(self._merged), self._tokens + len(self._merged)
        self._made[made] = step + 1
        if pair < 0:
            self._merged.append(np.zeros(self._recorded))
            self._keys.append((np.zeros(0, np.int64), self._size))
            return made
        self._merged.append(self.count_PC[pair, : self._recorded].copy())
        at = self._places[self._block_P[pair]][self._from_P[pair] : self._to_P[pair]]
        at = at[self._pair_N[at] == pair]
        if self._left_P[pair] == self._right_P[pair]:
            at = _every_other(at, self._next_N)
        second = self._next_N[at]
        after, before = self._next_N[second], self._before_N[at]
        self._take(_distinct(np.concatenate([before[before >= 0], at, second])), pair, step)
        self._token_N[at], self._next_N[at] = made, after
        self._pair_N[second] = -1
        follows = after >= 0
        self._before_N[after[follows]] = at[follows]
        before = self._before_N[at]
        starts = _distinct(np.concatenate([before[before >= 0], at[follows]]))
        keys = _key(self._token_N[starts], self._token_N[self._next_N[starts]])
        order = np.argsort(keys, kind="stable")
        self._pair_N[at[~follows]] = -1
        keys_P, bounds_P = _groups(keys[order])
        self._pair_N[starts[order]] = np.repeat(
            np.arange(self._size, self._size + len(keys_P), dtype=np.int32), np.diff(bounds_P)
        )
        self._add(keys_P, starts[order], bounds_P)
        return made

    def _take(self, starts: I32, merged: int, step: int) -> None:
        """Subtract what begins at `starts` from the counts, and record the counts until now."""
        pairs = self._pair_N[starts]
        alive = pairs >= 0
        pairs, starts = pairs[alive], starts[alive]
        order = np.argsort(pairs, kind="stable")
        numbers, bounds = _groups(pairs[order])
        self._record(numbers, np.where(numbers == merged, step, step + 1).astype(np.int32))
        lost = np.add.reduceat(self._weight_WC[self._word_N[starts[order]]], bounds[:-1], axis=0)
        self.count_PC[numbers] -= lost
        self.count_PC[merged] = 0.0  # also those that overlapped in a run
        self._since_P[numbers] = step + 1

    def _record(self, numbers: I32, until: I32) -> None:
        begin = self._since_P[numbers]
        lasted = begin < until
        self._records.append(
            (numbers[lasted], begin[lasted], until[lasted], self.count_PC[numbers[lasted], : self._recorded])
        )

    def _add(self, keys_P: I64, places: I32, bounds: I64) -> None:
        """Give numbers to new pairs that begin at `places`, grouped by `bounds`."""
        size, more = self._size, len(keys_P)
        while size + more > len(self.count_PC):
            self._grow()
        if more:
            # in pieces: the weights of all positions at once would be larger than the words
            for p in range(0, more, 4096):
                q = min(p + 4096, more)
                rows = self._weight_WC[self._word_N[places[bounds[p] : bounds[q]]]]
                self.count_PC[size + p : size + q] = np.add.reduceat(rows, bounds[p:q] - bounds[p], axis=0)
        new = slice(size, size + more)
        self._since_P[new] = len(self._merged)
        self._left_P[new], self._right_P[new] = keys_P >> _SHIFT, keys_P & ((1 << _SHIFT) - 1)
        self._block_P[new], self._from_P[new], self._to_P[new] = len(self._places), bounds[:-1], bounds[1:]
        self._places.append(places)
        self._keys.append((keys_P, size))
        self._size += more

    def _grow(self) -> None:
        for name in ("count_PC", "_since_P", "_left_P", "_right_P", "_block_P", "_from_P", "_to_P"):
            old = getattr(self, name)
            setattr(self, name, np.concatenate([old, np.zeros_like(old)]))

    def counts(self) -> Counts:
        """Of all merges so far."""
        numbers = np.arange(self._size, dtype=np.int32)
        self._record(numbers, np.full(self._size, len(self._merged), np.int32))
        pair, begin, end, count = (np.concatenate(part) for part in zip(*self._records, strict=True))
        self._records.pop()
        found = count.any(1)
        return Counts(
            merged_TC=np.array(self._merged).reshape(len(self._merged), self._recorded),
            pair_R=pair[found],
            begin_R=begin[found],
            end_R=end[found],
            count_RC=count[found],
            initial_C=self.initial_C,
            pairs=(self._left_P[: self._size].copy(), self._right_P[: self._size].copy()),
        )


def _key(left: I32, right: I32) -> I64:
    return (left.astype(np.int64) << _SHIFT) | right


def _distinct(places: I32) -> I32:
    """Sorted, each once; numpy's own `unique` hashes integers, which took half of a replay."""
    ordered = np.sort(places)
    return ordered[np.concatenate([[True], ordered[1:] != ordered[:-1]])] if len(ordered) else ordered


def _groups(ordered: NDArray[Any]) -> tuple[NDArray[Any], I64]:
    """The distinct values of a sorted array and where each begins, with the end last."""
    if not len(ordered):
        return ordered, np.zeros(1, np.int64)
    begins = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    return ordered[begins], np.concatenate([begins, [len(ordered)]])


def _every_other(at: I32, next_N: I32) -> I32:
    """Of positions that overlap in runs (aaa), the first, third and so on of each run."""
    if len(at) < 2:
        return at
    fresh = np.concatenate([[True], next_N[at[:-1]] != at[1:]])
    place = np.arange(len(at))
    chosen: I32 = at[(place - np.maximum.accumulate(np.where(fresh, place, 0))) % 2 == 0]
    return chosen
