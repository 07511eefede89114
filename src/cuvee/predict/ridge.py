"""Ridge regression on [w, log(w + eps)]: flexible, linear in its coefficients, one penalty per target.

Shares and their logarithms because a log or root of the shares matters more than the class of model; per target because
composing predictions beats predicting the composition (docs/benchmarks.md, published runs of RegMix).

Letters: N runs, D domains, T targets, P = 2 D features.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cuvee.base.errors import UsageError
from cuvee.mixture.weights import Array
from cuvee.predict.posterior import Fit, Posterior, jackknife
from cuvee.predict.table import Table

PENALTIES = np.logspace(-1, 3, 17)


@dataclass(frozen=True, eq=False)
class RidgeFit:
    """loss = level + w @ linear + log(w + eps) @ logarithmic."""

    level_T: Array
    linear_DT: Array
    logarithmic_DT: Array
    eps: float

    def loss(self, w_ND: Array) -> Array:
        """Losses in bits/byte, shape N x T."""
        logs_ND = np.log(np.maximum(w_ND, 0.0) + self.eps)
        return np.asarray(self.level_T + w_ND @ self.linear_DT + logs_ND @ self.logarithmic_DT, np.float64)

    def gradient(self, w_D: Array) -> Array:
        """Derivatives, shape T x D."""
        bend_D = 1.0 / (np.maximum(w_D, 0.0) + self.eps)
        return np.asarray((self.linear_DT + bend_D[:, None] * self.logarithmic_DT).T, np.float64)

    def convex(self, a_T: Array) -> bool:
        """Convex where no composed coefficient of a logarithm is positive."""
        return bool(np.all(self.logarithmic_DT @ a_T <= 0))


@dataclass(frozen=True)
class RidgeLog:
    """Ridge on [w, log(w + eps)] with an offset per block; the penalty by leave-one-run-out error, per target.

    Args:
        eps: Added to shares before the logarithm: below it a share counts as absent.
    """

    eps: float = 1e-3

    def __post_init__(self) -> None:
        if not self.eps > 0:
            raise UsageError(f"ridge: got eps {self.eps}", wanted="eps > 0, about 0.001")

    def fit(self, table: Table) -> Posterior:
        """The posterior of the table."""
        return jackknife(table, self.fit_once)

    def fit_once(self, table: Table, start: Fit | None) -> RidgeFit:
        """One fit to all rows; `start` does not matter."""
        w_ND = table.shares_ND
        x_NP = np.hstack([w_ND, np.log(w_ND + self.eps)])
        level_T, coefficients_PT = ridge(table, x_NP, spread(table, x_NP))
        linear_DT, logarithmic_DT = np.split(coefficients_PT, 2)
        return RidgeFit(level_T, linear_DT, logarithmic_DT, self.eps)


def spread(table: Table, x_NP: Array) -> Array:
    """Root mean square of features within blocks, shape P."""
    return np.asarray(np.sqrt(table.mean(table.centred(x_NP) ** 2)), np.float64)


def ridge(table: Table, x_NP: Array, unit_P: Array) -> tuple[Array, Array]:
    """The mean of the blocks' offsets (T) and the coefficients of features of the runs (P x T).

    Features count in units of `unit_P`, one of 0 or nearly not at all; each target has the penalty with the least
    leave-one-run-out error.
    """
    unit_P = np.where(unit_P < 1e-9, np.inf, unit_P)
    root_N1 = table.root_N[:, None]
    y_NT = root_N1 * table.centred(table.loss_NT)
    shrunk_PT = _shrunk(root_N1 * table.centred(x_NP) / unit_P, y_NT, _block_leverage(table))
    coefficients_PT = shrunk_PT / unit_P[:, None]
    return table.level(table.loss_NT - x_NP @ coefficients_PT), coefficients_PT


def _block_leverage(table: Table) -> Array:
    """The leverage that a block's offset gives each row: its part of the weight of its block. Shape N."""
    total_N = np.array([table.weight_N[table.block_N == b].sum() for b in table.block_N])
    return np.asarray(table.weight_N / total_N, np.float64)


def _shrunk(x_NP: Array, y_NT: Array, leverage_N: Array) -> Array:
    """Coefficients, shape P x T, each target at the penalty with the least leave-one-run-out error; rows come multiplied
    by the roots of their weights."""
    u_NK, s_K, v_KP = np.linalg.svd(x_NP, full_matrices=False)
    projected_KT = u_NK.T @ y_NT
    errors = []
    for penalty in PENALTIES:
        shrink_K = s_K**2 / (s_K**2 + penalty)
        residual_NT = y_NT - u_NK @ (shrink_K[:, None] * projected_KT)
        free_N = np.maximum(1 - leverage_N - u_NK**2 @ shrink_K, 1e-3)
        errors.append(np.mean((residual_NT / free_N[:, None]) ** 2, axis=0))
    penalty_T = PENALTIES[np.argmin(errors, axis=0)]
    inverse_KT = s_K[:, None] / (s_K[:, None] ** 2 + penalty_T)
    return np.asarray(v_KP.T @ (inverse_KT * projected_KT), np.float64)
