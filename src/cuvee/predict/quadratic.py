"""Ridge regression on the shares and all their products by pairs, as MoDoMoDo's full quadratic (Liang et al. 2025).

It knows that two domains may help or hurt each other, at the price of D (D + 3) / 2 coefficients per target, so it wants many
runs. Penalties by leave-one-run-out error, per target, as in `ridge`.

Letters: N runs, D domains, T targets, P = D (D + 3) / 2 features.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cuvee.mixture.weights import Array
from cuvee.predict.posterior import Fit, Posterior, jackknife
from cuvee.predict.ridge import ridge, spread
from cuvee.predict.table import Table


@dataclass(frozen=True, eq=False)
class QuadraticFit:
    """loss = level + w @ linear + w @ square @ w, the squares symmetric."""

    level_T: Array
    linear_DT: Array
    square_TDD: Array

    def loss(self, w_ND: Array) -> Array:
        """Losses in bits/byte, shape N x T."""
        square_NT = np.sum((w_ND @ self.square_TDD) * w_ND, axis=2).T
        return np.asarray(self.level_T + w_ND @ self.linear_DT + square_NT, np.float64)

    def gradient(self, w_D: Array) -> Array:
        """Derivatives, shape T x D."""
        return np.asarray(self.linear_DT.T + 2 * self.square_TDD @ w_D, np.float64)

    def convex(self, a_T: Array) -> bool:
        """Whether the composed square has no negative curvature along shares that sum to 1."""
        square_DD = np.einsum("t,tij->ij", a_T, self.square_TDD)
        along_DD = np.eye(len(square_DD)) - 1.0 / len(square_DD)
        return bool(np.linalg.eigvalsh(along_DD @ square_DD @ along_DD).min() >= -1e-12)


@dataclass(frozen=True)
class Quadratic:
    """Ridge on shares and their products with an offset per block."""

    def fit(self, table: Table) -> Posterior:
        """The posterior of the table."""
        return jackknife(table, self.fit_once)

    def fit_once(self, table: Table, start: Fit | None) -> QuadraticFit:
        """One fit to all rows; `start` does not matter."""
        w_ND = table.shares_ND
        size = w_ND.shape[1]
        i, j = np.triu_indices(size)
        x_NP = np.hstack([w_ND, w_ND[:, i] * w_ND[:, j]])
        # one unit for all: in units of its own spread a product that is hardly ever more than 0 would count as any other
        unit = float(np.sqrt(np.mean(spread(table, x_NP) ** 2)))
        level_T, coefficients_PT = ridge(table, x_NP, np.full(x_NP.shape[1], unit))
        square_TDD = np.zeros((len(level_T), size, size))
        square_TDD[:, i, j] = coefficients_PT[size:].T
        return QuadraticFit(level_T, coefficients_PT[:size], 0.5 * (square_TDD + square_TDD.transpose(0, 2, 1)))
