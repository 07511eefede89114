"""What a solver is given: a smooth function, a feasible set, smooth constraints.

Letters: D domains.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cuvee.mixture.feasible import FeasibleSet
from cuvee.mixture.weights import Array
from cuvee.predict.question import ROOM


@dataclass(frozen=True, eq=False)
class Constraint:
    """value(w) >= 0, with its derivatives."""

    value: Callable[[Array], float]
    slope: Callable[[Array], Array]


@dataclass(frozen=True, eq=False)
class Task:
    """Minimise `value` over `feasible` where every constraint is met."""

    feasible: FeasibleSet
    value: Callable[[Array], float]
    slope: Callable[[Array], Array]
    constraints: Sequence[Constraint] = ()

    def violation(self, w_D: Array) -> float:
        """By how much the worst constraint is missed, 0 within `ROOM`."""
        worst = max((-c.value(w_D) for c in self.constraints), default=0.0)
        return worst if worst > ROOM else 0.0
