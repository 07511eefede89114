"""Made-up studies: a noisy world whose losses are known, as far along as a test wants."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from cuvee.mixture.schedule import Schedule
from cuvee.mixture.weights import Mixture
from cuvee.plan.choice import Arm, Check, Choice, Estimate, Range, Verification
from cuvee.plan.problem import Guard, Problem, Proxy, Target
from cuvee.plan.trial import Cost, Curve, Plan, Trial
from cuvee.report.data import Evidence
from cuvee.study.layout import Lineup, Planned
from cuvee.study.transfer import Transfer, check

NAMES = (
    "math",
    "code_c",
    "prose",
    "law & order",
    "C/C++",
    "c/c++",
    "日本語のウェブ",
    "<script>alert(1)</script>",
    "a name that goes on and on and does not know when to stop",
    "objective",
)


def problem(domains: int = 6, *, guards: bool = True, target: int = 30_000_000) -> Problem:
    names = (*NAMES, *(f"domain {i}" for i in range(len(NAMES), domains)))[:domains]
    tokens = tuple(int(6_000_000 / (1 + 0.35 * i)) + 100_000 for i in range(domains))
    rest = tuple(Target(n) for n in names[2:])
    return Problem(
        domains=names,
        tokens=tokens,
        target_tokens=target,
        objective=(Target(names[0]), Target(names[1])),
        proxy=Proxy(tokens=1_875_000, size="0.6M"),
        max_epochs=4,
        guards=(Guard("the rest", rest, 0.02),) if guards and rest else (),
        small_pools="cap",
    )


def loss(w_D: np.ndarray[tuple[int], np.dtype[np.float64]], i: int) -> float:
    return 1.2 + 0.3 * math.exp(-6 * float(w_D[i])) + 0.02 * i / len(w_D)


def trial(question: Problem, mixture: Mixture, block: int, rng: np.random.Generator, split: str = "search") -> Trial:
    plan: Plan = question.plan(mixture, block, "verify" if split == "verify" else "search")
    steps = (plan.tokens // 4, plan.tokens // 2, 3 * plan.tokens // 4, plan.tokens)
    curves = []
    for i, name in enumerate(question.domains):
        end = loss(mixture.shares, i) + 0.02 * (block % 7) + rng.normal(0, 0.003)
        values = tuple(end + 0.5 * (1 - s / plan.tokens) for s in steps)
        curves.append(Curve(name, steps, tuple(v * 2.5 for v in values), values))
    provenance = {"python": "3.11.7", "torch": "2.9.0", "threads": "1"}
    cost = Cost(seconds=31.5, cpu_seconds=31.0, flops=2.1e13)
    return Trial(plan.id("f" * 32), plan, "done", tuple(curves), mixture.tokens(plan.tokens), cost, provenance)


def choice(question: Problem, trials: tuple[Trial, ...], gain: float = -0.06) -> Choice:
    w_D = np.full(len(question.domains), 0.4 / len(question.domains))
    w_D[:2] += 0.3
    mixture = Mixture.from_array(question.domains, question.feasible().project(w_D / w_D.sum()))
    rng = np.random.default_rng(1)

    def estimate(name: str, mean: float) -> Estimate:
        return Estimate(name, mean, mean - 0.012, mean + 0.012, 0.98 if mean < 0 else 0.03)

    domains = [
        estimate(d, loss(mixture.shares, i) - loss(question.natural.shares, i)) for i, d in enumerate(question.domains)
    ]
    guards = [Estimate(f"guard:{g.name}", 0.011, 0.004, 0.018, 0.97) for g in question.guards]
    checks = []
    for t in trials:
        measured = float(rng.normal(-0.02, 0.03))
        checks.append(Check(t.id, measured + float(rng.normal(0, 0.01)), measured))
    return Choice(
        method="regression",
        schedule=Schedule.constant(mixture),
        predicted=(estimate("objective", gain), *domains, *guards),
        near_optimal=tuple(
            Range(d, max(s - 0.05, 0), s + 0.06, 0.002)
            for d, s in zip(question.domains, mixture.shares.tolist(), strict=True)
        ),
        why=("Ridge on [w, log w], predicting each target.", "The cap of math binds."),
        evidence=tuple(t.id for t in trials),
        checks=tuple(checks),
        diagnostics={"lobo_spearman": 0.91, "lobo_rmse": 0.0102},
    )


def verification(question: Problem, chosen: Choice, mean: float = -0.055, half: float = 0.01) -> Verification:
    def arm(name: str, mixture: Mixture, centre: float) -> Arm:
        estimates = [Estimate("objective", centre, centre - half, centre + half, 0.99 if centre + half < 0 else 0.6)]
        estimates += [replace(e, mean=e.mean * 0.8, low=e.mean * 0.8 - half) for e in chosen.predicted[1:]]
        differences = tuple(centre + half * (b - 1.5) / 2 for b in range(4))
        return Arm(name, Schedule.constant(mixture), (1000, 1001, 1002, 1003), differences, tuple(estimates))

    uniform = Mixture.from_array(question.domains, np.ones(len(question.domains)))
    arms = (
        arm("choice", chosen.schedule.phases[0].mixture, mean),
        arm("natural", question.natural, 0.0),
        arm("uniform", uniform, -0.02),
        arm("unimax", uniform, -0.015),
        arm("best seen", uniform, -0.05),
    )
    return Verification(arms, 0.0081, ("a", "b"))


LARGER = Proxy(tokens=7_500_000, size="3M")


def larger(question: Problem, chosen: Choice, mean: float = -0.04, half: float = 0.01) -> Verification:
    """The same at a larger scale, in blocks of its own."""
    found = verification(question, chosen, mean, half)
    arms = tuple(replace(a, blocks=tuple(b + 1000 for b in a.blocks)) for a in found.arms)
    return replace(found, arms=arms, proxy=LARGER)


def transferred(question: Problem, trials: tuple[Trial, ...]) -> tuple[Transfer, tuple[Trial, ...]]:
    """The transfer check of the mixtures of the search, and its larger runs."""
    rng, done = np.random.default_rng(7), [t for t in trials if t.status == "done"]
    at = replace(question, proxy=LARGER)
    large = tuple(trial(at, t.plan.schedule.at(0), t.plan.block, rng) for t in done)
    arms = {"small": done, "large": list(large)}
    lineup = Lineup(math.nan, {name: tuple(Planned(t.id, t.plan) for t in arm) for name, arm in arms.items()})
    return check(question, lineup, (*done, *large), LARGER), large


def study(domains: int = 6, *, stage: str = "verified", target: int = 30_000_000) -> Evidence:
    """A study at the stage `empty`, `search`, `chosen`, `verified` or `larger`; all but the first two checked transfer."""
    question = problem(domains, target=target)
    evidence = Evidence("a study", "work/a study", question, "regression", "f" * 32, 1, ())
    if stage == "empty":
        return evidence
    rng = np.random.default_rng(0)
    feasible = question.feasible()
    trials = []
    for block in range(4):
        centre = Mixture.from_array(question.domains, feasible.project(np.full(domains, 1 / domains)))
        designs = [feasible.project(rng.dirichlet(np.full(domains, 0.7))) for _ in range(10)]
        mixtures = [question.natural, centre, *(Mixture.from_array(question.domains, w) for w in designs)]
        trials += [trial(question, m, block, rng) for m in mixtures]
    trials[5] = replace(trials[5], status="diverged", curves=(), message="loss is not finite at step 210")
    trials[17] = replace(trials[17], status="failed", curves=(), message="<b>killed</b> & gone")
    searched = replace(evidence, trials=tuple(sorted(trials, key=lambda t: t.id)))
    if stage == "search":
        return searched
    transfer, large = transferred(question, searched.trials)
    chosen = choice(question, searched.trials)
    done = replace(searched, choice=chosen, transfer=transfer, transfer_trials=large)
    assert done.choice is not None
    if stage == "chosen":
        return done
    verified = verification(question, done.choice)
    proxies = replace(done, verification=verified, verification_trials=_fresh(question, verified, rng))
    if stage == "verified":
        return proxies
    above = larger(question, done.choice)
    return replace(proxies, larger=above, larger_trials=_fresh(replace(question, proxy=LARGER), above, rng))


def _fresh(question: Problem, found: Verification, rng: np.random.Generator) -> tuple[Trial, ...]:
    """The runs of natural and the choice in the blocks of a verification."""
    arms = [a for a in found.arms if a.name in ("natural", "choice", "present")]
    return tuple(trial(question, a.schedule.at(0), b, rng, "verify") for a in arms for b in a.blocks)
