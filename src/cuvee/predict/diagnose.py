"""Signs that an optimum says more of the prediction than of the mixtures: a corner, far from every run, or no difference at all.

Letters: N runs, D domains.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from cuvee.mixture.feasible import FeasibleSet
from cuvee.mixture.weights import Array
from cuvee.predict.lifted import widened
from cuvee.predict.optimise import Optimum, minimise
from cuvee.predict.question import Question
from cuvee.predict.table import Table

CORNER = 0.95
SAME = 1e-9
"""Shares nearer than this are the same."""
FLAT = 1e-4
"""Bits/byte between the best and the worst prediction of the runs under which all mixtures are alike."""
BEYOND = 0.005
"""A share this far beyond that of every run, and by a tenth of it, is beyond them."""


@dataclass(frozen=True)
class Signs:
    """What is odd about an optimum.

    Args:
        corner: The domain that has nearly everything; empty where none has.
        distance: From the nearest run, between roots of shares (sqrt(2) apart are mixtures with nothing in common).
        spacing: The largest such distance of a run from its nearest other mixture.
        below, above: Domain -> the least (largest) share that any run had of it, where the optimum is beyond.
        flat: Whether the objective is predicted alike for all runs.
        constant: Targets of the objective that every run scored the same.
    """

    corner: str
    distance: float
    spacing: float
    below: dict[str, float]
    above: dict[str, float]
    flat: bool
    constant: tuple[str, ...]

    @property
    def far(self) -> bool:
        """Whether the optimum is further from the runs than any run from the others."""
        return self.distance > self.spacing


def diagnose(question: Question, w_D: Array, table: Table) -> Signs:
    """The signs at `w_D`, against the runs that were fitted."""
    w_D = widened(w_D, len(table.domains))
    _, first = np.unique(table.mixture_N, return_index=True)
    root_MD = np.sqrt(table.shares_ND[first])
    apart_MM = np.linalg.norm(root_MD[:, None] - root_MD, axis=2) + np.diag(np.full(len(first), np.inf))
    spacing = float(apart_MM.min(1).max()) if len(first) > 1 else 0.0
    least_D, most_D = table.shares_ND.min(0), table.shares_ND.max(0)
    below_D = w_D < least_D - np.maximum(BEYOND, 0.1 * least_D)
    above_D = w_D > most_D + np.maximum(BEYOND, 0.1 * most_D)
    value_N = question.posterior.mean(table.shares_ND) @ question.a_T
    constant_T = (np.ptp(table.loss_NT, axis=0) < 1e-9) & (question.a_T > 0)
    largest = int(np.argmax(w_D))
    return Signs(
        corner=table.domains[largest] if w_D[largest] > CORNER else "",
        distance=float(np.linalg.norm(root_MD - np.sqrt(np.maximum(w_D, 0.0)), axis=1).min()),
        spacing=spacing,
        below={d: float(x) for d, x, there in zip(table.domains, least_D, below_D, strict=True) if there},
        above={d: float(x) for d, x, there in zip(table.domains, most_D, above_D, strict=True) if there},
        flat=bool(np.ptp(value_N) < FLAT),
        constant=tuple(t for t, same in zip(table.targets, constant_T, strict=True) if same),
    )


def unconstrained(question: Question, w_D: Array, table: Table) -> Optimum | None:
    """The optimum with no caps, floors, rows and guards, from `w_D` and the base; None where there are none.

    A domain whose share was the same in every run stays there, as no run says what another would do.
    """
    feasible = question.feasible
    size = len(w_D)
    shares_ND = table.shares_ND[:, :size]  # domains that are gone come after those of today
    fixed_D = np.ptp(shares_ND, axis=0) <= SAME
    fixed_D &= not fixed_D.all()
    low_D, high_D = (np.where(fixed_D, shares_ND[0], bound) for bound in (0.0, 1.0))
    moved_D = np.maximum(np.abs(feasible.low_D - low_D), np.abs(feasible.high_D - high_D))
    if not (feasible.groups or feasible.rows or question.guards or np.any(moved_D > SAME)):
        return None
    free = FeasibleSet(feasible.domains, tuple(low_D.tolist()), tuple(high_D.tolist()))
    return minimise(replace(question, feasible=free, guards=()), [w_D, question.base_D, np.full(size, 1.0 / size)])
