"""Predictions that need no runs of mixtures: experts of single domains, mixed as the mixture mixes their domains.

The mixture of experts gives a text the probability sum_i w_i p_i(text), and minus its logarithm is convex in the shares w.
MixMin (Thudi et al. 2025, arXiv:2502.10510) minimises that over whole sequences; Mixture of Data Experts (Belenki et al.
2025, arXiv:2502.15950) takes it token by token, as features of a regression. Experts are small models trained on one
domain, or n-gram models of it, which take seconds.

Letters: N mixtures, D domains, T targets, X examples of all targets, S surfaces.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Protocol

import numpy as np
from scipy.optimize import nnls

from cuvee.base.errors import DataError
from cuvee.mixture.weights import Array
from cuvee.plan.trial import Likelihoods, Trial, Want
from cuvee.predict.lifted import widened
from cuvee.predict.posterior import Fit, Member, Posterior, jackknife, smooth
from cuvee.predict.process import Process
from cuvee.predict.table import Integers, Table

EPS = 1e-6
"""Of every mixture this much is uniform, so that a domain left out costs much and not without limit."""
RUNS = 3.0
"""Runs that the common slope of all targets counts as in each target's own."""


@dataclass(frozen=True, eq=False)
class EnsembleSurface:
    """Bits/byte of a mixture of experts.

    Args:
        targets: T names.
        nats_XD: Minus the log-likelihood of every example under the expert of every domain.
        target_X: The target of every example, as a column.
        weight_X: What a nat of the example adds to its target, bits/byte.
    """

    targets: tuple[str, ...]
    nats_XD: Array
    target_X: Integers
    weight_X: Array

    @cached_property
    def _least_X(self) -> Array:
        return np.asarray(self.nats_XD.min(1), np.float64)

    @cached_property
    def _relative_XD(self) -> Array:
        """Likelihoods as a share of the best expert's: never all of them underflow."""
        return np.asarray(np.exp(self._least_X[:, None] - self.nats_XD), np.float64)

    @cached_property
    def _sums_XT(self) -> Array:
        """What turns values of examples into those of targets."""
        return np.asarray(self.weight_X[:, None] * (self.target_X[:, None] == np.arange(len(self.targets))), np.float64)

    def loss(self, w_ND: Array) -> Array:
        """Losses in bits/byte, shape N x T; columns of `w_ND` beyond D are of domains that are gone, which have no expert."""
        mixed_NX = self._softened(w_ND) @ self._relative_XD.T
        return np.asarray((self._least_X - np.log(mixed_NX)) @ self._sums_XT, np.float64)

    def gradient(self, w_D: Array) -> Array:
        """Derivatives by the shares that `w_D` has, shape T x their number."""
        mixed_X = self._relative_XD @ self._softened(w_D)
        slope_TD = np.asarray(-(1 - EPS) * self._sums_XT.T @ (self._relative_XD / mixed_X[:, None]), np.float64)
        return widened(slope_TD, len(w_D))

    def convex(self, a_T: Array) -> bool:
        """Always, for weights that are not negative."""
        return bool(np.all(a_T >= 0))

    def _softened(self, w_ND: Array) -> Array:
        size = self.nats_XD.shape[1]
        return np.asarray((1 - EPS) * np.maximum(w_ND[..., :size], 0.0) + EPS / size, np.float64)


def ensemble(domains: Sequence[str], trials: Sequence[Trial], kind: str, want: Want) -> EnsembleSurface:
    """The surface of the experts of `kind` among the trials; of several blocks, their mean.

    Args:
        domains: All need an expert in the blocks used; blocks where one is missing or did not end well are left out.
        trials: Any; others are ignored.
        kind: `expert` or `ngram`.
        want: Whether whole examples are mixed, or tokens.

    Raises:
        DataError: no block with an expert of every domain, or experts that scored different texts.
    """
    done = [t for t in trials if t.plan.kind == kind and t.status == "done" and want in t.plan.wants]
    found = {(t.plan.block, _own(t)): t for t in sorted(done, key=lambda t: t.id)}
    blocks = sorted({block for block, _ in found})
    whole = [b for b in blocks if all((b, d) in found for d in domains)]
    if not whole:
        missing = [d for d in domains if not any((b, d) in found for b in blocks)]
        raise DataError(
            f"no block has an expert of every domain; there is none of {', '.join(missing) or 'some in each block'}",
            wanted=f"a run of kind {kind} that ended well for each of {', '.join(domains)}",
            fix="mend what made them fail; removed trial files are made again",
        )
    names = tuple(dict.fromkeys(r.target for r in found[whole[0], domains[0]].likelihoods))
    parts: list[tuple[Array, Integers, Array]] = [
        _joined(t, name, [_record(found[b, d], name, want) for d in domains])
        for b in whole
        for t, name in enumerate(names)
    ]
    nats, targets, weights = zip(*parts, strict=True)
    return EnsembleSurface(names, np.concatenate(nats), np.concatenate(targets), np.concatenate(weights) / len(whole))


def _own(trial: Trial) -> str:
    mixture = trial.plan.schedule.at(0)
    return max(mixture.domains, key=mixture.share)


def _record(trial: Trial, target: str, want: Want) -> Likelihoods:
    return next(r for r in trial.likelihoods if r.target == target and r.want == want)


def _joined(t: int, name: str, records: Sequence[Likelihoods]) -> tuple[Array, Integers, Array]:
    """Nats, target and weight of a target's examples."""
    if len({r.examples for r in records}) != 1:
        raise DataError(
            f"the experts scored different examples of {name!r}: {', '.join(sorted({r.examples for r in records}))}",
            wanted="one corpus, one split, one length of sequences",
        )
    nats_XD = np.stack([r.nats_X for r in records], 1)
    total = math.log(2) * float(records[0].sizes_X.sum())
    return nats_XD, np.full(len(nats_XD), t), np.full(len(nats_XD), 1.0 / total)


@dataclass(frozen=True, eq=False)
class LevelFit:
    """loss = level, whatever the mixture of the D domains."""

    level_T: Array
    domains: int

    def loss(self, w_ND: Array) -> Array:
        """Losses in bits/byte, shape N x T."""
        return np.tile(self.level_T, (len(w_ND), 1))

    def gradient(self, w_D: Array) -> Array:
        """Derivatives, shape T x D: none."""
        return np.zeros((len(self.level_T), self.domains))

    def convex(self, a_T: Array) -> bool:
        """Always."""
        return True


@dataclass(frozen=True)
class Level:
    """Nothing but the mean of the blocks' levels."""

    def fit(self, table: Table) -> Posterior:
        """The posterior of the table."""
        return jackknife(table, self.fit_once)

    def fit_once(self, table: Table, start: Fit | None) -> LevelFit:
        """The level of every target."""
        return LevelFit(table.level(table.loss_NT), table.shares_ND.shape[1])


class Surface(Protocol):
    """Losses that are known before runs of today are, of some targets, up to a slope and an offset of each."""

    @property
    def targets(self) -> tuple[str, ...]:
        """T names."""

    def loss(self, w_ND: Array) -> Array:
        """Losses in bits/byte, shape N x T."""

    def gradient(self, w_D: Array) -> Array:
        """Derivatives by the shares that `w_D` has, shape T x their number."""

    def convex(self, a_T: Array) -> bool:
        """Whether means with such weights are convex; `a_T` may be of more targets than the surface has."""


@dataclass(frozen=True, eq=False)
class InformedFit:
    """loss = rest(w) + sum_s slope_s surface_s(w) of every target that the surfaces have."""

    surfaces: tuple[Surface, ...]
    slopes_ST: Array
    rest: Fit
    targets: tuple[str, ...]

    def loss(self, w_ND: Array) -> Array:
        """Losses in bits/byte, shape N x T."""
        terms = [
            s_T * _spread(s, self.targets, s.loss(w_ND)) for s, s_T in zip(self.surfaces, self.slopes_ST, strict=True)
        ]
        return np.asarray(self.rest.loss(w_ND) + sum(terms), np.float64)

    def gradient(self, w_D: Array) -> Array:
        """Derivatives, shape T x D."""
        terms = [
            s_T[:, None] * _spread(s, self.targets, s.gradient(w_D).T).T
            for s, s_T in zip(self.surfaces, self.slopes_ST, strict=True)
        ]
        return np.asarray(smooth(self.rest).gradient(w_D) + sum(terms), np.float64)

    def convex(self, a_T: Array) -> bool:
        """Convex where the rest and the surfaces are; slopes are not negative."""
        return smooth(self.rest).convex(a_T) and all(surface.convex(a_T) for surface in self.surfaces)


@dataclass(frozen=True, eq=False)
class Informed:
    """Surfaces that are known beforehand as the mean function of another predictor.

    The slope of a surface is not negative, and near that of all targets together until a target's own runs say otherwise;
    what the surfaces leave is fitted by `then`.

    Args:
        surfaces: What is known beforehand. Targets that a surface lacks go without it.
        then: The predictor of what is left: a Gaussian process without a law of its own was best.
    """

    surfaces: tuple[Surface, ...]
    then: Member = field(default_factory=Process)

    def fit(self, table: Table) -> Posterior:
        """The posterior of the table."""
        return jackknife(table, self.fit_once)

    def fit_once(self, table: Table, start: Fit | None) -> Fit:
        """One fit to all rows; the rest from that of `start` when given."""
        x_SNT = np.array([_spread(s, table.targets, s.loss(table.shares_ND)) for s in self.surfaces])
        slopes_ST = _slopes(np.array([table.centred(x_NT) for x_NT in x_SNT]), table.centred(table.loss_NT))
        left = replace(table, loss_NT=table.loss_NT - np.einsum("snt,st->nt", x_SNT, slopes_ST))
        rest = self.then.fit_once(left, start.rest if isinstance(start, InformedFit) else None)
        return InformedFit(self.surfaces, slopes_ST, rest, table.targets)


def _spread(surface: Surface, targets: Sequence[str], values_NT: Array) -> Array:
    """The surface's columns as those of `targets`, 0 for those it lacks."""
    out_NT = np.zeros((len(values_NT), len(targets)))
    for t, target in enumerate(targets):
        if target in surface.targets:
            out_NT[:, t] = values_NT[:, surface.targets.index(target)]
    return out_NT


def _slopes(x_SNT: Array, y_NT: Array) -> Array:
    """Slopes of at least 0, shape S x T: least squares for each target, with those of all targets as `RUNS` runs."""
    size_T = np.maximum(np.sqrt(np.mean(y_NT**2, axis=0)), 1e-12)
    x_SNT, y_NT = x_SNT / size_T, y_NT / size_T
    common_S = nnls(x_SNT.reshape(len(x_SNT), -1).T, y_NT.ravel())[0]
    spread_ST = math.sqrt(RUNS) * np.sqrt(np.mean(x_SNT**2, axis=1))
    own = []
    for x_SN, y_N, spread_S in zip(np.moveaxis(x_SNT, 2, 0), y_NT.T, spread_ST.T, strict=True):
        own.append(nnls(np.vstack([x_SN.T, np.diag(spread_S)]), np.concatenate([y_N, spread_S * common_S]))[0])
    return np.stack(own, axis=1)
