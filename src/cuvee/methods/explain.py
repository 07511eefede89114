"""Sentences for a person about a choice: what it rests on, what binds, how sure, how flat.

Letters: D domains.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from cuvee.mixture.feasible import FeasibleSet
from cuvee.mixture.weights import Array, Mixture
from cuvee.plan.choice import Estimate, Range, Unconstrained
from cuvee.plan.problem import Guard, Problem
from cuvee.predict.diagnose import Signs
from cuvee.predict.optimise import How
from cuvee.predict.posterior import FEW
from cuvee.predict.simulate import BEST, DRAWS

NEAR_BOUND, NEAR_SHARE = 1e-3, 0.02
"""A share is at its bound within this much, and within this part of the bound: a cap of 0.04 % is not met by nothing."""

NO_NGRAMS = "Not every domain has an n-gram model that ended well: predicted from the runs alone."


def percent(share: float) -> str:
    """A share as people read it."""
    return f"{100 * share:.1f} %" if share >= 0.001 or share == 0 else f"{100 * share:.2g} %"


def listed(items: Sequence[str]) -> str:
    """a, b and c."""
    return " and ".join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else items)


def evidence(
    predictor: str, runs: int, blocks: int, left_out: int, figures: Mapping[str, float], unit: str = "bits/byte"
) -> str:
    """What the prediction rests on and how well it predicts blocks that it did not see."""
    line = f"Predicted by {predictor} from {runs} runs in {blocks} block{'s' if blocks != 1 else ''}"
    if not math.isnan(figures.get("lobo_spearman", math.nan)):
        line += (
            f"; runs that the fit did not see are ranked with a correlation of {figures['lobo_spearman']:.2f}"
            f" and missed by {figures['lobo_rmse']:.4f} {unit}"
        )
    if left_out:
        line += f"; {left_out} run{'s' if left_out != 1 else ''} diverged or failed and are left out"
    return line + "."


def bounds(epochs_D: Array | None, feasible: FeasibleSet, w_D: Array) -> tuple[str, ...]:
    """The caps and floors that bind at `w_D`, which passes over the domains `epochs_D` times; None when that is not known."""
    triples = list(zip(feasible.domains, w_D, feasible.low_D, feasible.high_D, strict=True))
    passes = {} if epochs_D is None else dict(zip(feasible.domains, epochs_D, strict=True))
    epochs = {d: f", {passes[d]:.1f} epochs" if d in passes else "" for d in feasible.domains}
    caps = [f"{d} ({percent(w)}{epochs[d]})" for d, w, _, cap in triples if cap < 1 and w > cap - _near(cap)]
    floors = [f"{d} ({percent(w)})" for d, w, floor, _ in triples if floor > 0 and w < floor + _near(floor)]
    lines = [f"At their caps: {listed(caps)}."] if caps else []
    lines += [f"At their floors: {listed(floors)}."] if floors else []
    names = [f"the group {g.name}" for g in feasible.groups] + [f"the row {r.name}" for r in feasible.rows]
    for name, row_D, least, most in zip(names, *feasible.sums, strict=True):
        total = float(row_D @ w_D)
        # no sum of shares is below 0
        if total > most - NEAR_BOUND or (total < least + NEAR_BOUND and (least > 0 or row_D.min() < 0)):
            lines.append(f"The bound of {name} binds ({percent(total) if row_D.min() >= 0 else f'{total:.4g}'}).")
    return tuple(lines)


def _near(bound: float) -> float:
    return min(NEAR_BOUND, NEAR_SHARE * bound)


def levels(problem: Problem, w_D: Array) -> tuple[str, ...]:
    """The shares of the groups of the problem's tree, a sentence a level."""
    if problem.tree is None:
        return ()
    ours, naturals = problem.tree.sums(w_D), problem.tree.sums(problem.natural.shares)
    by_depth: dict[int, list[str]] = {}
    for name, share in ours.items():
        by_depth.setdefault(name.count("/"), []).append(f"{name} {percent(share)} (natural {percent(naturals[name])})")
    lines = [f"Groups at level {depth + 1}: {listed(items)}." for depth, items in by_depth.items()]
    frozen = problem.tree.frozen
    return (*lines, *((f"Inside {listed(frozen)} the proportions are natural's, frozen.",) if frozen else ()))


def guard(rule: Guard, estimate: Estimate, binds: bool, met: bool) -> str:
    """How sure it is that a guard holds."""
    whose = "natural's" if rule.against == "natural" else "the checkpoint's"
    rise = f"{rule.name} gets worse by {100 * estimate.mean:+.2f} % of {whose} loss, {100 * rule.tolerance:g} % allowed"
    if math.isnan(estimate.p_better):
        return f"Guard: {rise}; there is no probability that it holds."
    sure = f"it holds with probability {estimate.p_better:.2f}, {rule.probability:g} wanted"
    if not met:
        return f"Guard not met: {rise}; {sure}. No mixture was found that meets it; this one comes nearest."
    return f"Guard: {rise}; {sure}{'; it decides the choice' if binds else ''}."


def certainty(objective: Estimate, unit: str = "bits/byte") -> str:
    """Whether the predicted gain can be told from none."""
    if math.isnan(objective.low):
        return (
            f"The predicted gain over natural is {-objective.mean:.4f} {unit}, without an interval: so few runs do not tell how "
            "far this predictor errs. Verify it on fresh blocks."
        )
    if objective.high < 0:
        return (
            f"The predicted gain over natural is {-objective.mean:.4f} {unit}, 90 % interval {-objective.high:.4f} to "
            f"{-objective.low:.4f}; it was picked as the best prediction, so verify it on fresh blocks."
        )
    return (
        f"No significant gain over natural: {-objective.mean:.4f} {unit} predicted, 90 % interval {-objective.high:.4f} "
        f"to {-objective.low:.4f} includes none."
    )


def found(how: How) -> tuple[str, ...]:
    """That the optimum is only as good as a simulation; nothing where slopes led to it."""
    if how != "simulation":
        return ()
    return (
        f"The predictor has no slopes, so this is the mean of the best {BEST} of {DRAWS:,} draws that keep the bounds; the "
        "near-optimal ranges are those of draws, and wider in truth.",
    )


def degenerate(signs: Signs, mixture: Mixture) -> tuple[str, ...]:
    """What is odd about the optimum: no difference between mixtures, a corner, beyond the runs."""
    lines = []
    if signs.constant:
        lines.append(
            f"Every run scored the same on {listed(signs.constant)}: no mixture can be told from another by it."
        )
    if signs.flat:
        lines.append(
            "The objective is predicted alike for all runs: the choice rests on nothing, natural would do as well."
        )
    if signs.corner:
        lines.append(
            f"Nearly everything is {signs.corner} ({percent(mixture.share(signs.corner))}): the objective asks for little else. "
            "More targets, a guard or a cap would say what else matters."
        )
    beyond = [f"{d} ({percent(mixture.share(d))}, no run below {percent(x)})" for d, x in signs.below.items()]
    beyond += [f"{d} ({percent(mixture.share(d))}, no run above {percent(x)})" for d, x in signs.above.items()]
    if beyond:
        lines.append(f"Extrapolated, beyond the shares of every run: {listed(beyond)}.")
    if signs.far and not signs.flat:
        lines.append(
            f"Far from every run: {signs.distance:.2f} from the nearest, in roots of shares, and no run is further than "
            f"{signs.spacing:.2f} from its nearest. The prediction there is extrapolated; runs near it would tell."
        )
    return tuple(lines)


def unconstrained(free: Unconstrained, objective: Estimate, unit: str) -> tuple[str, ...]:
    """What the bounds cost; nothing where they cost less than anything that matters."""
    saved = objective.mean - free.predicted.mean
    if saved < 1e-4:
        return ()
    top = sorted(free.mixture.as_dict().items(), key=lambda pair: -pair[1])[:3]
    shares = [f"{d} {percent(s)}{_passes(free.epochs, d)}" for d, s in top if s > 0]
    return (
        f"Without caps, floors and guards the prediction would ask for {listed(shares)}{' and others' if len(top) == 3 else ''}: "
        f"{-free.predicted.mean:.4f} {unit} of predicted gain instead of {-objective.mean:.4f}. That is a diagnostic, no advice.",
    )


def _passes(epochs: Mapping[str, float], domain: str) -> str:
    """How often a domain would be passed over, where that is known."""
    return f" ({epochs[domain]:.1f} epochs)" if domain in epochs else ""


def few_blocks(blocks: int) -> tuple[str, ...]:
    """What intervals from few blocks are worth; nothing with enough of them."""
    if blocks >= FEW:
        return ()
    if blocks == 1:
        return (
            "Only one block: intervals are what runs left out of the fit tell, and what the block's seed does to all of its runs "
            f"is in none of them; run at least {FEW} blocks.",
        )
    freedom = f"{blocks - 1} degree{'s' if blocks > 2 else ''} of freedom"
    return (
        f"Only {blocks} blocks: intervals are widened (Student's t with {freedom}) and rough; run at least {FEW} blocks.",
    )


def flatness(ranges: Sequence[Range], unit: str = "bits/byte") -> str:
    """The widest near-optimal range, as an example."""
    widest = max(ranges, key=lambda r: r.high - r.low)
    return (
        f"Shares are not sharp: {widest.domain} may lie between {percent(widest.low)} and {percent(widest.high)} "
        f"for less than {widest.tolerance:.2g} {unit}, the others adapting."
    )


def where_best(domains: Sequence[str], low_D: Array, high_D: Array, most: int = 4) -> tuple[str, ...]:
    """Where the best mixture may lie, for the domains whose share is the least sure."""
    widest = sorted(range(len(domains)), key=lambda i: float(low_D[i] - high_D[i]))[:most]
    spans = [
        f"{domains[i]} {percent(float(low_D[i]))} to {percent(float(high_D[i]))}"
        for i in widest
        if high_D[i] > low_D[i]
    ]
    if not spans:
        return ()
    return (f"The best shares, as far as the runs tell (90 % intervals, the least sure first): {listed(spans)}.",)


def stakes(unit: str, regret: Sequence[float], tolerance: float) -> tuple[str, ...]:
    """What is expected to be lost against the best mixture, now and after each run more."""
    if not regret:
        return ()
    line = f"Expected regret: {regret[0]:.4f} {unit} against the best mixture that the runs leave possible"
    if regret[0] < tolerance:
        return (f"{line}, below the tolerance of {tolerance:.4f}.",)
    return (f"{line}; {len(regret) - 1} more runs would lower it to about {regret[-1]:.4f}.",)


def ngrams(without: Sequence[str]) -> tuple[str, ...]:
    """What n-gram models count for; `without` are targets of which they say nothing."""
    line = "An n-gram model of every domain counts as evidence beside the runs, as far as it foretold runs that were left out"
    return (f"{line}; of {listed(without)} it says nothing." if without else f"{line}.",)
