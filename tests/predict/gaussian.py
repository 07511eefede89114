"""An exact Gaussian posterior, to hold against what works on joint draws, and a predictor for quick tests of methods.

Letters: N runs or mixtures, D domains, T targets, S draws.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from cuvee.mixture.weights import Array
from cuvee.predict.posterior import Fit, Posterior, jackknife
from cuvee.predict.table import Table

EPS = 1e-4


@dataclass(frozen=True, eq=False)
class GaussianFit:
    """The mean of a process over root shares with known variances, given runs whose blocks have unknown offsets."""

    roots_ND: Array
    precision_NN: Array
    weights_NT: Array
    signal: float
    length: float

    def loss(self, w_ND: Array) -> Array:
        return np.asarray(self.cross(w_ND) @ self.weights_NT, np.float64)

    def gradient(self, w_D: Array) -> Array:
        steps_DD = 1e-6 * np.eye(len(w_D))
        up_DT, down_DT = self.loss(w_D + steps_DD), self.loss(np.maximum(w_D - steps_DD, 0))
        width_D = np.diag(w_D + steps_DD - np.maximum(w_D - steps_DD, 0))
        return np.asarray(((up_DT - down_DT) / width_D[:, None]).T, np.float64)

    def convex(self, a_T: Array) -> bool:
        return False

    def cross(self, w_ND: Array) -> Array:
        return kernel(roots(w_ND), self.roots_ND, self.signal, self.length)

    def covariance(self, w_ND: Array) -> Array:
        own_NN = kernel(roots(w_ND), roots(w_ND), self.signal, self.length)
        cross_NM = self.cross(w_ND)
        return np.asarray(own_NN - cross_NM @ self.precision_NN @ cross_NM.T, np.float64)


@dataclass(frozen=True, eq=False)
class GaussianPosterior(Posterior):
    """Targets are independent and have one covariance."""

    def draws(self, w_ND: Array, count: int, rng: np.random.Generator) -> Array:
        """Joint draws, shape S x N x T."""
        assert isinstance(self.full, GaussianFit)
        mean_NT = self.full.loss(w_ND)
        values_N, vectors_NN = np.linalg.eigh(self.full.covariance(w_ND))
        half_NN = vectors_NN * np.sqrt(np.maximum(values_N, 0.0))
        return np.asarray(mean_NT + half_NN @ rng.normal(size=(count, *mean_NT.shape)), np.float64)


@dataclass(frozen=True)
class Gaussian:
    """The predictor of that posterior.

    Args:
        signal, noise: Standard deviations of the process and of a run.
        length: Of the process, in root shares.
    """

    signal: float = 0.3
    length: float = 0.7
    noise: float = 0.014

    def fit(self, table: Table) -> Posterior:
        whole = jackknife(table, self.fit_once)
        return GaussianPosterior(**{f.name: getattr(whole, f.name) for f in fields(whole)})

    def fit_once(self, table: Table, start: Fit | None) -> GaussianFit:
        roots_ND = roots(table.shares_ND)
        offset_NN = 1e2 * (table.block_N[:, None] == table.block_N)
        whole_NN = kernel(roots_ND, roots_ND, self.signal, self.length) + offset_NN
        precision_NN = np.linalg.inv(whole_NN + self.noise**2 * np.eye(len(roots_ND)))
        level_T = table.loss_NT.mean(0)
        weights_NT = precision_NN @ (table.loss_NT - level_T)
        return GaussianFit(roots_ND, precision_NN, weights_NT, self.signal, self.length)


def roots(w_ND: Array) -> Array:
    return np.asarray(np.sqrt(np.maximum(w_ND, 0.0) + EPS), np.float64)


def kernel(a_MD: Array, b_ND: Array, signal: float, length: float) -> Array:
    square_MN = np.sum((a_MD[:, None, :] - b_ND[None, :, :]) ** 2, axis=2)
    return np.asarray(signal**2 * (np.exp(-0.5 * square_MN / length**2) + a_MD @ b_ND.T), np.float64)
