"""The power law of useful shares, loss = c + k (sum_j a_j w_j)^-g per target, with priors learned from all targets at once.

The law of Shukor et al. 2025 (Scaling Laws for Optimal Data Mixtures) with one exponent on the sum. The domain that has the
target's name teaches it more than the others do; how much more, and how unlike the others are, is learned from all targets
(`hierarchy`), so that a few runs suffice. On RegMix's published runs 16 runs rank unseen mixtures as well as 64 do without
that. The exponent is drawn towards a small one: the law is then nearly -log(sum_j a_j w_j).

Letters: N runs, D domains, T targets, P = D + 2 coefficients: log a (D), log slope, log exponent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cuvee.base.errors import UsageError
from cuvee.mixture.weights import Array
from cuvee.predict.hierarchy import Fitted, Group, Prior, fit_all, own_domain
from cuvee.predict.posterior import Fit, Posterior, jackknife
from cuvee.predict.table import Table

LARGEST_LOG = 30.0


@dataclass(frozen=True, eq=False)
class PowerLawFit:
    """loss = level + slope (useful^-exponent - 1) / exponent, where useful = w @ a."""

    fitted: Fitted

    def loss(self, w_ND: Array) -> Array:
        """Losses in bits/byte, shape N x T."""
        return np.asarray(self.fitted.level_T + Useful().rise(w_ND, self.fitted.x_TP), np.float64)

    def gradient(self, w_D: Array) -> Array:
        """Derivatives, shape T x D."""
        a_TD, slope_T, _, useful_NT, power_NT = _parts(w_D[None], self.fitted.x_TP)
        return np.asarray((-slope_T * power_NT / useful_NT)[0][:, None] * a_TD, np.float64)

    def convex(self, a_T: Array) -> bool:
        """Always, for weights that are not negative."""
        return bool(np.all(a_T >= 0))


@dataclass(frozen=True)
class PowerLaw:
    """The power law with learned priors and an offset per block.

    Args:
        own: Expected log a of the domain that has the target's name; the other domains' is 0.
        spread: Expected standard deviation of log a.
        exponent: Expected exponent.
    """

    own: float = 5.5
    spread: float = 1.5
    exponent: float = 0.14

    def __post_init__(self) -> None:
        if not (self.spread > 0 and self.exponent > 0):
            raise UsageError(
                f"power law: got spread {self.spread} and exponent {self.exponent}",
                wanted="both > 0, about 1.5 and 0.14",
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
        )
        tail_T2 = np.tile([2, 3], (len(table.targets), 1))
        prior = Prior.of(groups, np.hstack([own_domain(table).astype(np.int64), tail_T2]))
        return PowerLawFit(fit_all(Useful(), table, prior, start.fitted if isinstance(start, PowerLawFit) else None))


class Useful:
    """The law, for `hierarchy`."""

    def rise(self, w_ND: Array, x_TP: Array) -> Array:
        """Losses up to an offset, shape N x T."""
        _, slope_T, exponent_T, useful_NT, _ = _parts(w_ND, x_TP)
        return np.asarray(slope_T * np.expm1(_exponents(exponent_T, useful_NT)) / exponent_T, np.float64)

    def slopes(self, w_ND: Array, x_TP: Array) -> Array:
        """Derivatives by the coefficients, shape T x N x P."""
        a_TD, slope_T, _, useful_NT, power_NT = _parts(w_ND, x_TP)
        rise_NT = self.rise(w_ND, x_TP)
        out_TNP = np.empty((len(x_TP), len(w_ND), x_TP.shape[1]))
        out_TNP[:, :, :-2] = (-slope_T * power_NT / useful_NT).T[:, :, None] * w_ND * a_TD[:, None]
        out_TNP[:, :, -2] = rise_NT.T
        out_TNP[:, :, -1] = (-rise_NT - slope_T * power_NT * np.log(useful_NT)).T
        return out_TNP

    def scaled(self, x_TP: Array, scale_T: Array) -> Array:
        """The coefficients of the rise times `scale_T`."""
        x_TP = x_TP.copy()
        x_TP[:, -2] += np.log(scale_T)
        return x_TP


def _parts(w_ND: Array, x_TP: Array) -> tuple[Array, Array, Array, Array, Array]:
    """a (T x D), slope and exponent (T), useful shares and their power (N x T)."""
    a_TD, slope_T, exponent_T = np.exp(x_TP[:, :-2]), np.exp(x_TP[:, -2]), np.exp(x_TP[:, -1])
    useful_NT = np.maximum(w_ND @ a_TD.T, 1e-9)
    return a_TD, slope_T, exponent_T, useful_NT, np.exp(_exponents(exponent_T, useful_NT))


def _exponents(exponent_T: Array, useful_NT: Array) -> Array:
    return np.asarray(np.minimum(-exponent_T * np.log(useful_NT), LARGEST_LOG), np.float64)
