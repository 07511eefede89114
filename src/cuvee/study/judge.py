"""The judge: fresh blocks on the verify split, paired differences to natural, Student intervals, the detectable gain.

It judges at the proxies' scale, which tests the predictor, and at a larger one, which tests transfer (design section 4.6).

Every arm is run in the same fresh blocks, so a block's initial weights, data order and pools cancel in the difference
to natural's run there, and what is left varies between blocks. Blocks are the sample: B of them give B - 1 degrees of
freedom (design section 4.5). What other held-out documents would have said is added (`study.documents`).

Letters: B blocks. `d_B` differences to natural, one a block; negative is better.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from cuvee.base.rng import generator
from cuvee.methods.baselines import Uniform, UniMax
from cuvee.mixture.schedule import Schedule
from cuvee.plan.choice import Arm, Choice, Estimate, Verification
from cuvee.plan.experts import mixtures
from cuvee.plan.problem import Guard, Problem, Proxy, Target
from cuvee.plan.trial import Plan, Trial
from cuvee.predict.detect import detectable
from cuvee.study.documents import forgetting_error, text_error
from cuvee.study.layout import Lineup, Planned

FIRST_BLOCK, FIRST_LARGE = 1000, 2000
"""Blocks of verification are numbered from here on, at the proxies' and at a larger scale; those of search stay below."""
CONFIDENCE = 0.9


def value(targets: Sequence[Target], trial: Trial) -> float:
    """Weighted mean loss of the targets in bits/byte; NaN when one was not scored."""
    total = sum(t.weight for t in targets)
    return sum(t.weight * trial.loss(t.name) for t in targets) / total


def start_value(targets: Sequence[Target], trial: Trial) -> float:
    """As `value`, of the checkpoint that the run started from, before training."""
    total = sum(t.weight for t in targets)
    return sum(t.weight * trial.start_loss(t.name) for t in targets) / total


def arms(problem: Problem, choice: Choice, trials: Sequence[Trial]) -> dict[str, Schedule]:
    """The schedules to compare, as the target run would use them: the choice, natural, what the methods `uniform` and `unimax`
    choose, the team's present blend projected onto the bounds if given, and the best mixture that the search has seen."""
    rng = generator(problem.seed, "study.arms")  # methods are given one; these two draw nothing
    found = {
        "choice": choice.schedule,
        "natural": Schedule.constant(problem.natural),
        "uniform": Uniform().choose(problem, (), rng).schedule,
        "unimax": UniMax().choose(problem, (), rng).schedule,
    }
    if problem.present is not None:
        found["present"] = Schedule.constant(problem.feasible().project_mixture(problem.present))
    best = best_observed(problem, trials)
    return found if best is None else {**found, "best seen": stretched(best, problem)}


def scaled(schedule: Schedule, problem: Problem) -> Schedule:
    """The schedule of a run of R tokens on the scale of a proxy: phases start at the same fraction of training."""
    return schedule.stretched(problem.proxy.tokens / problem.target_tokens)


def stretched(schedule: Schedule, problem: Problem) -> Schedule:
    """The schedule of a proxy on the scale of a run of R tokens: the inverse of `scaled`."""
    return schedule.stretched(problem.target_tokens / problem.proxy.tokens)


def judges(verification: Verification, choice: Choice, problem: Problem) -> bool:
    """Whether it is of this very choice, and not of an earlier one."""
    at = replace(problem, proxy=verification.proxy or problem.proxy)
    return any(a.name == "choice" and a.schedule == scaled(choice.schedule, at) for a in verification.arms)


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
    """Objective differences to natural's run in the same block, per schedule other than natural; of runs that have one."""
    natural = Schedule.constant(problem.natural)
    values = ((t.plan, value(problem.objective, t)) for t in mixtures(trials) if t.status == "done")
    scored = {(plan.schedule, plan.block): loss for plan, loss in values if math.isfinite(loss)}
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


def student(name: str, d_B: Sequence[float], limit: float = 0.0, text_error: float = 0.0) -> Estimate:
    """Mean, 90 % interval and P(mean < limit) of paired differences by Student's t with B - 1 degrees of freedom.

    One block gives an infinite interval; differences that are all equal give an interval of no width.

    Args:
        text_error: Standard error by the choice of documents, the same in all blocks; added in squares.
    """
    d, n = np.asarray(d_B, np.float64), len(d_B)
    mean = float(d.mean())
    if n == 1:
        return Estimate(name, mean, -math.inf, math.inf, 0.5, text_error)
    error = math.hypot(float(d.std(ddof=1)) / math.sqrt(n), text_error)
    if error == 0:
        return Estimate(name, mean, mean, mean, 0.5 if mean == limit else float(mean < limit))
    from scipy import special

    half = float(special.stdtrit(n - 1, 0.5 + CONFIDENCE / 2)) * error
    sure = float(special.stdtr(n - 1, (limit - mean) / error))
    return Estimate(name, mean, mean - half, mean + half, sure, text_error)


def lineup(
    problem: Problem, choice: Choice, trials: Sequence[Trial], seeds: int, fingerprint: str, at: Proxy | None = None
) -> Lineup:
    """The runs of every arm in `seeds` fresh blocks, with the gain they can detect.

    Args:
        at: The larger runs, with pools of their own; the study's proxies when left out. What is detectable is said from
            the proxies' noise all the same: none other is known before.
    """
    first = FIRST_BLOCK if at is None else FIRST_LARGE
    at_scale = problem if at is None else replace(problem, proxy=at)
    planned = {
        name: tuple(_planned(_plan(at_scale, schedule, b), fingerprint) for b in range(first, first + seeds))
        for name, schedule in arms(problem, choice, trials).items()
    }
    return Lineup(detectable(noise(problem, trials), seeds), planned)


def _plan(problem: Problem, schedule: Schedule, block: int) -> Plan:
    plan = problem.plan(schedule.phases[0].mixture, block, "verify")
    return replace(plan, schedule=scaled(schedule, problem))


def _planned(plan: Plan, fingerprint: str) -> Planned:
    return Planned(plan.id(fingerprint), plan)


def verdict(problem: Problem, lineup: Lineup, trials: Iterable[Trial], at: Proxy | None = None) -> Verification:
    """What the finished runs of a line-up say; `at` as it was made with."""
    ended = {t.id: t for t in trials}
    done = {i: t for i, t in ended.items() if t.status == "done"}
    judged = [_judge(problem, name, planned, lineup.arms["natural"], done) for name, planned in lineup.arms.items()]
    missing = [
        f"{name}, block {p.plan.block}: {ended[p.id].status if p.id in ended else 'not run'}"
        for name, planned in lineup.arms.items()
        for p in planned
        if p.id not in done
    ]
    return Verification(
        tuple(judged),
        lineup.detectable,
        tuple(sorted(ended)),
        tuple(missing),
        problem.proxy if at is None else at,
        problem.unit,
    )


def _judge(
    problem: Problem, name: str, planned: Sequence[Planned], natural: Sequence[Planned], done: Mapping[str, Trial]
) -> Arm:
    pairs = [(done[p.id], done[n.id]) for p, n in zip(planned, natural, strict=True) if p.id in done and n.id in done]
    blocks = tuple(t.plan.block for t, _ in pairs)
    if not pairs:
        return Arm(name, planned[0].plan.schedule, (), (), ())

    def differences(targets: Sequence[Target]) -> list[float]:
        return [value(targets, t) - value(targets, n) for t, n in pairs]

    def judged(name: str, targets: Sequence[Target]) -> Estimate:
        return student(name, differences(targets), text_error=text_error(targets, pairs))

    def guarded(guard: Guard) -> Estimate:
        if guard.against == "checkpoint":
            base_B = [start_value(guard.targets, t) for t, _ in pairs]
            text = forgetting_error(guard.targets, [t for t, _ in pairs])
        else:
            base_B = [value(guard.targets, n) for _, n in pairs]
            text = text_error(guard.targets, pairs)
        rises = zip((value(guard.targets, t) for t, _ in pairs), base_B, strict=True)
        relative_B = [(loss - base) / abs(base) for loss, base in rises]
        return student(f"guard:{guard.name}", relative_B, guard.tolerance, text / float(np.mean(np.abs(base_B))))

    estimates = (
        judged("objective", problem.objective),
        *(judged(name, (Target(name),)) for name in problem.scored),
        *(guarded(guard) for guard in problem.guards),
    )
    return Arm(name, planned[0].plan.schedule, blocks, tuple(differences(problem.objective)), estimates)
