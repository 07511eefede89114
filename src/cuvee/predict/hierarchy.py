"""Fits of a law to all targets at once, its coefficients drawn from normal distributions that all targets teach.

A law with coefficients per target and domain has more of them than there are runs. What they have in common is learned:
every coefficient belongs to a group (say, the own domain's usefulness), a group's mean and spread and each target's noise
maximise the marginal likelihood by expectation maximisation, with Laplace's approximation of the coefficients' posterior
(MacKay 1992, Bayesian Interpolation; Dempster, Laird & Rubin 1977). A round is one damped Gauss-Newton step of all targets and
one step of the groups. The offsets of blocks are eliminated.

Letters: N runs, D domains, T targets, B blocks, P coefficients, G groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, Self

import numpy as np

from cuvee.mixture.weights import Array
from cuvee.predict.table import Bools, Integers, Table

ROUNDS, AGAIN = 60, 15
"""Rounds of a fit from nothing, and of one from a fit to nearly the same rows."""
PSEUDO_RUNS = 3.0
"""Weight of the mean noise of all targets in each target's, in runs."""
NOISE, LEAST_NOISE = 0.3, 1e-4
"""Of a run, in units of a target's spread over the runs: where fits start, and what rounding alone would leave."""
LONGEST_STEP, MOST = 2.0, 12.0
"""Bounds on a step and on the size of a coefficient; coefficients are logarithms."""


class Law(Protocol):
    """A function of the shares with coefficients that are logarithms."""

    def rise(self, w_ND: Array, x_TP: Array) -> Array:
        """Losses up to an offset, shape N x T."""

    def slopes(self, w_ND: Array, x_TP: Array) -> Array:
        """Derivatives of `rise` by the coefficients, shape T x N x P."""

    def scaled(self, x_TP: Array, scale_T: Array) -> Array:
        """The coefficients of `rise` times `scale_T`, shape T x P."""


@dataclass(frozen=True)
class Group:
    """What is expected of a group of coefficients before any run.

    Args:
        mean, spread: Of the normal distribution.
        mean_weight, spread_weight: How sure that is, in coefficients.
    """

    mean: float
    spread: float
    mean_weight: float = 1.0
    spread_weight: float = 3.0


@dataclass(frozen=True, eq=False)
class Prior:
    """The distributions of the coefficients, as learned so far.

    Args:
        groups: What was expected of each.
        group_TP: The group of each coefficient.
        mean_G, spread_G: What was learned.
        noise_T: Standard deviation of a run, in units of the target's spread over the runs.
    """

    groups: tuple[Group, ...]
    group_TP: Integers
    mean_G: Array
    spread_G: Array
    noise_T: Array

    @classmethod
    def of(cls, groups: Sequence[Group], group_TP: Integers) -> Self:
        """As expected before any run."""
        mean_G, spread_G = np.array([[g.mean, g.spread] for g in groups]).T
        return cls(tuple(groups), group_TP, mean_G, spread_G, np.full(len(group_TP), NOISE))

    @property
    def mean_TP(self) -> Array:
        """Mean of every coefficient."""
        return np.asarray(self.mean_G[self.group_TP], np.float64)

    @property
    def weight_TP(self) -> Array:
        """One over the variance of every coefficient."""
        return np.asarray(self.spread_G[self.group_TP] ** -2.0, np.float64)

    def learned(self, x_TP: Array, variance_TP: Array, noise_T: Array) -> Self:
        """The prior that maximises the expected likelihood of coefficients with these means and variances."""
        mean_G, spread_G = self.mean_G.copy(), self.spread_G.copy()
        for g, group in enumerate(self.groups):
            x, variance = x_TP[self.group_TP == g], variance_TP[self.group_TP == g]
            mean_G[g] = (x.sum() + group.mean_weight * group.mean) / (len(x) + group.mean_weight)
            square = np.sum((x - mean_G[g]) ** 2 + variance) + group.spread_weight * group.spread**2
            spread_G[g] = np.sqrt(square / (len(x) + group.spread_weight))
        return replace(self, mean_G=mean_G, spread_G=spread_G, noise_T=noise_T)


@dataclass(frozen=True, eq=False)
class Fitted:
    """Coefficients in bits/byte, the mean of the blocks' offsets, and the prior that was learned."""

    level_T: Array
    x_TP: Array
    prior: Prior


def own_domain(table: Table) -> Bools:
    """Which domain has the target's name, shape T x D."""
    return np.array([[domain == target for domain in table.domains] for target in table.targets])


def fit_all(law: Law, table: Table, prior: Prior, start: Fitted | None = None) -> Fitted:
    """The coefficients of all targets and their prior; a few rounds from `start` when given."""
    y_NT = table.centred(table.loss_NT)
    scale_T = np.maximum(np.sqrt(table.mean(y_NT**2)), 1e-9)
    task = _Task(law, table, table.root_N[:, None] * (y_NT / scale_T))
    x_TP = prior.mean_TP
    if start is not None:
        prior, x_TP = start.prior, law.scaled(start.x_TP, 1 / scale_T)
    damping_T = np.full(len(scale_T), 1e-2)
    residual_NT = task.residual(x_TP)
    for _ in range(ROUNDS if start is None else AGAIN):
        x_TP, residual_NT, prior, damping_T = task.round(x_TP, residual_NT, prior, damping_T)
    x_TP = law.scaled(x_TP, scale_T)
    rest_NT = table.loss_NT - law.rise(table.shares_ND, x_TP)
    return Fitted(table.level(rest_NT), x_TP, prior)


@dataclass(frozen=True, eq=False)
class _Task:
    """The centred losses `y_NT` of a table in units of their spread, times the roots of the rows' weights, to be explained by a law."""

    law: Law
    table: Table
    y_NT: Array

    def round(
        self, x_TP: Array, residual_NT: Array, prior: Prior, damping_T: Array
    ) -> tuple[Array, Array, Prior, Array]:
        """Coefficients, their residuals, prior and damping after one step of each."""
        slopes_NTP = self.table.centred(self.law.slopes(self.table.shares_ND, x_TP).transpose(1, 0, 2))
        slopes_TNP = self.table.root_N[:, None] * slopes_NTP.transpose(1, 0, 2)
        gram_TPP = slopes_TNP.transpose(0, 2, 1) @ slopes_TNP
        precision_T = prior.noise_T**-2.0
        eye_PP = np.eye(x_TP.shape[1])
        hessian_TPP = precision_T[:, None, None] * gram_TPP + prior.weight_TP[:, :, None] * eye_PP
        pull_TP = (slopes_TNP.transpose(0, 2, 1) @ residual_NT.T[:, :, None])[:, :, 0]
        gradient_TP = precision_T[:, None] * pull_TP + prior.weight_TP * (x_TP - prior.mean_TP)
        damped_TPP = hessian_TPP * (1 + damping_T[:, None, None] * eye_PP)
        step_TP = np.linalg.solve(damped_TPP, gradient_TP[:, :, None])[:, :, 0]
        tried_TP = np.clip(x_TP - np.clip(step_TP, -LONGEST_STEP, LONGEST_STEP), -MOST, MOST)
        tried_NT = self.residual(tried_TP)
        better_T = _cost(tried_NT, tried_TP, prior) < _cost(residual_NT, x_TP, prior)
        x_TP, residual_NT = np.where(better_T[:, None], tried_TP, x_TP), np.where(better_T, tried_NT, residual_NT)
        covariance_TPP = np.linalg.inv(hessian_TPP)
        square_T = np.sum(residual_NT**2, 0) + np.sum(gram_TPP * covariance_TPP, axis=(1, 2))
        prior = prior.learned(x_TP, np.diagonal(covariance_TPP, axis1=1, axis2=2), self._noise(square_T))
        damping_T = np.where(better_T, np.maximum(damping_T / 5, 1e-6), np.minimum(damping_T * 4, 1e3))
        return x_TP, residual_NT, prior, damping_T

    def residual(self, x_TP: Array) -> Array:
        """What the law misses of the losses, with the other sign, times the roots of the weights, shape N x T."""
        rise_NT = self.table.centred(self.law.rise(self.table.shares_ND, x_TP))
        return np.asarray(self.table.root_N[:, None] * rise_NT - self.y_NT, np.float64)

    def _noise(self, square_T: Array) -> Array:
        """Standard deviations from expected sums of squares, each target's drawn towards the mean of all."""
        free = max(len(self.y_NT) - len(self.table.blocks), 1)
        variance_T = (square_T + PSEUDO_RUNS * np.mean(square_T) / free) / (free + PSEUDO_RUNS)
        return np.asarray(np.maximum(np.sqrt(variance_T), LEAST_NOISE), np.float64)


def _cost(residual_NT: Array, x_TP: Array, prior: Prior) -> Array:
    """Minus the logarithm of the posterior density, shape T, up to a constant."""
    strain_T = np.sum(prior.weight_TP * (x_TP - prior.mean_TP) ** 2, axis=1)
    return np.asarray(0.5 * (np.sum(residual_NT**2, axis=0) / prior.noise_T**2 + strain_T), np.float64)
