"""The kernel of the process over mixtures, and how well its hyperparameters explain the runs, with derivatives.

Matern 5/2 plus a linear kernel on warped shares, each divided by its domain's length (Rasmussen & Williams 2006, Gaussian
Processes for Machine Learning, section 4.2; flat effects as in section 2.7). Effects that are not penalised (a level, one
offset per block) are integrated out exactly, so the fit does not depend on them.

Letters: N runs, M other mixtures, D domains, C flat effects, P = D + 3 hyperparameters: the logarithms of the lengths, of the
amplitude of the Matern kernel, of that of the linear kernel and of the noise's standard deviation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.linalg import orth
from scipy.linalg.lapack import dpotrf, dpotri, dtrtri

from cuvee.mixture.weights import Array
from cuvee.predict.table import Bools

Warp = Literal["fourth-root", "root", "log"]
EPS: dict[Warp, float] = {"fourth-root": 1e-4, "root": 1e-4, "log": 1e-3}
"""Added to shares before the warp, whose slope at zero would be infinite; below it a share counts as absent."""
JITTER = 1e-8
"""Least variance of a run's noise, in units of the target's: keeps repeated mixtures from a singular matrix."""
STEPS, TRIES = 100, 8
"""Of a search for hyperparameters, and how often one of them is shortened."""
GAIN = 0.01
"""Of log posterior density: a step that promises less ends the search."""
LONGEST_STEP, MOST = 2.0, 12.0
"""Bounds on a step and on the size of a log hyperparameter; within them no exponential overflows."""


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
        """The variance of the noise of a run of today."""
        return float(np.exp(2 * self.log_P[-1])) + JITTER

    def parts(self, u_MD: Array, v_ND: Array) -> tuple[Array, Array, Array]:
        """Matern kernel, linear kernel, derivative of the former by the squared distance; of scaled shares, M x N."""
        matern, linear = np.exp(2 * self.log_P[-3:-1])
        product_MN = u_MD @ v_ND.T
        # in place: these passes over M x N numbers cost as much as the algebra that follows
        square_MN = np.einsum("md,md->m", u_MD, u_MD)[:, None] + np.einsum("nd,nd->n", v_ND, v_ND)
        square_MN -= 2 * product_MN
        np.maximum(square_MN, 0.0, out=square_MN)
        square_MN *= 5.0
        far_MN = np.sqrt(square_MN)
        fall_MN = np.exp(-far_MN)
        fall_MN *= matern
        far_MN += 1.0
        far_MN *= fall_MN
        square_MN *= fall_MN
        square_MN /= 3.0
        square_MN += far_MN
        far_MN *= -5 / 6
        product_MN *= linear
        return square_MN, product_MN, far_MN

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
        noise_N: Variance of each run's noise in units of that of a run of today.
    """

    values_N: Array
    flat_NC: Array
    noise_N: Array

    def part(self, rows_N: Bools) -> Seen:
        """What those runs say; their flat effects are a basis of what the effects can do to them."""
        return Seen(self.values_N[rows_N], orth(self.flat_NC[rows_N]), self.noise_N[rows_N])


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
    log_determinant = 2 * float(np.log(factor_NN.diagonal()).sum())
    # dpotrf cleared the other triangle
    lower_NN, _ = dpotri(factor_NN, lower=1, overwrite_c=1)
    inverse_NN = lower_NN + lower_NN.T
    np.einsum("ii->i", inverse_NN)[:] *= 0.5
    seen_NC = inverse_NN @ flat_NC
    flat_CC, failed = dpotrf(flat_NC.T @ seen_NC, lower=1)
    if failed:
        return None
    log_determinant += 2 * float(np.log(flat_CC.diagonal()).sum())
    part_CC, _ = dtrtri(flat_CC, lower=1)
    error_CC = part_CC.T @ part_CC
    effects_CN = error_CC @ seen_NC.T
    inverse_NN -= seen_NC @ effects_CN
    return Solved(inverse_NN, effects_CN, error_CC, log_determinant)


def misfit(z_ND: Array, seen: Seen) -> Callable[[Array], tuple[float, Array]]:
    """Minus the log likelihood of log hyperparameters, and its derivatives. Arguments: warped shares, what was observed."""
    values_N, flat_NC = seen.values_N, seen.flat_NC

    def value(log_P: Array) -> tuple[float, Array]:
        kernel = Kernel(log_P)
        u_ND = z_ND / kernel.lengths_D
        matern_NN, linear_NN, bend_NN = kernel.parts(u_ND, u_ND)
        covariance_NN = matern_NN + linear_NN
        np.einsum("ii->i", covariance_NN)[:] += kernel.noise * seen.noise_N
        inverse = solved(covariance_NN, flat_NC)
        if inverse is None:
            return np.inf, np.zeros_like(log_P)
        weights_N = inverse.inverse_NN @ values_N
        # derivative of the result by the covariance, times 2, then the chain rule
        by_NN = np.multiply.outer(-weights_N, weights_N)
        by_NN += inverse.inverse_NN
        scales = [
            np.vdot(by_NN, matern_NN),
            np.vdot(by_NN, linear_NN),
            np.exp(2 * log_P[-1]) * np.sum(by_NN.diagonal() * seen.noise_N),
        ]
        bend_NN *= by_NN
        far_N = bend_NN.sum(1)
        bend_NN *= -2.0
        by_NN *= np.exp(2 * log_P[-2])
        bend_NN += by_NN
        lengths_D = -np.einsum("nd,nd->d", bend_NN @ u_ND + 2 * far_N[:, None] * u_ND, u_ND)
        result = 0.5 * float(values_N @ weights_N + inverse.log_determinant)
        return result, np.concatenate([lengths_D, scales])

    return value


def unlikely(parts: Sequence[tuple[Array, Seen]], prior: Prior) -> Callable[[Array], tuple[float, Array]]:
    """What a fit minimises: minus the log posterior density of log hyperparameters, and its derivatives.

    Args:
        parts: Warped shares and what was observed, of parts of the runs that count as independent of each other.
        prior: Of the log hyperparameters.
    """
    terms = [misfit(z_ND, seen) for z_ND, seen in parts]

    def value(log_P: Array) -> tuple[float, Array]:
        off_P = (log_P - prior.mean_P) / prior.error_P
        results, slopes = zip(*(term(log_P) for term in terms), strict=True)
        return 0.5 * float(off_P @ off_P) + sum(results), off_P / prior.error_P + np.sum(slopes, axis=0)

    return value


@dataclass(frozen=True, eq=False)
class Found:
    """Where a search ended: the log hyperparameters, and the inverse of the second derivatives there as far as it learned them."""

    log_P: Array
    bend_PP: Array


def most_likely(objective: Callable[[Array], tuple[float, Array]], start: Found) -> Found:
    """The log hyperparameters that minimise `objective` near `start`, by BFGS (Nocedal & Wright 2006, algorithm 6.1).

    Targets are so alike that the second derivatives found for one spare the next most of its steps, which is why
    they are handed on; steps only have to fall, as curvature that is not positive is left out.
    """
    log_P, bend_PP = start.log_P, start.bend_PP
    value, slope_P = objective(log_P)
    for _ in range(STEPS):
        step_P = -bend_PP @ slope_P
        if -step_P @ slope_P < 2 * GAIN:
            break
        step_P /= max(1.0, np.abs(step_P).max() / LONGEST_STEP)
        for _ in range(TRIES):
            tried_P = np.clip(log_P + step_P, -MOST, MOST)
            tried, tried_slope_P = objective(tried_P)
            if tried < value + 1e-3 * (step_P @ slope_P):
                break
            # where the parabola through both values and the slope is least
            fall = -step_P @ slope_P
            step_P = step_P * np.clip(0.5 * fall / (tried - value + fall), 0.1, 0.5)
        else:
            break
        moved_P, turned_P = tried_P - log_P, tried_slope_P - slope_P
        log_P, value, slope_P = tried_P, tried, tried_slope_P
        bend = float(moved_P @ turned_P)
        if bend > 1e-9:
            seen_P = bend_PP @ turned_P
            bend_PP = bend_PP + (1 + turned_P @ seen_P / bend) / bend * np.multiply.outer(moved_P, moved_P)
            bend_PP -= (np.multiply.outer(seen_P, moved_P) + np.multiply.outer(moved_P, seen_P)) / bend
    return Found(log_P, bend_PP)
