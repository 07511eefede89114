"""What lifted runs save: regret and ranks in edited worlds against the number of new runs, with and without the runs from before.

The world after an edit is drawn by `testing.worlds`; the one before it is that under the edit's own map: a domain that was
split has the mean use of its parts, those that were merged have it as their mean, one that was removed has a use of its own,
a revised one a use that differs.

Letters: D domains after the edit, T targets, S seeds, C numbers of new runs, N mixtures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, get_args

import numpy as np

from cuvee.base.progress import Progress, Silent
from cuvee.base.rng import generator
from cuvee.methods.deciding import ask, starts, weighed
from cuvee.methods.regression import Regression
from cuvee.mixture.designs import cloud
from cuvee.mixture.edits import Add, Edit, Merge, Remove, Revise, Split
from cuvee.mixture.weights import Array, Mixture
from cuvee.plan.past import Past, PastRun
from cuvee.plan.problem import Problem, Target
from cuvee.plan.trial import Trial
from cuvee.predict.combine import correlation
from cuvee.predict.optimise import minimise
from cuvee.predict.table import Table
from cuvee.testing.worlds import KINDS, World, world

Changed = Literal["add", "remove", "split", "merge", "revise"]
EDITED: tuple[Changed, ...] = get_args(Changed)
SEEDS = 6
CHANGED = 0.3
"""How much of a revised domain's use is another's."""
RANKED = 200
"""Mixtures that are to be put in order."""
Figures = tuple[float, float]
"""Regret in bits/byte, and the rank correlation of predicted and true objectives."""


def run(
    seeds: int = SEEDS,
    *,
    runs: Sequence[int] = (8, 16, 24, 32, 48),
    reused: Sequence[int] = (8, 16, 24),
    before: int = 48,
    edits: Sequence[Changed] = EDITED,
    predictor: str = "auto",
    progress: Progress | None = None,
) -> list[dict[str, object]]:
    """A row per edit and number of new runs that were made beside old ones: means over worlds, of every family in turn.

    `saved_by_regret` is how many more new runs alone have the regret of those beside old ones, by a line through the numbers
    tried and no further; negative where the old runs cost some. `saved_by_rank` is the same of the rank correlation.

    Args:
        seeds: Worlds an edit.
        runs: New runs alone, ascending, in four blocks, under 16 in two.
        reused: New runs beside old ones, the same way; some of `runs`.
        before: Runs of the study before the edit.
        edits: Which.
        predictor: Of both.
        progress: Advanced by one for every world.
    """
    rows: list[dict[str, object]] = []
    for name in edits:
        alone_S, beside_S, natural_S = [], [], []
        for seed in range(seeds):
            new, lifted = edited(seed, name, before)
            alone_S.append([judged(new, new.problem, count, predictor) for count in runs])
            beside_S.append([judged(new, lifted, count, predictor) for count in reused])
            natural_S.append(new.regret(new.problem.natural))
            (progress or Silent()).advance()
        alone_SC2, beside_SC2 = np.array(alone_S), np.array(beside_S)
        alone_C2, beside_C2 = alone_SC2.mean(0), beside_SC2.mean(0)
        for at, count in enumerate(reused):
            own = list(runs).index(count)
            better = beside_SC2[:, at, 0] < alone_SC2[:, own, 0]
            rows.append(
                {
                    "edit": name,
                    "new_runs": count,
                    "natural": float(np.mean(natural_S)),
                    "regret_alone": float(alone_C2[own, 0]),
                    "regret_beside_old": float(beside_C2[at, 0]),
                    "better_in": f"{int(better.sum())} of {seeds}",
                    "saved_by_regret": _saved(runs, -alone_C2[:, 0], count, -beside_C2[at, 0]),
                    "rank_alone": float(alone_C2[own, 1]),
                    "rank_beside_old": float(beside_C2[at, 1]),
                    "saved_by_rank": _saved(runs, alone_C2[:, 1], count, beside_C2[at, 1]),
                }
            )
    return rows


def _saved(runs: Sequence[int], skill_C: Array, count: int, skill: float) -> int:
    """How many more than `count` runs alone have that skill; what more runs had once, even more are taken to have too."""
    best_C = np.maximum.accumulate(skill_C)
    # the line needs ascending values: of equal ones the first number of runs counts
    first_C = np.flatnonzero(np.append(True, np.diff(best_C) > 0))
    return round(float(np.interp(skill, best_C[first_C], np.array(runs)[first_C]))) - count


def judged(world: World, problem: Problem, count: int, predictor: str) -> Figures:
    """One round of `count` runs of `problem` in `world`, and what the best prediction of it misses."""
    table = Table.from_trials(problem, made(world, problem, count, predictor))
    question = ask(problem, weighed(problem, table, predictor))
    best = minimise(question, starts(problem, table)).w_D
    rng = generator(problem.seed, "ranked mixtures")
    w_ND = cloud(problem.natural.shares, question.feasible, RANKED, rng)
    truth_N = np.array([world.value(w_D) for w_D in w_ND])
    rank = correlation(question.posterior.mean(w_ND) @ question.a_T, truth_N)
    return world.regret(Mixture.from_array(problem.domains, best)), rank


def made(world: World, problem: Problem, count: int, predictor: str) -> tuple[Trial, ...]:
    """The runs of one round, in four blocks where there are enough of them for that."""
    method = Regression(runs=count, blocks=4 if count >= 16 else 2, rounds=1, predictor=predictor)
    plans = method.propose(problem, (), generator(problem.seed, "propose", 0))
    return tuple(world.run(plan) for plan in plans)


def edited(seed: int, name: Changed, before: int) -> tuple[World, Problem]:
    """The world after the edit, and its problem with `before` runs of the world before it as its past.

    The objective is of domains that are the same text before and after.
    """
    after = world(KINDS[seed % len(KINDS)], seed, domains=8)
    rng = generator(seed, "edited world")
    tokens = dict(zip(after.problem.domains, after.problem.tokens, strict=True))
    use = dict(zip(after.problem.domains, after.use_TD.T, strict=True))
    edit = _undone(name, tokens, use, rng)
    old = _before(after, tokens, use)
    trials = made(old, old.problem, before, "auto")
    shared = tuple(d for d in tokens if d in after.problem.domains and d != "d5")
    natural = tuple(old.problem.natural.shares.tolist())
    past = Past("before", tuple(tokens), shared, natural, (edit,), tuple(PastRun.of(t, shared) for t in trials))
    objective = tuple(Target(d) for d in shared)
    new = replace(after, problem=replace(after.problem, objective=objective))
    return new, replace(new.problem, past=(past,))


def _undone(name: Changed, tokens: dict[str, int], use: dict[str, Array], rng: np.random.Generator) -> Edit:
    """The edit, taken back in `tokens` and `use` (shape T) of the domains after it."""
    targets = len(use["d5"])
    match name:
        case "add":
            del tokens["d2"], use["d2"]
            return Add("d2")
        case "remove":
            tokens["gone"], use["gone"] = max(tokens.values()) // 2, rng.uniform(0.0, 0.6, targets)
            return Remove("gone")
        case "split":
            parts = {p: tokens.pop(p) for p in ("d1", "d3")}
            tokens["whole"] = sum(parts.values())
            share = {p: n / tokens["whole"] for p, n in parts.items()}
            use["whole"] = np.sum([share[p] * use.pop(p) for p in parts], axis=0)
            return Split("whole", share)
        case "merge":
            whole, both_T = tokens.pop("d1"), use.pop("d1")
            tilt_T = rng.uniform(0.4, 1.6, targets)
            tokens |= {"one": whole // 2, "other": whole - whole // 2}
            use |= {"one": tilt_T * both_T, "other": (2.0 - tilt_T) * both_T}
            return Merge(("one", "other"), "d1")
        case "revise":
            use["d5"] = (1 - CHANGED) * use["d5"] + CHANGED * rng.uniform(0.0, 1.0, targets)
            return Revise("d5")


def _before(after: World, tokens: dict[str, int], use: dict[str, Array]) -> World:
    """The world of those domains; targets that are none after the edit are as hard as the first and learned from themselves."""
    domains = tuple(tokens)
    at = [after.problem.domains.index(d) if d in after.problem.domains else None for d in domains]
    use_TD = np.array(
        [[use[d][t] if t is not None else float(d == own) for d in domains] for own, t in zip(domains, at, strict=True)]
    )
    first = [t or 0 for t in at]
    total = sum(tokens.values())
    problem = replace(
        after.problem,
        domains=domains,
        tokens=tuple(tokens.values()),
        target_tokens=int(1.2 * total),
        objective=tuple(Target(d) for d in domains),
        proxy=replace(after.problem.proxy, tokens=int(0.6 * total)),
        seed=after.problem.seed + 1000,
    )
    return World(after.kind, problem, after.floor_T[first], after.height_T[first], use_TD)
