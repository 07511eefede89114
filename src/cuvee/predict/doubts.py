"""What runs leave open: the surface where no run is near, and the model.

Letters: N mixtures, D domains, T targets, K members, S draws.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cuvee.mixture.weights import Array
from cuvee.predict.pieces import Pieces
from cuvee.predict.posterior import Fit, smooth

JITTER = 1e-9


@dataclass(frozen=True, eq=False)
class Unseen:
    """A process's posterior.

    Args:
        belief: The process, or those of the parts.
        scale_T: What its standard deviations are multiplied by.
        root_TT: A with A' A the correlation between targets.
    """

    belief: Pieces
    scale_T: Array
    root_TT: Array

    def factor(self, w_D: Array, base_D: Array) -> Array:
        """See `Doubt`."""
        return np.asarray(self.root_TT * (self.scale_T * np.sqrt(self.belief.spread(w_D, base_D))), np.float64)

    def factor_slope(self, w_D: Array, base_D: Array) -> Array:
        """See `Doubt`."""
        error_T = np.maximum(np.sqrt(self.belief.spread(w_D, base_D)), 1e-9)
        slope_TD = (self.scale_T / (2 * error_T))[:, None] * self.belief.spread_slope(w_D, base_D)
        return np.asarray(self.root_TT[:, :, None] * slope_TD, np.float64)

    def draws(self, w_ND: Array, count: int, rng: np.random.Generator) -> Array:
        """See `Doubt`."""
        moved_SNT = rng.normal(size=(count, len(w_ND), len(self.scale_T))) @ self.root_TT
        for t, covariance_NN in enumerate(self.belief.covariance(w_ND)):
            moved_SNT[:, :, t] = self.scale_T[t] * moved_SNT[:, :, t] @ _root(covariance_NN).T
        return np.asarray(moved_SNT, np.float64)


def _root(covariance_NN: Array) -> Array:
    """A root; by eigenvalues where mixtures lie so close together that rounding makes some of them negative."""
    jitter = JITTER * max(float(np.trace(covariance_NN)) / len(covariance_NN), 1e-12)
    try:
        return np.asarray(np.linalg.cholesky(covariance_NN + jitter * np.eye(len(covariance_NN))), np.float64)
    except np.linalg.LinAlgError:
        value_N, vector_NN = np.linalg.eigh(covariance_NN)
        return np.asarray(vector_NN * np.sqrt(np.maximum(value_N, 0.0)), np.float64)


@dataclass(frozen=True, eq=False)
class Rivals:
    """Models of the same runs that disagree, by their weights in the blend that was taken.

    The spread between models around the blend (Buckland, Burnham & Augustin 1997, Model selection: an integral part of inference).

    Args:
        fits: The members.
        weights_KT: Their shares of each target's blend, columns summing to 1.
        scale_T: What their distances are multiplied by.
    """

    fits: tuple[Fit, ...]
    weights_KT: Array
    scale_T: Array

    def factor(self, w_D: Array, base_D: Array) -> Array:
        """See `Doubt`."""
        loss_K2T = np.array([fit.loss(np.stack([w_D, base_D])) for fit in self.fits])
        return self._parted(loss_K2T[:, 0] - loss_K2T[:, 1])

    def factor_slope(self, w_D: Array, base_D: Array) -> Array:
        """See `Doubt`."""
        slopes_KDT = np.array([smooth(fit).gradient(w_D).T for fit in self.fits])
        return self._parted(slopes_KDT).transpose(0, 2, 1)

    def draws(self, w_ND: Array, count: int, rng: np.random.Generator) -> Array:
        """See `Doubt`."""
        parted_KNT = self._parted(np.array([fit.loss(w_ND) for fit in self.fits]))
        return np.asarray(np.tensordot(rng.normal(size=(count, len(parted_KNT))), parted_KNT, axes=1), np.float64)

    def _parted(self, values_KxT: Array) -> Array:
        """Values of the members minus the blend's, by the root of their weights and the scale."""
        weights = self.weights_KT.reshape(len(self.fits), *[1] * (values_KxT.ndim - 2), -1)
        away_KxT = values_KxT - np.sum(weights * values_KxT, axis=0)
        return np.asarray(self.scale_T * np.sqrt(weights) * away_KxT, np.float64)
