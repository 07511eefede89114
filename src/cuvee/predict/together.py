"""The means of the processes of all targets at one or a few mixtures, in a handful of array operations.

An optimiser asks for one mixture at a time, thousands of times; a loop over targets would be ten times slower.

Letters: M mixtures, N runs, D domains, T targets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from cuvee.mixture.weights import Array
from cuvee.predict.surface import Surface

ROOT5 = np.sqrt(5.0)


@dataclass(frozen=True, eq=False)
class Together:
    """What the means need of the surfaces, stacked.

    Args:
        surfaces: One per target.
        lengths_TD: Of the kernels.
        runs_TND: Warped shares of the runs, divided by the lengths.
        squares_TN: Their squared norms.
        weights_TN: Of the runs, times the amplitude of the Matern kernel.
        linear_TD: The slope of the linear kernel's part, by warped shares divided by the lengths.
        level_T: Of the surfaces.
    """

    surfaces: Sequence[Surface]
    lengths_TD: Array
    runs_TND: Array
    squares_TN: Array
    weights_TN: Array
    linear_TD: Array
    level_T: Array

    @classmethod
    def of(cls, surfaces: Sequence[Surface]) -> Self:
        """Of one surface per target, over the same runs."""
        lengths_TD = np.array([surface.kernel.lengths_D for surface in surfaces])
        runs_TND = surfaces[0].z_ND / lengths_TD[:, None, :]
        weights_TN = np.array([surface.weights_N for surface in surfaces])
        matern_T, linear_T = np.exp(2 * np.array([surface.kernel.log_P[-3:-1] for surface in surfaces])).T
        return cls(
            surfaces,
            lengths_TD,
            runs_TND,
            np.sum(runs_TND**2, axis=2),
            matern_T[:, None] * weights_TN,
            linear_T[:, None] * (weights_TN[:, None, :] @ runs_TND)[:, 0],
            np.array([surface.level for surface in surfaces]),
        )

    def loss(self, z_MD: Array) -> Array:
        """Losses in bits/byte at warped shares, shape M x T; memory for M x N x T."""
        u_TMD = z_MD / self.lengths_TD[:, None, :]
        far_TMN = self._far(u_TMD)
        kernel_TMN = (1 + far_TMN + far_TMN**2 / 3) * np.exp(-far_TMN)
        value_TM = (kernel_TMN @ self.weights_TN[:, :, None])[:, :, 0] + (u_TMD @ self.linear_TD[:, :, None])[:, :, 0]
        value_TM += self.level_T[:, None]
        pairs = zip(self.surfaces, value_TM, strict=True)
        return np.stack([surface.link.loss(value_M) for surface, value_M in pairs], axis=1)

    def slope(self, z_D: Array) -> Array:
        """Derivatives of the losses by the warped shares, shape T x D."""
        u_T1D = (z_D / self.lengths_TD)[:, None, :]
        far_TN = self._far(u_T1D)[:, 0]
        fall_TN = np.exp(-far_TN) * self.weights_TN
        bend_TN = (-5 / 3) * fall_TN * (1 + far_TN)
        pull_TD = bend_TN.sum(1)[:, None] * u_T1D[:, 0] - (bend_TN[:, None, :] @ self.runs_TND)[:, 0]
        value_T = np.sum(fall_TN * (1 + far_TN + far_TN**2 / 3), axis=1)
        value_T += np.sum(u_T1D[:, 0] * self.linear_TD, axis=1) + self.level_T
        pairs = zip(self.surfaces, value_T[:, None], strict=True)
        rise_T1 = np.array([surface.link.slope(value_1) for surface, value_1 in pairs])
        return np.asarray(rise_T1 * (pull_TD + self.linear_TD) / self.lengths_TD, np.float64)

    def _far(self, u_TMD: Array) -> Array:
        """Distances to the runs times the root of 5, shape T x M x N."""
        product_TMN = u_TMD @ self.runs_TND.transpose(0, 2, 1)
        square_TMN = np.sum(u_TMD**2, axis=2)[:, :, None] + self.squares_TN[:, None, :] - 2 * product_TMN
        return np.asarray(ROOT5 * np.sqrt(np.maximum(square_TMN, 0.0)), np.float64)
