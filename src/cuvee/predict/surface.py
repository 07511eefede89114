"""The posterior of one target's surface, exact given its hyperparameters, and the link between losses and the process.

Letters: N runs, M other mixtures, D domains, C flat effects. The first flat effect is the level; the others, of blocks, are
no part of the surface.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np

from cuvee.mixture.weights import Array
from cuvee.predict.kernel import Kernel, Seen, Solved, solved


@dataclass(frozen=True, eq=False)
class Link:
    """loss = floor + exp(level + scale x value), or level + scale x value where `floor` is None.

    Args:
        floor: What the loss cannot fall below, bits/byte.
        level, scale: So that the values have mean 0 and variance 1 over the runs.
    """

    floor: float | None
    level: float
    scale: float

    def loss(self, value: Array) -> Array:
        """Losses in bits/byte."""
        inner = self.level + self.scale * value
        return inner if self.floor is None else np.asarray(self.floor + np.exp(inner), np.float64)

    @property
    def bend(self) -> float:
        """The derivative of `slope` is this times `slope`."""
        return 0.0 if self.floor is None else self.scale

    def slope(self, value: Array) -> Array:
        """Derivatives of the losses by the values."""
        if self.floor is None:
            return np.full_like(value, self.scale)
        return np.asarray(self.scale * np.exp(self.level + self.scale * value), np.float64)


@dataclass(frozen=True, eq=False)
class Surface:
    """The posterior of one target.

    Args:
        kernel, link: Of the process.
        z_ND: Warped shares of the runs.
        seen: What the runs say, through the link.
        solved: The inverse of the runs' covariance.
    """

    kernel: Kernel
    link: Link
    z_ND: Array
    seen: Seen
    solved: Solved

    @classmethod
    def of(cls, kernel: Kernel, link: Link, z_ND: Array, seen: Seen) -> Self:
        """The posterior given the hyperparameters."""
        inverse = solved(kernel.between(z_ND, z_ND) + np.diag(kernel.noise * seen.noise_N), seen.flat_NC)
        assert inverse is not None, "the jitter keeps the covariance regular"
        return cls(kernel, link, z_ND, seen, inverse)

    @cached_property
    def weights_N(self) -> Array:
        """The mean of the process is the covariance with the runs times these, plus `level`."""
        return np.asarray(self.solved.inverse_NN @ self.seen.values_N, np.float64)

    @cached_property
    def level(self) -> float:
        """The estimate of the level."""
        return float(self.solved.effects_CN[0] @ self.seen.values_N)

    @cached_property
    def noise(self) -> float:
        """Standard deviation of a run of today around the surface, bits/byte, root mean square over the runs."""
        slope_N = self.link.slope(self.seen.values_N)
        return float(np.sqrt(self.kernel.noise * np.mean(slope_N**2)))

    def value(self, z_MD: Array) -> Array:
        """The posterior mean of the process at warped shares, shape M."""
        return self.kernel.between(z_MD, self.z_ND) @ self.weights_N + self.level

    def value_slope(self, z_D: Array) -> Array:
        """Its derivatives by the warped shares, shape D."""
        return np.asarray(self.kernel.slope(z_D, self.z_ND).T @ self.weights_N, np.float64)

    def covariance(self, z_MD: Array) -> Array:
        """Of the losses, (bits/byte) squared, to first order of the link. Shape M x M."""
        slope_M = self.link.slope(self.value(z_MD))
        return np.asarray(slope_M[:, None] * self._process(z_MD, z_MD) * slope_M, np.float64)

    def spread(self, z_D: Array, base_D: Array) -> float:
        """Variance of the loss at `z_D` minus that at `base_D`, both warped, (bits/byte) squared."""
        covariance_22 = self.covariance(np.stack([z_D, base_D]))
        return max(float(covariance_22[0, 0] + covariance_22[1, 1] - 2 * covariance_22[0, 1]), 0.0)

    def spread_slope(self, z_D: Array, base_D: Array) -> Array:
        """Derivatives of `spread` by the warped shares `z_D`, shape D."""
        pair_2D = np.stack([z_D, base_D])
        process_22 = self._process(pair_2D, pair_2D)
        slope, base_slope = self.link.slope(self.value(pair_2D))
        # the link's slope is exponential or constant, so its own slope is a multiple of it
        bend_D = slope * self.link.bend * self.value_slope(z_D)
        runs_ND = self.kernel.slope(z_D, self.z_ND)
        known_2N = self.kernel.between(pair_2D, self.z_ND) @ self.solved.inverse_NN + self.solved.effects_CN[0]
        own_D = self.kernel.variance_slope(z_D) - 2 * known_2N[0] @ runs_ND
        crossed_D = self.kernel.slope(z_D, base_D[None])[0] - known_2N[1] @ runs_ND
        by_slope = slope * process_22[0, 0] - base_slope * process_22[0, 1]
        return np.asarray(slope**2 * own_D - 2 * slope * base_slope * crossed_D + 2 * by_slope * bend_D, np.float64)

    def left_out(self) -> tuple[Array, Array]:
        """Each run's loss minus its prediction from the other runs, and what standard deviation that should have, noise included.

        In closed form at fixed hyperparameters (Rasmussen & Williams 2006, section 5.4.2). NaN for the only run of a block.
        Shapes N, bits/byte.
        """
        diagonal_N = np.diag(self.solved.inverse_NN).copy()
        diagonal_N[diagonal_N * self.kernel.noise < 1e-9] = np.nan
        predicted_N = self.seen.values_N - self.weights_N / diagonal_N
        residual_N = self.link.loss(self.seen.values_N) - self.link.loss(predicted_N)
        return residual_N, self.link.slope(predicted_N) / np.sqrt(diagonal_N)

    def _process(self, z_MD: Array, z_ND: Array) -> Array:
        """Posterior covariance of the process, shape M x N."""
        level_N = self.solved.effects_CN[0]
        one_MN, other_NN = self.kernel.between(z_MD, self.z_ND), self.kernel.between(z_ND, self.z_ND)
        known_MN = one_MN @ self.solved.inverse_NN @ other_NN.T + (one_MN @ level_N)[:, None] + other_NN @ level_N
        return np.asarray(self.kernel.between(z_MD, z_ND) - known_MN + self.solved.error_CC[0, 0], np.float64)
