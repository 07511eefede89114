"""Stand-ins for tests of studies: a training that is a formula, a small method, a runner in this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from cuvee.base.rng import generator
from cuvee.mixture.schedule import Schedule
from cuvee.mixture.weights import Mixture
from cuvee.plan.choice import Choice
from cuvee.plan.problem import Guard, Problem, Proxy, Target
from cuvee.plan.trial import Cost, Curve, Plan, Trial
from cuvee.shards.corpus import Corpus
from cuvee.study import judge
from cuvee.study.runners.local import Outcome
from cuvee.study.worker import Trainer, work


def fake_train(plans: Sequence[Plan], corpus: Corpus, **paths: Path | None) -> tuple[Trial, ...]:
    """Losses by formula: a target's own share helps, blocks shift all trials alike, a little noise of each trial."""
    return tuple(_trial(plan, corpus.fingerprint) for plan in plans)


def _trial(plan: Plan, fingerprint: str) -> Trial:
    w_D = plan.schedule.phases[0].mixture.shares
    shift = generator(plan.seed, "fake/block", plan.block).normal(0, 0.1, len(plan.targets))
    trial = plan.id(fingerprint)
    own = generator(int(trial[:8], 16), "fake/trial").normal(0, 0.01, len(plan.targets))
    losses = 2 - 0.5 * np.log(w_D + 0.02) / 2 + shift + own
    curves = [
        Curve(target, (plan.tokens,), (float(loss) * 2,), (float(loss),))
        for target, loss in zip(plan.targets, losses, strict=True)
    ]
    realised = plan.schedule.phases[0].mixture.tokens(plan.tokens)
    return Trial(trial, plan, "done", tuple(curves), realised, Cost(0.5, 0.5, 1e6), {"trainer": "formula"})


@dataclass(frozen=True)
class Grid:
    """Random mixtures in every block, in rounds; chooses the one with the lowest mean difference to natural."""

    name: ClassVar[str] = "grid"
    per_round: int = 2
    rounds: int = 2
    blocks: int = 2

    def propose(self, problem: Problem, trials: Sequence[Trial], rng: np.random.Generator) -> tuple[Plan, ...]:
        runs = self.blocks * (1 + self.per_round * self.rounds)
        if len(trials) >= runs:
            return ()
        alphas = np.ones(len(problem.domains))
        mixtures = [Mixture.from_array(problem.domains, rng.dirichlet(alphas)) for _ in range(self.per_round)]
        first = [] if trials else [problem.natural]
        return tuple(problem.plan(m, block) for m in [*first, *mixtures] for block in range(self.blocks))

    def choose(self, problem: Problem, trials: Sequence[Trial], rng: np.random.Generator) -> Choice:
        best = judge.best_observed(problem, trials)
        return Choice(
            self.name,
            best or Schedule.constant(problem.natural),
            why=(f"drawn {rng.random()}",),
            evidence=tuple(t.id for t in trials),
        )


@dataclass(frozen=True)
class Inline:
    """Makes the runs in this process, one job after the other."""

    train: Trainer = fake_train

    def run(self, jobs: Sequence[Path], poll: Callable[[], None]) -> tuple[Outcome, ...]:
        for job in jobs:
            work(job, self.train)
            poll()
        return tuple(Outcome(job, 0, "") for job in jobs)


def problem(corpus: Corpus, seed: int = 0, target_tokens: int = 40_000, guards: tuple[Guard, ...] = ()) -> Problem:
    """A question about a corpus of `testing.corpora.synthetic`, with proxies of 16 steps."""
    return Problem.from_corpus(
        corpus,
        target_tokens=target_tokens,
        targets={"a": 1, "c": 1},
        max_epochs=4,
        proxy=Proxy(tokens=4096, size="0.1M", seq_len=16, batch=16, eval_points=1),
        guards=guards,
        seed=seed,
    )


GUARD = Guard("rest", (Target("b"),), tolerance=0.05)
