"""The log-linear mixing law, loss = c + exp(t . w) per target (Ye et al. 2024, Data Mixing Laws; Olmix).

Convex in the shares, so the optimum under linear constraints is global. Fitted by Levenberg-Marquardt with the analytic
Jacobian; the offsets c, one per block, are eliminated (variable projection), the rest has a few fixed starts.

Letters: N runs, D domains, T targets.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares

from cuvee.base.errors import UsageError
from cuvee.mixture.weights import Array
from cuvee.predict.posterior import Fit, Posterior, jackknife
from cuvee.predict.table import Table

STARTS = (0.0, 1.5, -1.5)
LARGEST_EXPONENT = 30.0


@dataclass(frozen=True, eq=False)
class LogLinearFit:
    """loss = level + exp(w @ slopes)."""

    level_T: Array
    slopes_DT: Array

    def loss(self, w_ND: Array) -> Array:
        """Losses in bits/byte, shape N x T."""
        return np.asarray(self.level_T + np.exp(np.minimum(w_ND @ self.slopes_DT, LARGEST_EXPONENT)), np.float64)

    def gradient(self, w_D: Array) -> Array:
        """Derivatives, shape T x D."""
        rise_T = np.exp(np.minimum(w_D @ self.slopes_DT, LARGEST_EXPONENT))
        return np.asarray((rise_T * self.slopes_DT).T, np.float64)

    def convex(self, a_T: Array) -> bool:
        """Always, for weights that are not negative."""
        return bool(np.all(a_T >= 0))


@dataclass(frozen=True)
class LogLinear:
    """The log-linear law with an offset per block.

    Args:
        penalty: Ridge on the slopes' spread, in units of the target's squared spread over the runs.
    """

    penalty: float = 0.001

    def __post_init__(self) -> None:
        if not self.penalty > 0:
            raise UsageError(f"log-linear law: got penalty {self.penalty}", wanted="penalty > 0, about 0.001")

    def fit(self, table: Table) -> Posterior:
        """The posterior of the table."""
        return jackknife(table, self.fit_once)

    def fit_once(self, table: Table, start: Fit | None) -> LogLinearFit:
        """One fit to all rows; from `start` alone when given."""
        y_NT = table.centred(table.loss_NT)
        scale_T = np.maximum(np.sqrt(table.mean(y_NT**2)), 1e-9)
        slopes_DT = np.empty((table.shares_ND.shape[1], y_NT.shape[1]))
        root_N1 = table.root_N[:, None]
        centre_NN, y_NT = root_N1 * table.centred(np.eye(len(y_NT))), root_N1 * y_NT
        for t, scale in enumerate(scale_T):
            near = start.slopes_DT[:, t] - np.log(scale) if isinstance(start, LogLinearFit) else None
            slopes_DT[:, t] = self._one(table.shares_ND, centre_NN, y_NT[:, t] / scale, near) + np.log(scale)
        rest_NT = table.loss_NT - np.exp(np.minimum(table.shares_ND @ slopes_DT, LARGEST_EXPONENT))
        return LogLinearFit(table.level(rest_NT), slopes_DT)

    def _one(self, w_ND: Array, centre_NN: Array, y_N: Array, near_D: Array | None) -> Array:
        """Slopes of one target whose centred, scaled losses are `y_N`; `centre_NN` takes out block means
        and multiplies rows by the roots of their weights. Shape D."""
        root = np.sqrt(self.penalty)
        size = w_ND.shape[1]
        spread_DD = root * (np.eye(size) - 1.0 / size)
        level_D = np.full(size, 0.1 * root / size)

        def residual(t_D: Array) -> Array:
            rise_N = np.exp(np.minimum(w_ND @ t_D, LARGEST_EXPONENT))
            return np.concatenate([centre_NN @ rise_N - y_N, spread_DD @ t_D, [level_D @ t_D]])

        def jacobian(t_D: Array) -> Array:
            rise_N = np.exp(np.minimum(w_ND @ t_D, LARGEST_EXPONENT))
            return np.vstack([centre_NN @ (rise_N[:, None] * w_ND), spread_DD, level_D])

        starts = [near_D] if near_D is not None else self._starts(centre_NN @ w_ND, y_N)
        fits = [
            least_squares(residual, t_D, jac=jacobian, method="lm", ftol=1e-6, xtol=1e-6, max_nfev=100)
            for t_D in starts
        ]
        return np.asarray(min(fits, key=lambda fit: float(fit.cost)).x, np.float64)

    def _starts(self, w_ND: Array, y_N: Array) -> list[Array]:
        """The linear fit read as exp(k) (1 + t . w) at a few levels k."""
        size = w_ND.shape[1]
        linear_D = np.linalg.solve(w_ND.T @ w_ND + 0.1 * np.eye(size), w_ND.T @ y_N)
        return [level + np.clip(linear_D * np.exp(-level), -3.0, 3.0) for level in STARTS]
