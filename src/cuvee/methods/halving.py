"""Successive halving over complete short runs: many mixtures at few tokens, the best of them anew at more.

Letters: N runs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from cuvee.base.errors import UsageError
from cuvee.methods.contract import Method, Staged
from cuvee.methods.deciding import FEWEST, ask, decide, foreseen, starts, too_few, weighed
from cuvee.methods.rounds import check_size, regmix_round
from cuvee.mixture.weights import Mixture
from cuvee.plan.choice import Choice, Estimate
from cuvee.plan.problem import Problem
from cuvee.plan.rungs import Rung, ladder
from cuvee.plan.trial import Plan, Trial
from cuvee.predict.combine import DEFAULT, correlation, named
from cuvee.predict.optimise import minimise
from cuvee.predict.posterior import Predictor
from cuvee.predict.power import PowerLaw
from cuvee.predict.process import Process
from cuvee.predict.shorter import Climbing
from cuvee.predict.stack import Blend, Stack
from cuvee.predict.table import Table, mean_weights


@dataclass(frozen=True)
class Halving:
    """Many mixtures in short runs, the best share of every block again in longer ones, the last in runs of the proxies' tokens.

    Successive halving (Jamieson & Talwalkar 2016), but nothing is stopped in mid-course: every run of a rung is complete, with
    matched pools, a learning rate and a decay of its own, and what goes on is trained anew. Natural runs in every block of every
    rung and never stops. Runs that went no further are evidence at low fidelity: each rung's fit is the mean function of the next
    one's (Kennedy & O'Hagan 2000), and counts as far as it foretells full runs that were left out.

    Use it where short runs rank mixtures as full ones do (`cuvee bench halving` measures that) and a full run is dear. Leave it
    where domains are small, as pools shrink with the rung, and where intervals should be narrow: few mixtures run in full,
    and only those that did well when short. In worlds it was worse than `regression` on as many tokens in 21 of 24, and its nominal
    90 % intervals held the truth in 18 (docs/benchmarks.md).

    Args:
        runs: Runs of the first rung, natural's among them; the default takes the tokens of 48 full runs.
        blocks: Blocks over which they are spread.
        rungs: Lengths of runs, the last of them the proxies'.
        keep: Share of a block's mixtures that goes on, and share of a rung's tokens to those of the next.
        predictor: `auto`, which learns from all rungs, or another, which learns from the full runs alone.

    Raises:
        UsageError: fewer than two rungs or blocks, a share outside (0, 1), runs of which less than one mixture a block would be left.
    """

    name: ClassVar[str] = "halving"
    citation: ClassVar[tuple[str, ...]] = (
        "Jamieson & Talwalkar 2016, Non-stochastic Best Arm Identification and Hyperparameter Optimization, arXiv:1502.07943",
        "Kennedy & O'Hagan 2000, Predicting the output from a complex computer code when fast approximations are available, "
        "Biometrika 87",
    )
    runs: int = 64
    blocks: int = 4
    rungs: int = 3
    keep: float = 0.5
    predictor: str | Predictor = "auto"

    def __post_init__(self) -> None:
        if (
            min(self.rungs, self.blocks) < 2 or not 0 < self.keep < 1
        ):  # in one block nothing tells what rungs err in alike
            raise UsageError(
                f"halving: got rungs {self.rungs}, blocks {self.blocks}, keep {self.keep}",
                wanted="rungs >= 2, blocks >= 2, 0 < keep < 1",
            )
        check_size(self.name, self.runs, self.blocks, 1 + round(np.ceil(self.keep ** (1 - self.rungs) - 1e-9)))
        if isinstance(self.predictor, str):
            named(self.predictor)

    def propose(self, problem: Problem, trials: Sequence[Trial], rng: np.random.Generator) -> tuple[Plan, ...]:
        """The next rung: of the first all mixtures, of others natural and the best of the rung before; nothing after the last."""
        rungs = ladder(problem, self.rungs, self.keep)
        reached = [k for k, rung in enumerate(rungs) if rung.runs(trials)]
        if not reached:
            first = regmix_round(rungs[0].problem, self.runs, self.blocks, rng)
            return tuple(rungs[0].plan(plan.schedule.at(0), plan.block) for plan in first)
        if reached[-1] == len(rungs) - 1:
            return ()
        rung, after = rungs[reached[-1] : reached[-1] + 2]
        best = self._best(rung, trials)
        blocks = sorted({block for _, block in best})
        return tuple(after.plan(*pair) for pair in [*((problem.natural, block) for block in blocks), *best])

    def choose(self, problem: Problem, trials: Sequence[Trial], rng: np.random.Generator) -> Choice:
        """The optimum of the fit, with what is known of it; natural, projected, when too few full runs are done."""
        table = Table.from_trials(problem, trials)
        if len(table.today.ids) < FEWEST:
            return too_few(self.name, problem, table)
        rungs = self._tables(problem, trials)
        found = weighed(problem, table, self._predictor(rungs))
        question = ask(problem, found)
        choice = decide(self.name, problem, found, question, minimise(question, starts(problem, table)))
        first = len(ladder(problem, self.rungs, self.keep)[0].runs(trials))
        if first < self.runs:
            line = f"The shortest rung has {first} of {self.runs} runs: the full ones were not picked by it, and no rung is added to them."
            choice = replace(choice, why=(*choice.why, line))
        blend = found.posterior.full
        if not (self._learns and isinstance(blend, Blend)):
            return choice
        weight = float(blend.weights_KT[0].mean())
        ids = [trial for rung in rungs for trial in rung.ids]
        figures = {"short_runs": float(len(ids)), "short_weight": weight}
        *below, full = ladder(problem, self.rungs, self.keep)
        figures |= {f"rung_{number}_spearman": agreement(rung, full, trials) for number, rung in enumerate(below)}
        line = (
            f"{len(ids)} shorter runs count as evidence at low fidelity: the fit that climbs from them has {100 * weight:.0f} % "
            "of the prediction, by how well it foretold blocks that were left out. What short runs get wrong alike in all blocks is "
            "in no interval."
        )
        return replace(
            choice,
            why=(*choice.why, line),
            evidence=tuple(sorted({*choice.evidence, *ids})),
            diagnostics={**choice.diagnostics, **figures},
        )

    def predict(
        self, problem: Problem, trials: Sequence[Trial], mixtures: Sequence[Mixture]
    ) -> tuple[tuple[Estimate, ...], ...]:
        """The estimates of any mixtures, by the fit that `choose` would choose from; empty ones when too few runs are done."""
        predictor = self._predictor(self._tables(problem, trials))
        return foreseen(problem, Table.from_trials(problem, trials), predictor, mixtures)

    def stages(self, problem: Problem) -> tuple[tuple[Plan, int], ...]:
        """The runs of every rung, when none fails."""
        counts = [len(range(block, self.runs - self.blocks, self.blocks)) for block in range(self.blocks)]
        found = []
        for rung in ladder(problem, self.rungs, self.keep):
            found.append((rung.plan(problem.natural, 0), self.blocks + sum(counts)))
            counts = [kept(count, self.keep) for count in counts]
        return tuple(found)

    def _best(self, rung: Rung, trials: Sequence[Trial]) -> list[tuple[Mixture, int]]:
        """The mixtures that go on, each with its block: of every block the best share, by the difference to natural there.

        The order within a block is that of the objective itself, as natural's run is the same for all; so a block whose natural
        failed still has an order. Runs that did not end well are the first that stop.
        """
        problem = rung.problem
        runs = [t for t in rung.runs(trials) if t.plan.schedule.at(0) != problem.natural]
        table = Table.from_trials(problem, runs)
        value_N = table.objective(mean_weights(problem.objective, table.targets))
        tasted, mixture = Counter(t.plan.block for t in runs), {t.id: t.plan.schedule.at(0) for t in runs}
        found = []
        for block in table.blocks:
            inside = [i for i in np.argsort(value_N, kind="stable") if table.block_N[i] == block]
            found += [(mixture[table.ids[i]], block) for i in inside[: kept(tasted[block], self.keep)]]
        return found

    @property
    def _learns(self) -> bool:
        """Whether short runs are a part of the prediction."""
        return self.predictor in ("auto", DEFAULT)

    def _tables(self, problem: Problem, trials: Sequence[Trial]) -> tuple[Table, ...]:
        """The runs of every rung but the last."""
        below = ladder(problem, self.rungs, self.keep)[:-1]
        return tuple(Table.from_trials(rung.problem, rung.runs(trials)) for rung in below)

    def _predictor(self, rungs: tuple[Table, ...]) -> str | Predictor:
        """What climbs from the short runs, blended with what the full runs say alone; any predictor but the default as it is."""
        return Stack((Climbing(rungs), PowerLaw(), Process())) if self._learns else self.predictor


def kept(count: int, keep: float) -> int:
    """How many of a block's `count` mixtures go on: the share, rounded down, at least one where there is any."""
    return min(count, max(1, int(keep * count + 1e-9)))


def agreement(short: Rung, full: Rung, trials: Iterable[Trial]) -> float:
    """Rank correlation of the differences of mixtures that ended well in both rungs in the same block; NaN for too few."""
    trials = tuple(trials)
    first, second = differences(short, trials), differences(full, trials)
    both = sorted(first.keys() & second.keys(), key=lambda key: (key[0].units, key[1]))
    return correlation(np.array([first[key] for key in both]), np.array([second[key] for key in both]))


def differences(rung: Rung, trials: Iterable[Trial]) -> dict[tuple[Mixture, int], float]:
    """The objective's difference to natural's run in the same block and rung, by mixture and block; natural left out."""
    problem, runs = rung.problem, rung.runs(trials)
    table = Table.from_trials(problem, runs).today
    paired_N = table.paired(table.objective(mean_weights(problem.objective, table.targets)))
    tasted = {t.id: (t.plan.schedule.at(0), t.plan.block) for t in runs}
    rows = zip(table.ids, paired_N.tolist(), table.natural_N.tolist(), strict=True)
    return {tasted[trial]: value for trial, value, natural in rows if not natural and np.isfinite(value)}


_contract: type[Method] = Halving
_staged: type[Staged] = Halving
