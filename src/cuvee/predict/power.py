"""The power law of useful shares, loss = c + k (sum_j a_j h(w_j))^-g with h(w) = w^s, with priors learned from all targets.

The law of Shukor et al. 2025 (Scaling Laws for Optimal Data Mixtures), with one exponent s of the shares per target. That
exponent matters most: the first tokens of a domain teach more than the last. The domain that has the target's name teaches it
more than the others do; how much more, and how unlike the others are, is learned from all targets (`hierarchy`), so that a few
runs suffice. The exponent g is drawn towards a small one: the law is then nearly -log(sum_j a_j h(w_j)).

With s below 1 a domain's first tokens have no bound to their worth; h(w) = (w + 0.0001)^s - 0.0001^s has.

Letters: N runs, D domains, T targets, P = D + 3 coefficients: log a (D), log slope, log g, log odds against s.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cuvee.base.errors import UsageError
from cuvee.mixture.weights import Array
from cuvee.predict.hierarchy import Fitted, Group, Prior, fit_all, own_domain
from cuvee.predict.posterior import Fit, Posterior, jackknife
from cuvee.predict.table import Table

EPS = 1e-4
LARGEST_LOG = 30.0
LEAST_USEFUL = 1e-9


@dataclass(frozen=True, eq=False)
class PowerLawFit:
    """loss = level + slope (useful^-g - 1) / g, where useful = h(w) @ a."""

    fitted: Fitted

    def loss(self, w_ND: Array) -> Array:
        """Losses in bits/byte, shape N x T."""
        return np.asarray(self.fitted.level_T + _LAW.rise(w_ND, self.fitted.x_TP), np.float64)

    def gradient(self, w_D: Array) -> Array:
        """Derivatives, shape T x D."""
        parts = _Parts.of(w_D[None], self.fitted.x_TP)
        share_TD = parts.s_T[:, None] * (np.maximum(w_D, 0.0) + EPS) ** (parts.s_T[:, None] - 1)
        return np.asarray(parts.by_useful_NT[0][:, None] * parts.a_TD * share_TD, np.float64)

    def convex(self, a_T: Array) -> bool:
        """Always, for weights that are not negative: a falling convex function of a concave one."""
        return bool(np.all(a_T >= 0))


@dataclass(frozen=True)
class PowerLaw:
    """The power law with learned priors and an offset per block. The defaults are about what RegMix's published runs teach.

    Args:
        own: Expected log a of the domain that has the target's name; the other domains' is 0.
        spread: Expected standard deviation of log a.
        exponent: Expected g.
    """

    own: float = 5.0
    spread: float = 1.3
    exponent: float = 0.14

    def __post_init__(self) -> None:
        if not (self.spread > 0 and self.exponent > 0):
            raise UsageError(
                f"power law: got spread {self.spread} and exponent {self.exponent}",
                wanted="both > 0, about 1.3 and 0.14",
            )

    def fit(self, table: Table) -> Posterior:
        """The posterior of the table."""
        return jackknife(table, self.fit_once)

    def fit_once(self, table: Table, start: Fit | None) -> PowerLawFit:
        """One fit to all rows; from `start` when given."""
        groups = (
            Group(0.0, self.spread, mean_weight=1e6),
            Group(self.own, 1.0, mean_weight=10),
            Group(0.0, 1.0, mean_weight=3),
            Group(float(np.log(self.exponent)), 0.15, mean_weight=10, spread_weight=30),
            Group(0.0, 1.0, mean_weight=3, spread_weight=10),
        )
        tail_T3 = np.tile([2, 3, 4], (len(table.targets), 1))
        prior = Prior.of(groups, np.hstack([own_domain(table).astype(np.int64), tail_T3]))
        return PowerLawFit(fit_all(_LAW, table, prior, start.fitted if isinstance(start, PowerLawFit) else None))


@dataclass(frozen=True, eq=False)
class _Parts:
    """What the law and its derivatives are made of; h(w) has shape T x N x D."""

    a_TD: Array
    slope_T: Array
    g_T: Array
    s_T: Array
    h_TND: Array
    useful_NT: Array
    rise_NT: Array
    by_useful_NT: Array

    @classmethod
    def of(cls, w_ND: Array, x_TP: Array) -> _Parts:
        a_TD, slope_T, g_T = np.exp(x_TP[:, :-3]), np.exp(x_TP[:, -3]), np.exp(x_TP[:, -2])
        s_T = 1 / (1 + np.exp(x_TP[:, -1]))
        s_T11 = s_T[:, None, None]
        h_TND = (np.maximum(w_ND, 0.0) + EPS) ** s_T11 - EPS**s_T11
        useful_NT = np.maximum((h_TND @ a_TD[:, :, None])[:, :, 0].T, LEAST_USEFUL)
        exponent_NT = np.minimum(-g_T * np.log(useful_NT), LARGEST_LOG)
        rise_NT = slope_T * np.expm1(exponent_NT) / g_T
        return cls(a_TD, slope_T, g_T, s_T, h_TND, useful_NT, rise_NT, -slope_T * np.exp(exponent_NT) / useful_NT)


class _PowerOfShares:
    """The law, for `hierarchy`."""

    def rise(self, w_ND: Array, x_TP: Array) -> Array:
        """Losses up to an offset, shape N x T."""
        return _Parts.of(w_ND, x_TP).rise_NT

    def slopes(self, w_ND: Array, x_TP: Array) -> Array:
        """Derivatives by the coefficients, shape T x N x P."""
        parts = _Parts.of(w_ND, x_TP)
        logs_ND, s_T11 = np.log(np.maximum(w_ND, 0.0) + EPS), parts.s_T[:, None, None]
        bent_TND = (parts.h_TND + EPS**s_T11) * logs_ND - EPS**s_T11 * np.log(EPS)
        bent_TN = (bent_TND @ parts.a_TD[:, :, None])[:, :, 0] * (-parts.s_T * (1 - parts.s_T))[:, None]
        by_useful_TN = parts.by_useful_NT.T
        by_g_NT = -parts.rise_NT + parts.by_useful_NT * parts.useful_NT * np.log(parts.useful_NT)
        by_a_TND = by_useful_TN[:, :, None] * parts.h_TND * parts.a_TD[:, None]
        tail_TN3 = np.stack([parts.rise_NT.T, by_g_NT.T, by_useful_TN * bent_TN], axis=2)
        return np.concatenate([by_a_TND, tail_TN3], axis=2)

    def scaled(self, x_TP: Array, scale_T: Array) -> Array:
        """The coefficients of the rise times `scale_T`."""
        x_TP = x_TP.copy()
        x_TP[:, -3] += np.log(scale_T)
        return x_TP


_LAW = _PowerOfShares()
