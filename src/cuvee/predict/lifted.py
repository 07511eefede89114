"""Fits to tables that runs from before are part of: domains that are gone, targets that some runs lack.

A domain that is gone is a column of the table like any other; mixtures of today have none of it, so they are given that
column of zeros. A target that the runs from before were not scored on is fitted from the runs of today alone: predictors
see complete tables only, one for each set of targets that the same runs have.

Letters: N runs or mixtures, D domains, T targets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from cuvee.mixture.weights import Array
from cuvee.predict.table import Table

if TYPE_CHECKING:
    from cuvee.predict.posterior import Fit, Smooth

Targets = tuple[int, ...]


@dataclass(frozen=True)
class Unknown:
    """Of targets that no run was scored on nothing is known: they do not change."""

    size: int

    def loss(self, w_ND: Array) -> Array:
        """Zeros, shape N x T."""
        return np.zeros((len(w_ND), self.size))

    def gradient(self, w_D: Array) -> Array:
        """Zeros, shape T x D."""
        return np.zeros((self.size, len(w_D)))

    def convex(self, a_T: Array) -> bool:
        """Always."""
        return True


@dataclass(frozen=True, eq=False)
class LiftedFit:
    """Fits of several targets each, asked about mixtures of today or about rows of the table.

    Args:
        parts: The fits.
        targets: Positions of the targets of each.
        columns: Columns of the table of each; mixtures with fewer have none of the last ones.
    """

    parts: tuple[Fit, ...]
    targets: tuple[Targets, ...]
    columns: tuple[int, ...]

    def loss(self, w_ND: Array) -> Array:
        """Losses in bits/byte, shape N x T."""
        loss_NT = np.empty((len(w_ND), sum(map(len, self.targets))))
        for part, targets, columns in zip(self.parts, self.targets, self.columns, strict=True):
            loss_NT[:, targets] = part.loss(widened(w_ND, columns))
        return loss_NT


@dataclass(frozen=True, eq=False)
class SmoothLiftedFit(LiftedFit):
    """The same where all parts have derivatives."""

    def gradient(self, w_D: Array) -> Array:
        """Derivatives by the shares that `w_D` has, shape T x D."""
        slope_TD = np.zeros((sum(map(len, self.targets)), len(w_D)))
        for part, targets, columns in zip(self.parts, self.targets, self.columns, strict=True):
            slope_TD[list(targets)] = widened(cast("Smooth", part).gradient(widened(w_D, columns)), len(w_D))
        return slope_TD

    def convex(self, a_T: Array) -> bool:
        """Where all parts are."""
        return all(
            cast("Smooth", part).convex(a_T[list(targets)])
            for part, targets in zip(self.parts, self.targets, strict=True)
            if a_T[list(targets)].any()
        )


def widened(values: Array, columns: int) -> Array:
    """`values` with so many columns: the first of them, and zeros where there are fewer."""
    out = np.zeros((*values.shape[:-1], columns))
    out[..., : values.shape[-1]] = values[..., :columns]
    return out


def completed(table: Table, fit: Callable[[Table, Fit | None], Fit]) -> Callable[[Table, Fit | None], Fit]:
    """`fit`, made fit for `table` and tables of some of its rows; itself where there is nothing to complete."""
    targets = together(table)
    if not table.gone and len(targets) == 1 and np.isfinite(table.loss_NT).all():
        return fit
    # where runs from before say nothing of a target, nor do the domains that are gone
    new = [bool(table.known(some).today_N.all()) for some in targets]

    def whole(rows: Table, start: Fit | None) -> Fit:
        parts: list[Fit] = []
        columns = []
        for n, some in enumerate(targets):
            known = rows.known(some).today if new[n] else rows.known(some)
            near = start.parts[n] if isinstance(start, LiftedFit) else None
            # the only block that a target was scored in cannot be left out: its fit stays
            parts.append(fit(known, near) if known.ids else near or Unknown(len(some)))
            columns.append(len(known.domains))
        smooth = all(hasattr(part, "gradient") for part in parts)
        return (SmoothLiftedFit if smooth else LiftedFit)(tuple(parts), targets, tuple(columns))

    return whole


def together(table: Table) -> tuple[Targets, ...]:
    """Targets in sets that the same runs were scored on."""
    found: dict[bytes, list[int]] = {}
    for t, known_N in enumerate(np.isfinite(table.loss_NT).T):
        found.setdefault(known_N.tobytes(), []).append(t)
    return tuple(tuple(some) for some in found.values())
