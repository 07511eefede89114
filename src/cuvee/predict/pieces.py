"""Processes of several targets each as one belief: where targets were scored by different runs (`cuvee.predict.lifted`).

Letters: N runs or mixtures, D domains, T targets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np

from cuvee.mixture.weights import Array
from cuvee.predict.evidence import InformedFit
from cuvee.predict.lifted import LiftedFit, Targets, widened
from cuvee.predict.posterior import Fit
from cuvee.predict.process import ProcessFit
from cuvee.predict.table import Table


@dataclass(frozen=True, eq=False)
class Pieces:
    """The processes among a fit's parts. Nothing is known of the other targets, and nothing is uncertain.

    Args:
        parts: Each with the positions of its targets and the columns of its table.
        size: T.
    """

    parts: tuple[tuple[ProcessFit, Targets, int], ...]
    size: int

    @classmethod
    def of(cls, fit: Fit) -> Self | None:
        """Of a process, or of a fit with processes for parts; None of other fits."""
        if (process := _process(fit)) is not None:
            size = len(process.surfaces)
            return cls(((process, tuple(range(size)), process.surfaces[0].z_ND.shape[1]),), size)
        if not isinstance(fit, LiftedFit):
            return None
        triples = zip(map(_process, fit.parts), fit.targets, fit.columns, strict=True)
        found = tuple((process, targets, columns) for process, targets, columns in triples if process is not None)
        return cls(found, sum(map(len, fit.targets))) if found else None

    @property
    def noise_T(self) -> Array:
        """Standard deviations of a run of today around the surfaces, bits/byte."""
        return self._of_each(lambda fit, _: np.array([surface.noise for surface in fit.surfaces]), ())

    def covariance(self, w_ND: Array) -> Array:
        """Posterior covariances of the surfaces, (bits/byte) squared. T x N x N."""
        count = len(w_ND)
        return self._of_each(lambda fit, columns: fit.covariance(widened(w_ND, columns)), (count, count))

    def spread(self, w_D: Array, base_D: Array) -> Array:
        """Variances of the losses at `w_D` minus those at `base_D`, (bits/byte) squared, shape T."""
        return self._of_each(lambda fit, columns: fit.spread(widened(w_D, columns), widened(base_D, columns)), ())

    def spread_slope(self, w_D: Array, base_D: Array) -> Array:
        """Derivatives of `spread` by the shares that `w_D` has, shape T x D."""

        def slope_TD(fit: ProcessFit, columns: int) -> Array:
            return widened(fit.spread_slope(widened(w_D, columns), widened(base_D, columns)), len(w_D))

        return self._of_each(slope_TD, (len(w_D),))

    def left_out_errors(self, table: Table) -> Array:
        """Standard deviations predicted for each run's loss given the other runs, shape N x T; NaN where there is none."""
        error_NT = np.full(table.loss_NT.shape, np.nan)
        for fit, targets, _ in self.parts:
            known_N = np.isfinite(table.loss_NT[:, list(targets)]).all(1)
            error_NT[np.ix_(known_N, np.array(targets))] = fit.left_out()[1]
        return error_NT

    def _of_each(self, value: Callable[[ProcessFit, int], Array], shape: tuple[int, ...]) -> Array:
        """What `value` says of the targets of each part, put together; zeros for targets without. T x shape."""
        out = np.zeros((self.size, *shape))
        for fit, targets, columns in self.parts:
            out[list(targets)] = value(fit, columns)
        return out


def _process(fit: Fit) -> ProcessFit | None:
    """The process that a fit is, or that fits what evidence leaves; None of other fits."""
    own = fit.rest if isinstance(fit, InformedFit) else fit
    return own if isinstance(own, ProcessFit) else None
