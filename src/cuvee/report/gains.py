"""What the choice does to every target: against natural and the present blend, by each source of evidence.

Letters: B blocks, D domains.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cuvee.plan.choice import Estimate, Verification
from cuvee.plan.problem import Problem, Target
from cuvee.plan.trial import Trial
from cuvee.report.data import AggregationRow, Evidence, GainRow, GuardRow
from cuvee.report.text import finite
from cuvee.study import judge
from cuvee.study.alternatives import shares
from cuvee.study.documents import text_error

Estimates = tuple[Estimate, ...]


def objective(estimates: Estimates) -> Estimate | None:
    """The objective's estimate: the first."""
    return estimates[0] if estimates else None


def of_arm(verification: Verification | None, name: str) -> Estimates:
    """The estimates of that arm; empty when it was not verified."""
    arms = verification.arms if verification is not None else ()
    return next((a.estimates for a in arms if a.name == name), ())


def gains(evidence: Evidence) -> tuple[GainRow, ...]:
    """The objective, its targets by weight, then whatever else is scored."""
    problem, choice = evidence.problem, evidence.choice
    predicted = choice.predicted if choice else ()
    verified, larger = of_arm(evidence.verification, "choice"), of_arm(evidence.larger, "choice")
    weight = shares(problem.objective)
    units = {m.name: m.unit for m in problem.measures}
    margins = {m.name for m in problem.measures if m.kind in ("choice", "outside")}
    stages = (evidence.trials, evidence.verification_trials, evidence.larger_trials)

    def row(name: str, targets: tuple[Target, ...], found: tuple[Estimate | None, ...]) -> GainRow:
        a, b, c = found
        margin = any(t.name in margins for t in targets)
        # differences of the search are to natural on the search split, larger runs have a lower loss
        own, verify, large = (None if margin else finite(level(problem, targets, trials)) for trials in stages)
        return GainRow(
            name=name,
            weight=1.0 if targets == problem.objective else weight.get(name, 0.0),
            unit=units.get(targets[0].name, "bits/byte"),
            level=next((found for found in (large, verify, own) if found is not None), None),
            predicted=a,
            verified=b,
            larger=c,
            present=against(evidence.verification, evidence.verification_trials, name, targets),
            present_larger=against(evidence.larger, evidence.larger_trials, name, targets),
            levels=(own, verify, large),
        )

    sources = (predicted, verified, larger)
    if not any(sources):
        return ()
    rows = [row("objective", problem.objective, tuple(objective(s) for s in sources))]
    for name in sorted(problem.scored, key=lambda d: -weight.get(d, 0)):
        found = tuple(of_target(s, name) for s in sources)
        if any(found):
            rows.append(row(name, (Target(name),), found))
    return tuple(rows)


def level(problem: Problem, targets: Sequence[Target], trials: Sequence[Trial]) -> float:
    """Natural's mean of the targets in `trials`; NaN where none is natural's."""
    runs = [t for t in trials if t.status == "done" and is_natural(problem, t)]
    return float(np.mean([judge.value(targets, t) for t in runs])) if runs else math.nan


def is_natural(problem: Problem, trial: Trial) -> bool:
    """Whether the run trained on natural, and is none of fewer tokens than others of its scale."""
    return trial.plan.kind == "train" and trains_on_natural(problem, trial)


def trains_on_natural(problem: Problem, trial: Trial) -> bool:
    """Whether the run trained on natural, however long."""
    return tuple(p.mixture for p in trial.plan.schedule.phases) == (problem.natural,)


def against(
    verification: Verification | None, trials: Sequence[Trial], name: str, targets: Sequence[Target]
) -> Estimate | None:
    """The choice's difference to the present blend, in the blocks that both ran in; None without any."""
    pairs = paired(verification, trials, "choice", "present")
    d_B = [judge.value(targets, a) - judge.value(targets, b) for a, b in pairs]
    if not d_B or not all(map(math.isfinite, d_B)):
        return None
    return judge.student(name, d_B, text_error=text_error(targets, pairs))


def paired(
    verification: Verification | None, trials: Sequence[Trial], ours: str, theirs: str
) -> list[tuple[Trial, Trial]]:
    """The trials of two arms in the blocks that both ran in."""
    arms = {a.name: a.schedule for a in (verification.arms if verification else ())}
    if ours not in arms or theirs not in arms:
        return []
    done = {(t.plan.schedule, t.plan.block): t for t in trials if t.status == "done"}
    blocks = sorted({block for _, block in done})
    keys = [((arms[ours], b), (arms[theirs], b)) for b in blocks]
    return [(done[a], done[b]) for a, b in keys if a in done and b in done]


def of_target(estimates: Estimates, name: str) -> Estimate | None:
    """The estimate of that target."""
    # the objective stands first and guards last, so that a domain may be called `objective` or `guard:x`
    return next((e for e in estimates[1:] if e.name == name), None)


def guards(evidence: Evidence) -> tuple[GuardRow, ...]:
    """Every guard with what the search and both verifications say of it."""

    def find(estimates: Estimates, name: str) -> Estimate | None:
        return next((e for e in reversed(estimates) if e.name == f"guard:{name}"), None)

    predicted = evidence.choice.predicted if evidence.choice else ()
    verified, larger = of_arm(evidence.verification, "choice"), of_arm(evidence.larger, "choice")
    return tuple(
        GuardRow(
            name=g.name,
            targets=tuple(t.name for t in g.targets),
            tolerance=g.tolerance,
            probability=g.probability,
            predicted=find(predicted, g.name),
            verified=find(verified, g.name),
            larger=find(larger, g.name),
        )
        for g in evidence.problem.guards
    )


def aggregations(evidence: Evidence) -> tuple[AggregationRow, ...]:
    """The declared objective beside two other means and the worst domain."""
    problem = evidence.problem

    def means(estimates: Estimates) -> NDArray[np.float64] | None:
        found = [of_target(estimates, d) for d in problem.domains]
        return np.array([e.mean for e in found if e is not None]) if found and all(found) else None

    predicted = evidence.choice.predicted if evidence.choice else ()
    sources = (predicted, of_arm(evidence.verification, "choice"), of_arm(evidence.larger, "choice"))
    known = [means(s) for s in sources]
    if all(m is None for m in known):
        return ()

    def row(name: str, weights_D: NDArray[np.float64]) -> AggregationRow:
        return AggregationRow(name, *(None if m is None else float(weights_D @ m) for m in known))

    count_D, tokens_D = len(problem.domains), np.array(problem.tokens, np.float64)
    declared = [objective(s) for s in sources]
    worst = [None if m is None else float(m.max()) for m in known]
    return (
        AggregationRow("The declared objective", *(e.mean if e else None for e in declared)),
        row("Mean over all domains", np.full(count_D, 1 / count_D)),
        row("Mean over all domains by their tokens", tokens_D / tokens_D.sum()),
        AggregationRow("The domain that gains least or loses most", *worst),
    )
