"""Methods against best-of-n random in the worlds of `testing`, at equal total tokens, and the coverage of intervals.

Letters: S seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest

from cuvee.methods.auto import Auto
from cuvee.methods.baselines import Natural, Temperature, Uniform, UniMax
from cuvee.methods.climb import Climb
from cuvee.methods.contract import Method
from cuvee.methods.mixmin import MixMin
from cuvee.methods.random import Random
from cuvee.methods.regmix import RegMix
from cuvee.methods.regression import Regression
from cuvee.plan.choice import Estimate
from cuvee.testing.worlds import KINDS, Kind, Played, World, play, world

Figures = dict[str, float]


@dataclass(frozen=True)
class Setting:
    """A family of worlds."""

    kind: Kind
    pointed: bool
    domains: int

    @property
    def name(self) -> str:
        """As in the tables of the documentation."""
        return f"{self.kind}, {'two small targets' if self.pointed else 'mean of all'}, {self.domains} domains"


SETTINGS = tuple(Setting(kind, pointed, 8) for kind in KINDS for pointed in (False, True))


@dataclass(frozen=True)
class Design:
    """How `regression` spreads its runs. One round is fixed beforehand, with two the second follows what the first found."""

    rounds: int
    blocks: int

    @property
    def name(self) -> str:
        """As in the tables of the documentation."""
        return f"{'one round' if self.rounds == 1 else f'{self.rounds} rounds'}, {self.blocks} blocks"


DESIGNS = tuple(Design(rounds, blocks) for blocks in (4, 2, 8) for rounds in (1, 2))


@dataclass(frozen=True)
class Coverage:
    """How often the nominal 90 % interval of choice minus natural held the truth.

    Args:
        design, family: Of the runs and of the worlds; `pooled` is all families together.
        worlds: How many were played.
        covered: Share of them whose interval held the truth.
        low, high: Its 90 % interval (Clopper & Pearson 1934).
        width: Mean width of the intervals in bits/byte.
        bias: Mean predicted minus true difference in bits/byte.
    """

    design: str
    family: str
    worlds: int
    covered: float
    low: float
    high: float
    width: float
    bias: float


def coverage(
    seeds: int = 34,
    *,
    runs: int = 48,
    designs: Sequence[Design] = DESIGNS,
    settings: Sequence[Setting] = SETTINGS,
) -> list[Coverage]:
    """A row per design and family and one per design pooled, over `seeds` random worlds a family (about 200 in all)."""
    rows = []
    for design in designs:
        method = Regression(runs=runs, blocks=design.blocks, rounds=design.rounds)
        pooled: list[tuple[Estimate, float]] = []
        for setting in settings:
            worlds = [_world(setting, seed) for seed in range(seeds)]
            found = [_estimate(w, play(w, method)) for w in worlds]
            rows.append(_coverage(design, setting.name, found))
            pooled += found
        rows.append(_coverage(design, "pooled", pooled))
    return rows


def _coverage(design: Design, family: str, found: Sequence[tuple[Estimate, float]]) -> Coverage:
    count = sum(_covers(estimate, truth) for estimate, truth in found)
    interval = binomtest(count, len(found)).proportion_ci(0.9, "exact")
    width = float(np.mean([estimate.high - estimate.low for estimate, _ in found]))
    bias = float(np.mean([estimate.mean - truth for estimate, truth in found]))
    return Coverage(
        design.name, family, len(found), count / len(found), float(interval.low), float(interval.high), width, bias
    )


def _world(setting: Setting, seed: int) -> World:
    return world(setting.kind, seed, domains=setting.domains, pointed=setting.pointed)


def _estimate(world: World, played: Played) -> tuple[Estimate, float]:
    """The objective's predicted difference at the choice, and the true one."""
    return played.choice.predicted[0], world.value(played.choice.schedule.at(0).shares)


def contenders(runs: int, blocks: int) -> dict[str, Method]:
    """The methods compared: all that are listed but `halving`, which needs worlds of short runs (`bench.halving`).

    Those that train train `runs` runs, but `auto` may stop before, and MixMin trains one a domain. RegMix simulates a fifth
    of what it does by default, of which the same share is averaged: time.
    """
    return {
        "auto": Auto(runs=runs, blocks=blocks),
        "regression": Regression(runs=runs, blocks=blocks),
        "regression, one round": Regression(runs=runs, blocks=blocks, rounds=1),
        "regmix": RegMix(runs=runs, blocks=blocks, simulated=20_000, best=26),
        "climb": Climb(runs=runs, blocks=blocks),
        "random, one block": Random(runs=runs, blocks=1),
        "mixmin": MixMin(),
        "natural": Natural(),
        "temperature": Temperature(),
        "uniform": Uniform(),
        "unimax": UniMax(),
    }


def run(
    seeds: int = 50,
    *,
    runs: int = 48,
    blocks: int = 4,
    settings: Sequence[Setting] = SETTINGS,
    methods: Mapping[str, Method] | None = None,
) -> dict[str, dict[str, Figures]]:
    """Setting -> method -> figures, over `seeds` random worlds a setting; `methods` are the contenders when left out.

    Figures: `wins`, the share of seeds with less regret than best-of-n random on as many tokens (ties count half);
    `regret` in bits/byte to the best mixture under the caps, `floor_regret` that of random, `gain` over natural, `runs` made; for
    methods that give intervals also `coverage` of the nominal 90 % interval of the objective at the choice, `domain_coverage`
    that of every domain's loss there, `bias` the mean predicted minus true difference (negative: promises too much).
    """
    table: dict[str, dict[str, Figures]] = {}
    for setting in settings:
        worlds = [_world(setting, seed) for seed in range(seeds)]
        floor = [w.regret(play(w, Random(runs=runs, blocks=blocks)).choice.schedule.at(0)) for w in worlds]
        table[setting.name] = {
            name: _figures(worlds, [play(w, method) for w in worlds], np.array(floor))
            for name, method in (methods or contenders(runs, blocks)).items()
        }
    return table


def _figures(
    worlds: Sequence[World], played: Sequence[Played], floor_S: np.ndarray[tuple[int], np.dtype[np.float64]]
) -> Figures:
    mixtures = [p.choice.schedule.at(0) for p in played]
    regret_S = np.array([w.regret(m) for w, m in zip(worlds, mixtures, strict=True)])
    gain_S = np.array([-w.value(m.shares) for w, m in zip(worlds, mixtures, strict=True)])
    figures = {
        "wins": float(np.mean((regret_S < floor_S) + 0.5 * (regret_S == floor_S))),
        "regret": float(regret_S.mean()),
        "floor_regret": float(floor_S.mean()),
        "gain": float(gain_S.mean()),
        "runs": float(np.mean([len(p.trials) for p in played])),
    }
    if all(p.choice.predicted and not np.isnan(p.choice.predicted[0].low) for p in played):
        figures |= _calibration(worlds, played)
    return figures


def _calibration(worlds: Sequence[World], played: Sequence[Played]) -> Mapping[str, float]:
    covered, domains, bias = [], [], []
    for w, p in zip(worlds, played, strict=True):
        w_D = p.choice.schedule.at(0).shares
        loss_2T = w.losses(np.stack([w_D, w.problem.natural.shares]))
        covered.append(_covers(p.choice.predicted[0], w.value(w_D)))
        bias.append(p.choice.predicted[0].mean - w.value(w_D))
        estimates = p.choice.predicted[1 : 1 + len(w_D)]
        domains += [_covers(e, float(v)) for e, v in zip(estimates, loss_2T[0] - loss_2T[1], strict=True)]
    return {
        "coverage": float(np.mean(covered)),
        "domain_coverage": float(np.mean(domains)),
        "bias": float(np.mean(bias)),
    }


def _covers(estimate: Estimate, truth: float) -> bool:
    return estimate.low <= truth <= estimate.high
