"""What lifted runs save: regret in edited worlds against the number of new runs, with and without the runs from before.

The world after the edits is drawn by `testing.worlds`; the one before is it under the edits' own map: a domain that was
split has the mean use of its parts, one that was removed has a use of its own, a revised one a use that differs.

Letters: D domains after the edits, T targets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from cuvee.base.rng import generator
from cuvee.methods.regression import Regression
from cuvee.mixture.edits import Add, Edit, Remove, Revise, Split
from cuvee.plan.past import Past, PastRun
from cuvee.plan.problem import Problem, Target
from cuvee.testing.worlds import World, play, world

CHANGED = 0.3
"""How much of a revised domain's use is another's."""
EDITS: dict[str, tuple[str, ...]] = {
    "split": ("split",),
    "add": ("add",),
    "remove": ("remove",),
    "revise": ("revise",),
    "all four": ("split", "add", "remove", "revise"),
}


def run(
    seeds: int = 10,
    *,
    runs: Sequence[int] = (16, 24, 48),
    before: int = 48,
    names: Sequence[str] = tuple(EDITS),
    predictor: str = "auto",
) -> list[dict[str, object]]:
    """A row per set of edits and number of new runs: mean regret in bits/byte, of natural, without and with lifted runs.

    Args:
        seeds: Worlds.
        runs: New runs, in four blocks.
        before: Runs of the study before the edits.
        names: Keys of `EDITS`.
        predictor: Of the method.
    """
    rows: list[dict[str, object]] = []
    for name in names:
        pairs = [edited(seed, EDITS[name], before, predictor) for seed in range(seeds)]
        for count in runs:
            method = Regression(runs=count, blocks=4, predictor=predictor)
            regrets_S2 = np.array(
                [
                    [w.regret(play(replace(w, problem=p), method).choice.schedule.at(0)) for p in (w.problem, lifted)]
                    for w, lifted in pairs
                ]
            )
            rows.append(
                {
                    "edits": name,
                    "new runs": count,
                    "natural": float(np.mean([w.regret(w.problem.natural) for w, _ in pairs])),
                    "without": float(regrets_S2[:, 0].mean()),
                    "with": float(regrets_S2[:, 1].mean()),
                    "with is better": float(np.mean(regrets_S2[:, 1] < regrets_S2[:, 0])),
                }
            )
    return rows


def edited(seed: int, kinds: Sequence[str], before: int, predictor: str) -> tuple[World, Problem]:
    """The world after the edits, and its problem with `before` runs of the world before them as its past."""
    after = world("law", seed, domains=8)
    rng = generator(seed, "edited world")
    tokens = dict(zip(after.problem.domains, after.problem.tokens, strict=True))
    use = dict(zip(after.problem.domains, after.use_TD.T, strict=True))
    edits: list[Edit] = []
    if "split" in kinds:
        parts = ("d1", "d3")
        total = sum(tokens[p] for p in parts)
        edits.append(Split("whole", {p: tokens[p] / total for p in parts}))
        use["whole"] = sum(tokens[p] / total * use[p] for p in parts)
        tokens = {"whole": total, **{d: n for d, n in tokens.items() if d not in parts}}
    if "add" in kinds:
        edits.append(Add("d2"))
        del tokens["d2"]
    if "remove" in kinds:
        edits.append(Remove("gone"))
        tokens["gone"], use["gone"] = max(tokens.values()) // 2, rng.uniform(0.0, 0.6, len(after.use_TD))
    if "revise" in kinds:
        edits.append(Revise("d5"))
        use["d5"] = (1 - CHANGED) * use["d5"] + CHANGED * rng.uniform(0.0, 1.0, len(after.use_TD))
    old = _before(after, tokens, use)
    trials = play(old, Regression(runs=before, blocks=4, predictor=predictor)).trials
    shared = tuple(d for d in old.problem.domains if d in after.problem.domains)
    natural = tuple(old.problem.natural.shares.tolist())
    done = tuple(PastRun.of(t, shared) for t in trials if t.status == "done")
    past = Past("before", old.problem.domains, shared, natural, tuple(edits), done)
    objective = tuple(Target(d) for d in shared if d != "d5")
    new = replace(after, problem=replace(after.problem, objective=objective))
    return new, replace(new.problem, past=(past,))


def _before(after: World, tokens: dict[str, int], use: dict[str, np.ndarray]) -> World:
    """The world of those domains; targets that are none after the edits are as hard as the first and learned from themselves."""
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
    return World("law", problem, after.floor_T[first], after.height_T[first], use_TD)
