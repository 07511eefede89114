"""AutoScale's law, loss = L + k sum_j (n_j + w_j)^-g_j per target (Kang et al. 2024, AutoScale).

The original has N0_j + R w_j tokens where R is what is trained on: n_j = N0_j / R is what the other domains are worth to
domain j, a share that it has from the start. As R is the same in every run of a table, its powers are taken as one factor k.
Coefficients are drawn from distributions that all targets teach (`hierarchy`).

Letters: N runs, D domains, T targets, P = 2 D + 1 coefficients: log n (D), log g (D), log k.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cuvee.mixture.weights import Array
from cuvee.predict.hierarchy import Fitted, Group, Prior, fit_all, own_domain
from cuvee.predict.posterior import Fit, Posterior, jackknife
from cuvee.predict.table import Table


@dataclass(frozen=True, eq=False)
class AutoScaleFit:
    """loss = level + k times the sum over domains of ((n + w)^-g - 1)."""

    fitted: Fitted

    def loss(self, w_ND: Array) -> Array:
        """Losses in bits/byte, shape N x T."""
        return np.asarray(self.fitted.level_T + _LAW.rise(w_ND, self.fitted.x_TP), np.float64)

    def gradient(self, w_D: Array) -> Array:
        """Derivatives, shape T x D."""
        n_TD, g_TD, k_T = _coefficients(self.fitted.x_TP)
        return np.asarray(-k_T[:, None] * g_TD * (n_TD + np.maximum(w_D, 0.0)) ** (-g_TD - 1), np.float64)

    def convex(self, a_T: Array) -> bool:
        """Always, for weights that are not negative."""
        return bool(np.all(a_T >= 0))


@dataclass(frozen=True)
class AutoScale:
    """AutoScale's law with learned priors and an offset per block."""

    def fit(self, table: Table) -> Posterior:
        """The posterior of the table."""
        return jackknife(table, self.fit_once)

    def fit_once(self, table: Table, start: Fit | None) -> AutoScaleFit:
        """One fit to all rows; from `start` when given."""
        own_TD = own_domain(table).astype(np.int64)
        groups = (
            Group(-3.0, 1.0, mean_weight=10, spread_weight=10),
            Group(-4.0, 1.5, mean_weight=10),
            Group(-1.5, 1.0, mean_weight=3),
            Group(0.5, 1.0, mean_weight=3),
        )
        group_TP = np.hstack([np.zeros_like(own_TD), 1 + own_TD, np.full((len(own_TD), 1), 3)])
        near = start.fitted if isinstance(start, AutoScaleFit) else None
        return AutoScaleFit(fit_all(_LAW, table, Prior.of(groups, group_TP), near))


class _SumOfPowers:
    """The law, for `hierarchy`."""

    def rise(self, w_ND: Array, x_TP: Array) -> Array:
        """Losses up to an offset, shape N x T."""
        n_TD, g_TD, k_T = _coefficients(x_TP)
        exponent_TND = -g_TD[:, None] * np.log(n_TD[:, None] + np.maximum(w_ND, 0.0))
        return np.asarray(k_T * np.expm1(np.minimum(exponent_TND, 30.0)).sum(2).T, np.float64)

    def slopes(self, w_ND: Array, x_TP: Array) -> Array:
        """Derivatives by the coefficients, shape T x N x P."""
        n_TD, g_TD, k_T = _coefficients(x_TP)
        sum_TND = n_TD[:, None] + np.maximum(w_ND, 0.0)
        part_TND = k_T[:, None, None] * np.exp(np.minimum(-g_TD[:, None] * np.log(sum_TND), 30.0)) * -g_TD[:, None]
        rise_TN1 = self.rise(w_ND, x_TP).T[:, :, None]
        return np.concatenate([part_TND * n_TD[:, None] / sum_TND, part_TND * np.log(sum_TND), rise_TN1], axis=2)

    def scaled(self, x_TP: Array, scale_T: Array) -> Array:
        """The coefficients of the rise times `scale_T`."""
        return np.hstack([x_TP[:, :-1], x_TP[:, -1:] + np.log(scale_T)[:, None]])


_LAW = _SumOfPowers()


def _coefficients(x_TP: Array) -> tuple[Array, Array, Array]:
    """n and g (T x D) and k (T)."""
    n_TD, g_TD = np.split(x_TP[:, :-1], 2, axis=1)
    return np.exp(n_TD), np.exp(g_TD), np.exp(x_TP[:, -1])
