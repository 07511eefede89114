"""The mixture whose pair counts agree best with the order of the merges: a linear program, rows added as they are needed.

Before merge t the merged pair must be at least as frequent in the mixture as every other pair p (Hayase et al. 2024):

    sum_i a_i x[i, m_t, t] + v_t + u_p >= sum_i a_i x[i, p, t]        minimise sum v + sum u, a on the simplex

with x the counts as shares of the category's initial pairs, v_t forgiving a merge and u_p a pair at all times. Counts of a pair
are constant over intervals, so the rows that an answer violates are found from the smallest left side in each interval.

Letters: T merges, R records (a pair over an interval), n categories, A rows of the program, L levels.
"""

from __future__ import annotations

from dataclasses import dataclass

import highspy
import numpy as np
from numpy.typing import NDArray

from cuvee.audit.replay import F64, Counts

_ROWS = 1000
"""Most rows added at a time, the most violated first."""
_ROUNDS = 200
_STILL = 2e-4
"""The answer stands when shares move less than this in two solutions in a row."""
_GROWTH = 0.01
"""And the objective, which only grows as rows are added, by less than this part."""
_SCALE = 1e6
"""Shares of pairs are written in millionths: the solver's tolerances are absolute."""
_VISIBLE = 1e-2
"""Violations below this, in millionths of the pairs, are no rows."""


@dataclass(frozen=True, eq=False)
class Fit:
    """A solution.

    Args:
        share_n: Of initial pairs, per category.
        violation: sum v + sum u, in millionths of all pairs.
        merge_T: v, by merge.
        pair: Pair number -> u, where it is positive.
    """

    share_n: F64
    violation: float
    merge_T: F64
    pair: dict[int, float]


class Program:
    """The first `merges` merges of some counts, over some of the categories.

    Merges that occur in no sample say nothing and are left out.
    """

    def __init__(self, counts: Counts, merges: int) -> None:
        scale_C = _SCALE / np.maximum(counts.initial_C, 1)
        self.merged_Tn = counts.merged_TC[:merges] * scale_C
        self.used_T = self.merged_Tn.any(1)
        begins = counts.begin_R < merges
        self._pair_R, self._begin_R = counts.pair_R[begins], counts.begin_R[begins]
        self._end_R = np.minimum(counts.end_R[begins], merges)
        self._count_Rn = counts.count_RC[begins] * scale_C
        self._level_R = np.frexp((self._end_R - self._begin_R).astype(np.float64))[1] - 1

    def solve(self, start_n: F64 | None = None, leave_out: int | None = None) -> Fit:
        """The best shares; `leave_out` is a category that gets none."""
        n, merges = self.merged_Tn.shape[1], len(self.merged_Tn)
        share_n = np.full(n, 1 / n) if start_n is None else start_n
        merge_T, pair_P = np.zeros(merges), np.zeros(int(self._pair_R.max(initial=0)) + 1)
        solver, violation, reached, still, rounds = _Solver(n, leave_out), 0.0, 0.0, 0, 0
        while still < 2 and rounds < _ROUNDS:
            records, steps = self._violated(share_n, merge_T, pair_P)
            if not len(records):
                break
            # slacks of merges are named 0 to T - 1, those of pairs from T on
            slacks = np.stack([steps, merges + self._pair_R[records]], axis=1)
            solver.add(self._count_Rn[records] - self.merged_Tn[steps], slacks)
            before_n = share_n
            share_n, values, violation = solver.solve()
            for name, value in values.items():
                if name < merges:
                    merge_T[name] = value
                else:
                    pair_P[name - merges] = value
            calm = np.abs(share_n - before_n).max() < _STILL and violation - reached <= _GROWTH * violation
            still, reached = still + 1 if calm else 0, violation
            rounds += 1
        found = np.flatnonzero(pair_P > _VISIBLE)
        return Fit(share_n, violation, merge_T, {int(p): float(pair_P[p]) for p in found})

    def _violated(self, share_n: F64, merge_T: F64, pairs: F64) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Records and the step at which each is violated most."""
        left_T = self.merged_Tn @ share_n + merge_T
        left_T[~self.used_T] = np.inf
        least_R, step_R = self._least(left_T)
        excess_R = self._count_Rn @ share_n - pairs[self._pair_R] - least_R
        found = np.flatnonzero(excess_R > _VISIBLE)
        if len(found) > _ROWS:
            found = found[np.argpartition(-excess_R[found], _ROWS)[:_ROWS]]
        return found, step_R[found]

    def _least(self, left_T: F64) -> tuple[F64, NDArray[np.int64]]:
        """The least of `left_T` over every record's interval, and where, by a sparse table."""
        tables = [np.arange(len(left_T))]
        while (1 << len(tables)) <= len(left_T):
            half, last = 1 << (len(tables) - 1), tables[-1]
            a, b = last[:-half], last[half:]
            tables.append(np.where(left_T[b] < left_T[a], b, a))
        step_R = np.empty(len(self._begin_R), np.int64)
        for level, table in enumerate(tables):
            at = np.flatnonzero(self._level_R == level)
            a, b = table[self._begin_R[at]], table[self._end_R[at] - (1 << level)]
            step_R[at] = np.where(left_T[b] < left_T[a], b, a)
        return left_T[step_R], step_R


class _Solver:
    """The program as HiGHS holds it: rows and slacks are added to the last solution's basis, never built again."""

    def __init__(self, n: int, leave_out: int | None) -> None:
        self._n, self._highs = n, highspy.Highs()
        self._highs.setOptionValue("output_flag", False)
        self._highs.setOptionValue("threads", 1)
        self._columns: dict[int, int] = {}
        high = np.array([0.0 if i == leave_out else 1.0 for i in range(n)])
        none = np.zeros(0, np.int32)
        self._highs.addCols(n, np.zeros(n), np.zeros(n), high, 0, none, none, np.zeros(0))
        self._highs.addRow(1.0, 1.0, n, np.arange(n, dtype=np.int32), np.ones(n))

    def add(self, difference_An: F64, slacks_A2: NDArray[np.int64]) -> None:
        """Rows `slack + slack - difference . shares >= 0`, by the names of their slacks."""
        fresh = [name for name in np.unique(slacks_A2).tolist() if name not in self._columns]
        for name in fresh:
            self._columns[name] = self._n + len(self._columns)
        more, none = len(fresh), np.zeros(0, np.int32)
        self._highs.addCols(more, np.ones(more), np.zeros(more), np.full(more, np.inf), 0, none, none, np.zeros(0))
        rows = len(difference_An)
        index_A = np.empty((rows, self._n + 2), np.int32)
        index_A[:, : self._n] = np.arange(self._n)
        index_A[:, self._n :] = [[self._columns[a], self._columns[b]] for a, b in slacks_A2.tolist()]
        value_A = np.concatenate([-difference_An, np.ones((rows, 2))], axis=1)
        starts = np.arange(rows, dtype=np.int32) * (self._n + 2)
        self._highs.addRows(
            rows, np.zeros(rows), np.full(rows, np.inf), index_A.size, starts, index_A.ravel(), value_A.ravel()
        )

    def solve(self) -> tuple[F64, dict[int, float], float]:
        """Shares, slacks by name, and their sum."""
        self._highs.run()
        status = self._highs.getModelStatus()
        assert status == highspy.HighsModelStatus.kOptimal, self._highs.modelStatusToString(status)
        values = np.array(self._highs.getSolution().col_value)
        share_n = np.maximum(values[: self._n], 0.0)
        slacks = {name: float(values[column]) for name, column in self._columns.items()}
        return share_n / share_n.sum(), slacks, float(self._highs.getInfo().objective_function_value)
