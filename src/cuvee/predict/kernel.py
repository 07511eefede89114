"""The kernel of the process over mixtures, and how well its hyperparameters explain the runs, with derivatives.

Matern 5/2 plus a linear kernel on warped shares, each divided by its domain's length (Rasmussen & Williams 2006, Gaussian
Processes for Machine Learning, section 4.2; flat effects as in section 2.7). Effects that are not penalised (a level, one
offset per block) are integrated out exactly, so the fit does not depend on them.

Letters: N runs, M other mixtures, D domains, C flat effects, P = D + 3 hyperparameters: the logarithms of the lengths, of the
amplitude of the Matern kernel, of that of the linear kernel and of the noise's standard deviation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.linalg.lapack import dpotrf, dpotri
from scipy.optimize import minimize

from cuvee.mixture.weights import Array
from cuvee.predict.table import Bools, Integers

Warp = Literal["fourth-root", "root", "log"]
EPS: dict[Warp, float] = {"fourth-root": 1e-4, "root": 1e-4, "log": 1e-3}
"""Added to shares before the warp, whose slope at zero would be infinite; below it a share counts as absent."""
JITTER = 1e-8
"""Least variance of a run's noise, in units of the target's: keeps repeated mixtures from a singular matrix."""
ROOT5 = 5.0**0.5
STEPS = 150


def warped(w: Array, warp: Warp) -> tuple[Array, Array]:
    """Warped shares and their derivatives by the shares, shapes of `w`."""
    p = np.maximum(w, 0.0) + EPS[warp]
    if warp == "log":
        unit = np.log(1.0 / EPS[warp])
        return np.log(p) / unit, 1.0 / (unit * p)
    power = 0.25 if warp == "fourth-root" else 0.5
    return p**power, power * p ** (power - 1.0)


@dataclass(frozen=True, eq=False)
class Kernel:
    """Covariances of one target's surface, in units of the target's variance.

    Args:
        log_P: Logarithms of the hyperparameters.
    """

    log_P: Array

    @property
    def lengths_D(self) -> Array:
        """The distance in warped shares over which the surface changes, per domain."""
        return np.asarray(np.exp(self.log_P[:-3]), np.float64)

    @property
    def noise(self) -> float:
        """The variance of a run's noise."""
        return float(np.exp(2 * self.log_P[-1])) + JITTER

    def parts(self, u_MD: Array, v_ND: Array) -> tuple[Array, Array, Array]:
        """Matern kernel, linear kernel, derivative of the former by the squared distance; of scaled shares, M x N."""
        matern, linear = np.exp(2 * self.log_P[-3:-1])
        product_MN = u_MD @ v_ND.T
        square_MN = np.sum(u_MD**2, axis=1)[:, None] + np.sum(v_ND**2, axis=1) - 2 * product_MN
        far_MN = ROOT5 * np.sqrt(np.maximum(square_MN, 0.0))
        fall_MN = matern * np.exp(-far_MN)
        return fall_MN * (1 + far_MN + far_MN**2 / 3), linear * product_MN, fall_MN * (1 + far_MN) * (-5 / 6)

    def between(self, z_MD: Array, z_ND: Array) -> Array:
        """Covariances of the surface between warped shares, shape M x N."""
        matern_MN, linear_MN, _ = self.parts(z_MD / self.lengths_D, z_ND / self.lengths_D)
        return matern_MN + linear_MN

    def slope(self, z_D: Array, z_ND: Array) -> Array:
        """Derivatives of the covariances with `z_ND` by the warped shares `z_D`, shape N x D."""
        lengths_D, linear = self.lengths_D, np.exp(2 * self.log_P[-2])
        u_D, v_ND = z_D / lengths_D, z_ND / lengths_D
        bend_N = self.parts(u_D[None], v_ND)[2][0]
        return np.asarray((2 * bend_N[:, None] * (u_D - v_ND) + linear * v_ND) / lengths_D, np.float64)

    def variance_slope(self, z_D: Array) -> Array:
        """Derivatives of the surface's own variance by the warped shares, shape D."""
        return np.asarray(2 * np.exp(2 * self.log_P[-2]) * z_D / self.lengths_D**2, np.float64)


@dataclass(frozen=True, eq=False)
class Seen:
    """What runs say of one target.

    Args:
        values_N: What was observed, with about unit variance.
        flat_NC: Effects that are integrated out under a flat prior; the first is the level.
    """

    values_N: Array
    flat_NC: Array

    def rows(self, which_N: Integers | Bools) -> Seen:
        """What those runs say, without effects that none of them has."""
        flat_NC = self.flat_NC[which_N]
        return Seen(self.values_N[which_N], flat_NC[:, np.any(flat_NC != 0, axis=0)])


@dataclass(frozen=True, eq=False)
class Prior:
    """Normal and independent over the logarithms of hyperparameters: means and standard deviations, shape P."""

    mean_P: Array
    error_P: Array


@dataclass(frozen=True, eq=False)
class Solved:
    """The runs' covariance inverted, with the flat effects taken out.

    Args:
        inverse_NN: The inverse projected on what the flat effects do not explain.
        effects_CN: The flat effects are estimated as this times the values.
        error_CC: Covariance of that estimate.
        log_determinant: Of the runs' covariance and of what it says of the flat effects.
    """

    inverse_NN: Array
    effects_CN: Array
    error_CC: Array
    log_determinant: float


def solved(covariance_NN: Array, flat_NC: Array) -> Solved | None:
    """The inverse of a covariance, in which `flat_NC` are effects of infinite variance; None where it is singular."""
    factor_NN, failed = dpotrf(covariance_NN, lower=1)
    if failed:
        return None
    lower_NN, _ = dpotri(factor_NN, lower=1)
    inverse_NN = np.tril(lower_NN) + np.tril(lower_NN, -1).T
    seen_NC = inverse_NN @ flat_NC
    known_CC = flat_NC.T @ seen_NC
    sign, flat_log = np.linalg.slogdet(known_CC)
    if not sign > 0:
        return None
    error_CC = np.linalg.inv(known_CC)
    effects_CN = error_CC @ seen_NC.T
    log_determinant = 2 * float(np.sum(np.log(np.diag(factor_NN)))) + float(flat_log)
    return Solved(inverse_NN - seen_NC @ effects_CN, effects_CN, error_CC, log_determinant)


def misfit(z_ND: Array, seen: Seen, prior: Prior) -> Callable[[Array], tuple[float, Array]]:
    """The function of the log hyperparameters that a fit minimises: minus the log posterior, and its derivatives.

    Args:
        z_ND: Warped shares.
        seen: What was observed.
        prior: Of the log hyperparameters.
    """
    values_N, flat_NC = seen.values_N, seen.flat_NC

    def value(log_P: Array) -> tuple[float, Array]:
        kernel = Kernel(log_P)
        u_ND = z_ND / kernel.lengths_D
        matern_NN, linear_NN, bend_NN = kernel.parts(u_ND, u_ND)
        inverse = solved(matern_NN + linear_NN + kernel.noise * np.eye(len(u_ND)), flat_NC)
        if inverse is None:
            return 1e12, np.zeros_like(log_P)
        weights_N = inverse.inverse_NN @ values_N
        off_P = (log_P - prior.mean_P) / prior.error_P
        result = 0.5 * (values_N @ weights_N + inverse.log_determinant + off_P @ off_P)
        # derivative of the result by the covariance, then the chain rule
        by_NN = 0.5 * (inverse.inverse_NN - np.outer(weights_N, weights_N))
        bent_NN = by_NN * bend_NN
        by_ND = 4 * (bent_NN.sum(1)[:, None] * u_ND - bent_NN @ u_ND)
        by_ND += 2 * np.exp(2 * log_P[-2]) * (by_NN @ u_ND)
        scales = [
            np.sum(by_NN * matern_NN),
            np.sum(by_NN * linear_NN),
            np.exp(2 * log_P[-1]) * np.trace(by_NN),
        ]
        slope_P = np.concatenate([-np.sum(by_ND * u_ND, axis=0), 2 * np.array(scales)])
        return float(result), slope_P + off_P / prior.error_P

    return value


def most_likely(z_ND: Array, seen: Seen, prior: Prior, start_P: Array) -> Array:
    """The log hyperparameters of largest posterior density near `start_P`, shape P. Arguments as of `misfit`."""
    found = minimize(
        misfit(z_ND, seen, prior),
        start_P,
        jac=True,
        method="L-BFGS-B",
        bounds=[(-12.0, 12.0)] * len(start_P),  # within these no exponential overflows
        options={"maxiter": STEPS, "maxcor": 20, "ftol": 1e-7, "gtol": 1e-3},
    )
    return np.asarray(found.x, np.float64)
