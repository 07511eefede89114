"""The judge: fresh blocks on the verify split, paired differences to natural, Student intervals, the detectable gain.

Every arm is run in the same fresh blocks, so a block's initial weights, data order and pools cancel in the difference
to natural's run there, and what is left varies between blocks. Blocks are the sample: B of them give B - 1 degrees of
freedom (design section 4.5).

Letters: B blocks. `d_B` differences to natural, one a block; negative is better.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from cuvee.base.rng import generator
from cuvee.methods.baselines import Uniform, UniMax
from cuvee.mixture.schedule import Phase, Schedule
from cuvee.plan.choice import Arm, Choice, Estimate, Verification
from cuvee.plan.problem import Problem, Target
from cuvee.plan.trial import Plan, Trial
from cuvee.study.layout import Lineup, Planned

FIRST_BLOCK = 1000
"""Blocks of verification are numbered from here on; those of search stay below."""
CONFIDENCE = 0.9
POWER, LEVEL = 0.8, 0.05


def value(targets: Sequence[Target], trial: Trial) -> float:
    """Weighted mean loss of the targets in bits/byte; NaN when one was not scored."""
    total = sum(t.weight for t in targets)
    return sum(t.weight * trial.loss(t.name) for t in targets) / total


def arms(problem: Problem, choice: Choice, trials: Sequence[Trial]) -> dict[str, Schedule]:
    """The mixtures to compare, as proxies train on them: the choice, natural, what the methods `uniform` and `unimax`
    choose, the team's present blend projected onto the bounds if given, and the best mixture that the search has seen."""
    rng = generator(problem.seed, "study.arms")  # methods are given one; these two draw nothing
    found = {
        "choice": scaled(choice.schedule, problem),
        "natural": Schedule.constant(problem.natural),
        "uniform": Uniform().choose(problem, (), rng).schedule,
        "unimax": UniMax().choose(problem, (), rng).schedule,
    }
    if problem.present is not None:
        found["present"] = Schedule.constant(problem.feasible().project_mixture(problem.present))
    best = best_observed(problem, trials)
    return found if best is None else {**found, "best seen": best}


def scaled(schedule: Schedule, problem: Problem) -> Schedule:
    """The schedule of a run of R tokens on the scale of a proxy: phases start at the same fraction of training."""
    ratio = problem.proxy.tokens / problem.target_tokens
    return Schedule(tuple(Phase(round(p.start * ratio), p.mixture) for p in schedule.phases))


def best_observed(problem: Problem, trials: Sequence[Trial]) -> Schedule | None:
    """The feasible schedule with the lowest mean difference to natural over the blocks it ran in; None without any."""
    feasible = problem.feasible()
    means = {
        schedule: float(np.mean(d))
        for schedule, d in by_schedule(problem, trials).items()
        if feasible.contains(schedule.mean(problem.proxy.tokens).shares)
    }
    return min(means, key=lambda s: (means[s], s.phases[0].mixture.units)) if means else None


def by_schedule(problem: Problem, trials: Sequence[Trial]) -> dict[Schedule, list[float]]:
    """Objective differences to natural's run in the same block, per schedule other than natural."""
    natural = Schedule.constant(problem.natural)
    scored = {(t.plan.schedule, t.plan.block): value(problem.objective, t) for t in trials if t.status == "done"}
    found: dict[Schedule, list[float]] = {}
    for (schedule, block), loss in sorted(scored.items(), key=lambda item: item[0][1]):
        if schedule != natural and (natural, block) in scored:
            found.setdefault(schedule, []).append(loss - scored[natural, block])
    return found


def noise(problem: Problem, trials: Sequence[Trial]) -> float:
    """Standard deviation between blocks of the objective's difference to natural, in bits/byte, pooled over the
    schedules that ran in two blocks or more; NaN without any."""
    repeated = [np.array(d) for d in by_schedule(problem, trials).values() if len(d) > 1]
    freedom = sum(len(d) - 1 for d in repeated)
    return math.sqrt(sum(float(((d - d.mean()) ** 2).sum()) for d in repeated) / freedom) if freedom else math.nan


def detectable(sd: float, blocks: int) -> float:
    """The gain in bits/byte that a one-sided paired t test at 5 % over so many blocks finds with 80 % power.

    Args:
        sd: Standard deviation of the paired differences between blocks.
        blocks: B; below 2 no gain is detectable (infinite).
    """
    if blocks < 2 or math.isnan(sd):
        return math.nan if math.isnan(sd) else math.inf
    from scipy import optimize, special

    critical = float(special.stdtrit(blocks - 1, 1 - LEVEL))

    def missing(shift: float) -> float:
        return 1 - float(special.nctdtr(blocks - 1, shift, critical)) - POWER

    shift = optimize.brentq(missing, 0.0, 10 * (critical + 3))
    return float(shift) * sd / math.sqrt(blocks)


def student(name: str, d_B: Sequence[float], limit: float = 0.0) -> Estimate:
    """Mean, 90 % interval and P(mean < limit) of paired differences by Student's t with B - 1 degrees of freedom.

    One block gives an infinite interval; differences that are all equal give an interval of no width.
    """
    d, n = np.asarray(d_B, np.float64), len(d_B)
    mean = float(d.mean())
    if n == 1:
        return Estimate(name, mean, -math.inf, math.inf, 0.5)
    error = float(d.std(ddof=1)) / math.sqrt(n)
    if error == 0:
        return Estimate(name, mean, mean, mean, 0.5 if mean == limit else float(mean < limit))
    from scipy import special

    half = float(special.stdtrit(n - 1, 0.5 + CONFIDENCE / 2)) * error
    return Estimate(name, mean, mean - half, mean + half, float(special.stdtr(n - 1, (limit - mean) / error)))


def lineup(problem: Problem, choice: Choice, trials: Sequence[Trial], seeds: int, fingerprint: str) -> Lineup:
    """The runs of every arm in `seeds` fresh blocks, with the gain they can detect."""
    blocks = range(FIRST_BLOCK, FIRST_BLOCK + seeds)
    planned = {
        name: tuple(_planned(_plan(problem, schedule, block), fingerprint) for block in blocks)
        for name, schedule in arms(problem, choice, trials).items()
    }
    return Lineup(detectable(noise(problem, trials), seeds), planned)


def _plan(problem: Problem, schedule: Schedule, block: int) -> Plan:
    return replace(problem.plan(schedule.phases[0].mixture, block, "verify"), schedule=schedule)


def _planned(plan: Plan, fingerprint: str) -> Planned:
    return Planned(plan.id(fingerprint), plan)


def verdict(problem: Problem, lineup: Lineup, trials: Iterable[Trial]) -> Verification:
    """What the finished runs of a line-up say."""
    ended = {t.id: t for t in trials}
    done = {i: t for i, t in ended.items() if t.status == "done"}
    judged = [_judge(problem, name, planned, lineup.arms["natural"], done) for name, planned in lineup.arms.items()]
    missing = [
        f"{name}, block {p.plan.block}: {ended[p.id].status if p.id in ended else 'not run'}"
        for name, planned in lineup.arms.items()
        for p in planned
        if p.id not in done
    ]
    return Verification(tuple(judged), lineup.detectable, tuple(sorted(ended)), tuple(missing))


def _judge(
    problem: Problem, name: str, planned: Sequence[Planned], natural: Sequence[Planned], done: Mapping[str, Trial]
) -> Arm:
    pairs = [(done[p.id], done[n.id]) for p, n in zip(planned, natural, strict=True) if p.id in done and n.id in done]
    blocks = tuple(t.plan.block for t, _ in pairs)

    def differences(targets: Sequence[Target]) -> list[float]:
        return [value(targets, t) - value(targets, n) for t, n in pairs]

    def relative(targets: Sequence[Target]) -> list[float]:
        return [value(targets, t) / value(targets, n) - 1 for t, n in pairs]

    d_B = differences(problem.objective)
    estimates = _estimates(problem, d_B, differences, relative) if pairs else ()
    return Arm(name, planned[0].plan.schedule, blocks, tuple(d_B), estimates)


def _estimates(
    problem: Problem,
    d_B: Sequence[float],
    differences: Callable[[Sequence[Target]], list[float]],
    relative: Callable[[Sequence[Target]], list[float]],
) -> tuple[Estimate, ...]:
    targets = [student(d, differences((Target(d),))) for d in problem.domains]
    guards = [student(f"guard:{g.name}", relative(g.targets), g.tolerance) for g in problem.guards]
    return (student("objective", d_B), *targets, *guards)
