"""A law plus what it misses: a Gaussian process on the law's residuals.

A law extrapolates well and is wrong everywhere by a little; where runs are (natural, the centre, the mixtures tasted near
the optimum) their residuals say by how much. In the worlds of `testing` this raises the coverage of intervals where the
law does not hold. The process is over root shares (Hellinger distance), with an offset per block; its length and its
signal maximise the marginal likelihood of all targets together over a small grid: what a law misses, it misses coherently.

Letters: N runs or mixtures, M new mixtures, D domains, T targets.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product

import numpy as np
from scipy.linalg import solve_triangular

from cuvee.mixture.weights import Array
from cuvee.predict.loglinear import LogLinear
from cuvee.predict.posterior import Fit, Posterior, jackknife, smooth
from cuvee.predict.table import Table

LENGTHS = (0.15, 0.3, 0.6, 1.2)
SIGNALS = (1.0, 3.0, 10.0, 30.0, 100.0)
"""Variance of the process in units of the noise of one run; never 0, as some misfit is certain."""
OFFSET = 1e3
"""Variance of a block's offset in the same units: as good as unknown."""
EPS = 1e-3
"""Added to shares under the root, which has no derivative at zero."""


@dataclass(frozen=True, eq=False)
class CorrectedFit:
    """loss = law(w) + kernel(w, runs) @ weights; the hyperparameters that were learned."""

    law: Fit
    roots_ND: Array
    weights_NT: Array
    length: float
    signal: float

    def loss(self, w_ND: Array) -> Array:
        """Losses in bits/byte, shape M x T."""
        square_MN = _squares(_roots(w_ND), self.roots_ND)
        return np.asarray(self.law.loss(w_ND) + _kernel(square_MN, self.length) @ self.weights_NT, np.float64)

    def gradient(self, w_D: Array) -> Array:
        """Derivatives, shape T x D."""
        root_D = _roots(w_D)
        away_ND = self.roots_ND - root_D
        kernel_N = _kernel(np.sum(away_ND**2, axis=1), self.length)
        slope_TD = (kernel_N[:, None] * self.weights_NT / self.length**2).T @ away_ND
        return np.asarray(smooth(self.law).gradient(w_D) + slope_TD * 0.5 / root_D, np.float64)

    def convex(self, a_T: Array) -> bool:
        """Only where nothing was corrected."""
        return smooth(self.law).convex(a_T) and not self.weights_NT.any()


@dataclass(frozen=True)
class Corrected:
    """The log-linear law with a Gaussian process on its residuals.

    Args:
        law: The law.
    """

    law: LogLinear = field(default_factory=LogLinear)

    def fit(self, table: Table) -> Posterior:
        """The posterior of the table."""
        return jackknife(table, self.fit_once)

    def fit_once(self, table: Table, start: Fit | None) -> Fit:
        """One fit to all rows."""
        law = self.law.fit_once(table, start.law if isinstance(start, CorrectedFit) else None)
        roots_ND = _roots(table.shares_ND)
        residual_NT = table.loss_NT - law.loss(table.shares_ND)
        known_NN = OFFSET * (table.block_N[:, None] == table.block_N) + np.diag(1.0 / table.weight_N)
        square_NN = _squares(roots_ND, roots_ND)
        # a replicate keeps what the fit to all runs learned
        known = ((start.length, start.signal),) if isinstance(start, CorrectedFit) else product(LENGTHS, SIGNALS)
        found = []
        for length, signal in known:
            evidence, weights_NT = _process(signal * _kernel(square_NN, length), known_NN, residual_NT)
            found.append((evidence, length, signal, signal * weights_NT))
        _, length, signal, weights_NT = max(found, key=lambda each: each[0])
        return CorrectedFit(law, roots_ND, weights_NT, length, signal)


def _process(signal_NN: Array, known_NN: Array, residual_NT: Array) -> tuple[float, Array]:
    """Log marginal likelihood with the noise's variance profiled out, summed over targets, and the weights, N x T.

    `known_NN` is the covariance of offsets and noise in units of the noise of one run of weight 1.
    """
    count = len(residual_NT)
    factor_NN = np.linalg.cholesky(signal_NN + known_NN)
    half_NT = solve_triangular(factor_NN, residual_NT, lower=True)
    square_T = np.maximum(np.sum(half_NT**2, axis=0), 1e-30)
    evidence = -0.5 * count * np.sum(np.log(square_T)) - len(square_T) * np.sum(np.log(np.diag(factor_NN)))
    return float(evidence), solve_triangular(factor_NN, half_NT, lower=True, trans=1)


def _kernel(square: Array, length: float) -> Array:
    return np.asarray(np.exp(-0.5 * square / length**2), np.float64)


def _roots(w_ND: Array) -> Array:
    return np.asarray(np.sqrt(np.maximum(w_ND, 0.0) + EPS), np.float64)


def _squares(a_MD: Array, b_ND: Array) -> Array:
    """Squared distances, shape M x N."""
    return np.asarray(np.sum((a_MD[:, None, :] - b_ND[None, :, :]) ** 2, axis=2), np.float64)
