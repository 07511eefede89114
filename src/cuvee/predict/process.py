"""Gaussian processes of the losses over mixtures, one per target: exact posteriors, blocks' offsets integrated out.

A loss falls towards a floor as its domains get more, steeply at first, so the process is over the logarithm of what a loss
is above a floor somewhat below the lowest one seen: on RegMix's published runs this beats a process over
losses with 32 to 128 runs, not with 512. Blocks'
offsets stay additive in the loss, to first order around the observed losses; the noise does not (on published runs noise of
equal variance above the floor predicts better than noise of equal variance in the loss). With few runs the hyperparameters of
one target are poorly known, so all targets are fitted, then again around the means over targets (empirical Bayes).

Letters: N runs, M other mixtures, D domains, T targets, C flat effects, P hyperparameters.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from cuvee.base.errors import UsageError
from cuvee.mixture.weights import Array
from cuvee.predict.kernel import EPS, Found, Kernel, Prior, Seen, Warp, most_likely, solved, unlikely, warped
from cuvee.predict.posterior import Fit, Member, Posterior, jackknife, smooth
from cuvee.predict.surface import Link, Surface
from cuvee.predict.table import Bools, Integers, Table
from cuvee.predict.together import Together

PART = 128
"""Hyperparameters are learned from parts of at most so many runs, spread evenly over the table, as if parts were independent:
nearly as good as from all runs at once, whose covariance takes many times longer to invert. The posterior uses all at once."""
ANEW = 128
"""A fit to fewer runs has its replicates learn their own hyperparameters: those of the fit to all runs have seen what was left out,
which makes left-out runs look better foretold than they are. With more runs it makes no difference and takes long."""
LEAST_SCALE = 1e-9
"""Spread of losses in bits/byte below which a target counts as constant."""
FEW = 4
"""With fewer targets their means say too little of the hyperparameters."""
MATERN, LINEAR, NOISE = (0.0, 1.0), (-1.0, 1.0), (-4.0, 1.5)
"""Mean and standard deviation of the logarithms: of amplitudes and noise, in units of a target's spread over the runs."""
LENGTH = 1.0
"""Standard deviation of a length's logarithm around the usual distance between runs."""
TIED = 0.7
"""The same around the mean over targets, in units of the first."""
AT_ONCE = 64
"""So many mixtures are predicted at once, for all targets; more take too much memory."""
START_NOISE = -2.5
"""Logarithm of the noise where the search starts."""
START_BEND = 10.0
"""How many times the curvature of the prior the search expects at first."""


@dataclass(frozen=True, eq=False)
class ProcessFit:
    """loss = law(w) + surface(w) per target.

    Args:
        surfaces: One per target.
        warp: Of the shares.
        law: What the surfaces are residuals of; None where they are the losses.
    """

    surfaces: tuple[Surface, ...]
    warp: Warp
    law: Fit | None = None

    def loss(self, w_ND: Array) -> Array:
        """Losses in bits/byte, shape N x T."""
        z_ND, _ = warped(w_ND, self.warp)
        some = range(0, max(len(z_ND), 1), AT_ONCE)
        loss_NT = np.concatenate([self._together.loss(z_ND[i : i + AT_ONCE]) for i in some])
        return loss_NT if self.law is None else np.asarray(loss_NT + self.law.loss(w_ND), np.float64)

    def gradient(self, w_D: Array) -> Array:
        """Derivatives, shape T x D."""
        z_D, slope_D = warped(w_D, self.warp)
        slope_TD = self._together.slope(z_D) * slope_D
        return np.asarray(slope_TD if self.law is None else slope_TD + smooth(self.law).gradient(w_D), np.float64)

    @cached_property
    def _together(self) -> Together:
        return Together.of(self.surfaces)

    def convex(self, a_T: Array) -> bool:
        """Never known to be."""
        return False

    def covariance(self, w_ND: Array) -> Array:
        """Posterior covariances of the surfaces, without noise and offsets of blocks, (bits/byte) squared. T x N x N."""
        z_ND, _ = warped(w_ND, self.warp)
        return np.stack([surface.covariance(z_ND) for surface in self.surfaces])

    def spread(self, w_D: Array, base_D: Array) -> Array:
        """Variances of the losses at `w_D` minus those at `base_D`, (bits/byte) squared, shape T."""
        (z_D, base_z_D), _ = warped(np.stack([w_D, base_D]), self.warp)
        return np.array([surface.spread(z_D, base_z_D) for surface in self.surfaces])

    def spread_slope(self, w_D: Array, base_D: Array) -> Array:
        """Derivatives of `spread` by the shares of `w_D`, shape T x D."""
        (z_D, base_z_D), (slope_D, _) = warped(np.stack([w_D, base_D]), self.warp)
        slope_TD = np.stack([surface.spread_slope(z_D, base_z_D) for surface in self.surfaces])
        return np.asarray(slope_TD * slope_D, np.float64)

    def left_out(self) -> tuple[Array, Array]:
        """Each run's losses minus their prediction from the other runs, and the standard deviations predicted for that.

        At fixed hyperparameters and law; noise included; NaN where a run is alone in its block. Shapes N x T, bits/byte.
        """
        pairs = [surface.left_out() for surface in self.surfaces]
        return np.stack([residual_N for residual_N, _ in pairs], 1), np.stack([error_N for _, error_N in pairs], 1)


@dataclass(frozen=True)
class Process:
    """A Gaussian process per target over warped shares, with an offset per block.

    Args:
        warp: Of the shares. A root or logarithm matters more than the kernel; the fourth root is best where runs are few.
        room: The floor lies this many standard deviations of the losses below the least one.
        mean: A law whose residuals the process is over, without a floor; None for the losses themselves.
    """

    warp: Warp = "fourth-root"
    room: float = 1.0
    mean: Member | None = None

    def __post_init__(self) -> None:
        if self.warp not in EPS:
            raise UsageError(f"process: got warp {self.warp!r}", wanted=f"one of {', '.join(EPS)}")
        if not self.room > 0:
            raise UsageError(f"process: got room {self.room}", wanted="room > 0, about 1")

    def fit(self, table: Table) -> Posterior:
        """The posterior of the table."""
        return jackknife(table, self.fit_once)

    def fit_once(self, table: Table, start: Fit | None) -> ProcessFit:
        """One fit to all rows; hyperparameters are those of `start`, an earlier fit to more rows, or with few runs begin there."""
        started = start if isinstance(start, ProcessFit) else None
        law = self.mean.fit_once(table, started.law if started else None) if self.mean else None
        loss_NT = table.loss_NT if law is None else table.loss_NT - law.loss(table.shares_ND)
        z_ND, _ = warped(table.shares_ND, self.warp)
        rough_NT = loss_NT - _offsets(table, z_ND, loss_NT)
        observed = [self._observe(table, y_N) for y_N in rough_NT.T]
        begun = [surface.kernel for surface in started.surfaces] if started else []
        kept = started is not None and len(started.surfaces[0].z_ND) >= ANEW
        kernels = begun if kept else _learn(z_ND, [seen for _, seen in observed], table, begun)
        surfaces = [
            Surface.of(kernel, link, z_ND, seen) for kernel, (link, seen) in zip(kernels, observed, strict=True)
        ]
        return ProcessFit(tuple(surfaces), self.warp, law)

    def _observe(self, table: Table, y_N: Array) -> tuple[Link, Seen]:
        """The losses of one target, roughly rid of offsets, through the link."""
        floor = None if self.mean else float(y_N.min() - self.room * max(y_N.std(), LEAST_SCALE))
        inner_N = y_N if floor is None else np.log(y_N - floor)
        link = Link(floor, float(inner_N.mean()), max(float(inner_N.std()), LEAST_SCALE))
        values_N = (inner_N - link.level) / link.scale
        # offsets sum to zero over the blocks of the level, and count as additive in the loss
        slope_N = link.slope(values_N)
        steep_N = np.exp(np.mean(np.log(slope_N))) / slope_N
        block_NC, own = _blocks(table), len(table.level_blocks) - 1
        offset_NC = np.hstack([block_NC[:, :own] - block_NC[:, own : own + 1], block_NC[:, own + 1 :]])
        flat_NC = np.hstack([np.ones((len(y_N), 1)), offset_NC * steep_N[:, None]])
        return link, Seen(values_N, flat_NC, 1.0 / table.weight_N)


def _blocks(table: Table) -> Array:
    """Which block every run is in, those of the level first. Shape N x C."""
    return np.asarray(table.block_N[:, None] == np.array(table.blocks), np.float64)


def _offsets(table: Table, z_ND: Array, loss_NT: Array) -> Array:
    """A first estimate of the offsets of the runs' blocks, of mean 0 over those of the level, at usual hyperparameters. N x T."""
    block_NC = _blocks(table)
    if block_NC.shape[1] == 1:
        return np.zeros_like(loss_NT)
    kernel = Kernel(np.append(_prior(z_ND).mean_P[:-1], START_NOISE))
    inverse = solved(kernel.between(z_ND, z_ND) + np.diag(kernel.noise / table.weight_N), block_NC)
    assert inverse is not None, "the noise keeps the covariance regular"
    offset_CT = inverse.effects_CN @ loss_NT
    return np.asarray(block_NC @ (offset_CT - offset_CT[: len(table.level_blocks)].mean(0)), np.float64)


def _prior(z_ND: Array) -> Prior:
    """Of the hyperparameters before any target is seen."""
    usual = np.sqrt(max(2 * float(np.sum(np.var(z_ND, axis=0))), 1e-4))
    scales = (MATERN, LINEAR, NOISE)
    size = z_ND.shape[1]
    return Prior(
        np.append(np.full(size, np.log(usual)), [mean for mean, _ in scales]),
        np.append(np.full(size, LENGTH), [error for _, error in scales]),
    )


def _own(table: Table) -> Array:
    """The domain of each target's name, -1 where there is none, shape T."""
    return np.array([table.domains.index(t) if t in table.domains else -1 for t in table.targets])


def _learn(z_ND: Array, observed: list[Seen], table: Table, begun: list[Kernel]) -> list[Kernel]:
    """The kernel of every target, from `begun` if there are any: fitted alone, then once more around the means over targets."""
    parts = [[(z_ND[rows_N], seen.part(rows_N)) for rows_N in _parts(table.block_N)] for seen in observed]
    prior = _prior(z_ND)
    priors = [prior] * len(observed)
    bend_PP = np.diag(prior.error_P**2) / START_BEND
    usual = [np.append(prior.mean_P[:-1], START_NOISE)] * len(observed)
    found = [Found(log_P, bend_PP) for log_P in ([kernel.log_P for kernel in begun] or usual)]
    for _ in range(2 if len(observed) >= FEW else 1):
        bend_PP = found[-1].bend_PP
        for t, own in enumerate(priors):
            found[t] = most_likely(unlikely(parts[t], own), Found(found[t].log_P, bend_PP))
            bend_PP = found[t].bend_PP
        priors = _tied(np.array([each.log_P for each in found]), _own(table), prior)
    return [Kernel(each.log_P) for each in found]


def _parts(block_N: Integers) -> list[Bools]:
    """The rows of each part: whole blocks where there are many, as a run alone in its block says nothing."""
    count = -(-len(block_N) // PART)
    blocks, rank_N = np.unique(block_N, return_inverse=True)
    dealt_N = (rank_N if len(blocks) >= 2 * count else np.arange(len(block_N))) % count
    return [dealt_N == part for part in range(count)]


def _tied(log_TP: Array, own_T: Array, prior: Prior) -> list[Prior]:
    """Priors around the means over targets; a target's own domain (which matters more to it) around that of own domains."""
    own_TP = np.zeros(log_TP.shape, bool)
    own_TP[np.flatnonzero(own_T >= 0), own_T[own_T >= 0]] = True
    other_TP = np.where(own_TP, np.nan, log_TP)
    seen_P = np.any(~own_TP, axis=0)
    mean_P = prior.mean_P.copy()
    mean_P[seen_P] = np.nanmean(other_TP[:, seen_P], axis=0)
    own = float(np.mean(log_TP[own_TP])) if own_TP.any() else 0.0
    return [Prior(np.where(own_P, own, mean_P), TIED * prior.error_P) for own_P in own_TP]
