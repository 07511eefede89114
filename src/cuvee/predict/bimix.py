"""BiMix, loss = c + sum_j F_j w_j^-a_j per target (Ge et al. 2024, BiMix; without steps, as Olmix fits it).

Every domain lowers every target's loss by a power of its own share, and the parts add up: unlike in `power`, no domain stands
in for another. A share of 0 would make an infinite loss, so a small `eps` is added to all. Exponents may go to 0, where a part
becomes a logarithm. Factors and exponents are drawn from distributions that all targets teach (`hierarchy`).

Letters: N runs, D domains, T targets, P = 2 D coefficients: log slope F a (D), log exponent a (D).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cuvee.base.errors import UsageError
from cuvee.mixture.weights import Array
from cuvee.predict.hierarchy import Fitted, Group, Prior, fit_all, own_domain
from cuvee.predict.posterior import Fit, Posterior, jackknife
from cuvee.predict.table import Table


@dataclass(frozen=True, eq=False)
class BiMixFit:
    """loss = level + sum over domains of slope ((w + eps)^-exponent - 1) / exponent."""

    fitted: Fitted
    eps: float

    def loss(self, w_ND: Array) -> Array:
        """Losses in bits/byte, shape N x T."""
        return np.asarray(self.fitted.level_T + _Sum(self.eps).rise(w_ND, self.fitted.x_TP), np.float64)

    def gradient(self, w_D: Array) -> Array:
        """Derivatives, shape T x D."""
        slope_TD, exponent_TD = np.exp(np.split(self.fitted.x_TP, 2, axis=1))
        return np.asarray(-slope_TD * (np.maximum(w_D, 0.0) + self.eps) ** (-exponent_TD - 1), np.float64)

    def convex(self, a_T: Array) -> bool:
        """Always, for weights that are not negative."""
        return bool(np.all(a_T >= 0))


@dataclass(frozen=True)
class BiMix:
    """BiMix with learned priors and an offset per block.

    Args:
        eps: Added to shares: below it a share counts as absent.
    """

    eps: float = 1e-3

    def __post_init__(self) -> None:
        if not self.eps > 0:
            raise UsageError(f"BiMix: got eps {self.eps}", wanted="eps > 0, about 0.001")

    def fit(self, table: Table) -> Posterior:
        """The posterior of the table."""
        return jackknife(table, self.fit_once)

    def fit_once(self, table: Table, start: Fit | None) -> BiMixFit:
        """One fit to all rows; from `start` when given."""
        own_TD = own_domain(table).astype(np.int64)
        groups = (
            Group(-4.0, 1.5, mean_weight=10),
            Group(-1.0, 1.0, mean_weight=3),
            Group(-1.5, 0.3, mean_weight=10, spread_weight=30),
        )
        prior = Prior.of(groups, np.hstack([own_TD, np.full_like(own_TD, 2)]))
        near = start.fitted if isinstance(start, BiMixFit) else None
        return BiMixFit(fit_all(_Sum(self.eps), table, prior, near), self.eps)


@dataclass(frozen=True)
class _Sum:
    """The law, for `hierarchy`."""

    eps: float

    def rise(self, w_ND: Array, x_TP: Array) -> Array:
        """Losses up to an offset, shape N x T."""
        return np.asarray(self._parts(w_ND, x_TP)[0].sum(2).T, np.float64)

    def slopes(self, w_ND: Array, x_TP: Array) -> Array:
        """Derivatives by the coefficients, shape T x N x P."""
        part_TND, by_exponent_TND = self._parts(w_ND, x_TP)
        return np.concatenate([part_TND, by_exponent_TND], axis=2)

    def scaled(self, x_TP: Array, scale_T: Array) -> Array:
        """The coefficients of the rise times `scale_T`."""
        log_slope_TD, log_exponent_TD = np.split(x_TP, 2, axis=1)
        return np.hstack([log_slope_TD + np.log(scale_T)[:, None], log_exponent_TD])

    def _parts(self, w_ND: Array, x_TP: Array) -> tuple[Array, Array]:
        """Each domain's part of the loss and its derivative by the log exponent, shape T x N x D."""
        slope_T1D, exponent_T1D = np.exp(np.stack(np.split(x_TP, 2, axis=1)))[:, :, None]
        logs_ND = np.log(np.maximum(w_ND, 0.0) + self.eps)
        # 30: with steeper exponents no small share could be told from another
        power_TND = np.exp(np.minimum(-exponent_T1D * logs_ND, 30.0))
        part_TND = slope_T1D * np.expm1(np.minimum(-exponent_T1D * logs_ND, 30.0)) / exponent_T1D
        return part_TND, -part_TND - slope_T1D * power_TND * logs_ND
