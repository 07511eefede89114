"""From tables of past runs to what to train on, without training.

Letters: N runs, D domains, T targets, M candidates.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from cuvee.base.rng import generator
from cuvee.interop.metrics import listed
from cuvee.methods.deciding import fitted, simpler
from cuvee.methods.past import Weighed, weigh
from cuvee.methods.report import report
from cuvee.mixture.weights import Array, Mixture
from cuvee.plan.choice import Choice
from cuvee.predict.optimise import minimise as best_of
from cuvee.predict.posterior import Posterior, Predictor
from cuvee.predict.question import GuardRule, Question
from cuvee.predict.regret import Stakes
from cuvee.predict.table import Table, mean_weights
from cuvee.tables.asking import Asked, Weight, Wishes
from cuvee.tables.before import Before, Edits, posed, read_past
from cuvee.tables.columns import Layout, Source
from cuvee.tables.holdout import judge, read_holdout
from cuvee.tables.levels import interval, level_draws
from cuvee.tables.reading import Runs, read_runs
from cuvee.tables.result import Fitted, Interval, Share, Skill, Unconstrained
from cuvee.tables.values import Values

GUARD = 0.01
"""By how much of natural's level a guarded target may get worse when nothing is said."""
NEAR = 0.02
"""What near-optimal shares may cost, in standard deviations of the objective over the runs; rounding a quarter of it."""
CANDIDATES = 300
BEYOND = 1.25
"""A share this many times the largest of any run is told."""


def fit(
    mixtures: Source,
    metrics: Source,
    *,
    targets: Mapping[str, float] | Sequence[str | tuple[str, float]] = (),
    maximise: Sequence[str] = (),
    minimise: Sequence[str] = (),
    guards: Mapping[str, float] | Sequence[str | tuple[str, float]] = (),
    caps: Values | None = None,
    floors: Values | None = None,
    natural: Values | None = None,
    tokens: Values | None = None,
    target_tokens: float | None = None,
    max_epochs: float | None = None,
    holdout: tuple[Source, Source] | None = None,
    past: tuple[Source, Source] | None = None,
    edits: Edits = (),
    predictor: str | Predictor = "auto",
    aversion: float = 0.0,
    pull: float = 0.0,
    seed: int = 0,
    id: str = "",
    by_row: bool = False,
    block: str = "",
    ignore: Sequence[str] = (),
    keep_names: bool = False,
) -> Fitted:
    """The mixture to train on, from tables of past runs; trains nothing.

    Args:
        mixtures: A CSV, TSV, Parquet or JSON Lines file of one row a run and one column a domain (.gz too), or its columns.
        metrics: The same of metrics; wide, or long with the columns run, step, metric, value.
        targets: Metrics that the mixture should be good at, with weights; all metrics alike when empty.
        maximise, minimise: Metrics of which more, or less, is better; `all` for all. Less, unless a name says otherwise.
        guards: Metrics that may get worse than at natural by no more than this part, 0.01 when not said, with probability 0.9.
        caps, floors: Most and least share by domain: a mapping, `web=0.3,code=20%`, or a file.
        natural: What gains are against: shares or tokens by domain, or the id of a run; the run `natural`, else the mean.
        tokens: Tokens by domain, in the same forms.
        target_tokens: Of the run that the mixture is for.
        max_epochs: Most passes over any domain in that run.
        holdout: Mixtures and metrics of other runs to judge the fit by; they change nothing else.
        past: Mixtures and metrics of runs from before the domains were edited, as evidence beside the others.
        edits: What became of the domains since the runs of `past`, or without it since all runs: `cuvee.mixture.edits`, or a YAML file
            that lists them. They speak of domains by their short names.
        predictor: Its name (`auto` for the default), or an object with `fit(table)`.
        aversion: Added to the objective per standard error of the difference to natural: above 0 keeps to what the runs know.
        pull: Added per nat of KL divergence from natural, in the objective's unit.
        seed: Of the draws behind intervals.
        id: The column that names runs; recognised when empty.
        by_row: Row n of one table is row n of the other; never assumed.
        block: The column, of either table, that tells runs of one seed or batch from others.
        ignore: Columns that are neither shares nor metrics.
        keep_names: Call domains and metrics as their columns are called, not by their short names.

    Raises:
        UsageError: unknown names, options that do not go together, tables that nothing joins.
        DataError: tables that are broken or say nothing.
        InfeasibleError: bounds that no mixture meets.
    """
    notes: list[str] = []
    layout = Layout(id, by_row, block, tuple(ignore), keep_names)
    runs = read_runs(mixtures, metrics, layout)
    wishes = Wishes(
        targets=_weights(targets, 1.0), maximise=tuple(maximise), minimise=tuple(minimise), guards=_weights(guards, GUARD),
        caps=caps, floors=floors, natural=natural, tokens=tokens, target_tokens=target_tokens, max_epochs=max_epochs,
    )  # fmt: skip
    before = _before(runs, mixtures, past, edits, natural, layout, notes)
    runs, asked, table = posed(runs, before, past is not None, wishes, notes)
    others = None if holdout is None else read_holdout(*holdout, layout)
    found = weigh(asked, table, partial(fitted, predictor))
    table, posterior, label = found.table, found.posterior, found.label
    question = replace(_question(asked, posterior), aversion=aversion, pull=pull * asked.scale)
    best_D, choice = _choose(asked, found, question)
    seen, own = _seen(table), _own(table)
    w_D, rng = choice.schedule.phases[0].mixture.shares, generator(seed, "fit")
    stakes = Stakes.of(question, _candidates(question, seen, w_D, best_D, rng), rng)
    _say_beyond(seen, w_D, notes)
    _say_scales(asked, own, notes)
    difference = posterior.difference(w_D, question.base_D, question.a_T)
    return Fitted(
        choice=choice,
        shares=_shares(asked, seen, choice, stakes),
        predicted=_levels(asked, posterior, own, w_D, rng),
        gain=Interval(*(-x / asked.scale for x in (difference.mean, difference.high, difference.low))),
        p_better=difference.p_below,
        regret=stakes.regret(0) / asked.scale if stakes.allowed_M.any() else math.nan,
        cv=Skill(choice.diagnostics["lobo_spearman"], choice.diagnostics["lobo_rmse"] / asked.scale),
        holdout=None if others is None else judge(asked, runs, others, posterior, own, rng, notes),
        unconstrained=_unconstrained(asked, choice),
        objective=asked.objective,
        maximised=asked.maximised,
        natural=Mixture.from_array(asked.domains, asked.natural_D),
        natural_from=asked.natural_from,
        predictor=label,
        runs=len(table.ids),
        blocks=len(table.blocks),
        domains=len(asked.domains),
        tolerance=_tolerance(asked, own) / asked.scale,
        unit=asked.unit,
        names={"domains": runs.domains, "metrics": runs.metrics},
        warnings=(*runs.notes, *notes),
    )


def _before(
    runs: Runs,
    mixtures: Source,
    past: tuple[Source, Source] | None,
    edits: Edits,
    natural: Values | None,
    layout: Layout,
    notes: list[str],
) -> Before | None:
    """The runs from before the domains were edited: those of `past`, or without it all; None where nothing was edited."""
    if past is not None:
        return Before.of(read_past(*past, layout), past[0], edits, natural, notes)
    return Before.of(runs, mixtures, edits, natural, notes) if edits else None


def _own(table: Table) -> Table:
    """The runs of today, of which levels are; all where there are none."""
    return table.today if 0 < table.today_N.sum() < len(table.ids) else table


def _seen(table: Table) -> Table:
    """The runs in shares of the domains of today, without those that had only others."""
    if not table.gone:
        return table
    part_N = table.shares_ND[:, : -table.gone].sum(1)
    some = table.rows(np.asarray(part_N > 0))
    w_ND = some.shares_ND[:, : -table.gone] / part_N[part_N > 0, None]
    return replace(some, domains=table.domains[: -table.gone], shares_ND=w_ND, gone=0)


def _weights(given: Mapping[str, float] | Sequence[str | tuple[str, float]], default: float) -> tuple[Weight, ...]:
    if isinstance(given, Mapping):
        return tuple(given.items())
    return tuple((item, default) if isinstance(item, str) else item for item in given)


def _question(asked: Asked, posterior: Posterior) -> Question:
    """What is minimised over which mixtures, under which guards."""
    rules = []
    for guard in asked.guards:
        a_T = mean_weights(guard.targets, asked.scored)
        level = abs(float(posterior.mean(asked.natural_D[None])[0] @ a_T))
        rules.append(GuardRule(guard.name, a_T, guard.tolerance * level, guard.probability, 0.0, level))
    return Question(posterior, asked.feasible, asked.natural_D, asked.a_T, tuple(rules))


def _tolerance(asked: Asked, table: Table) -> float:
    """What near-optimal shares may cost, to two digits."""
    return float(f"{NEAR * float(np.std(table.loss_NT @ asked.a_T)):.1e}")


def _choose(asked: Asked, found: Weighed, question: Question) -> tuple[Array, Choice]:
    """The optimum, and the choice of its simpler form."""
    tolerance = _tolerance(asked, _own(found.table))
    optimum = best_of(question, _starts(asked, _seen(found.table)))
    w_D, simplified = simpler(asked.domains, question, optimum.w_D, tolerance / 4)
    told = asked if asked.scale == 1 else replace(asked, unit=f"times {1 / asked.scale:g} {asked.unit}")
    choice = report(
        "fit", told, found.table, found.label, question, optimum.guarded, w_D, simplified, optimum.how, tolerance
    )
    figures = {**choice.diagnostics, **found.figures}
    return optimum.w_D, replace(choice, unit=told.unit, why=(*choice.why, *found.why), diagnostics=figures)


def _starts(asked: Asked, table: Table) -> list[Array]:
    """Natural, uniform, the mean of the runs and the five best of them, each against its block."""
    value_N = table.centred(table.objective(asked.a_T)[:, None])[:, 0]
    best = np.argsort(value_N, kind="stable")[:5]
    size = len(asked.domains)
    return [asked.natural_D, np.full(size, 1.0 / size), table.shares_ND.mean(0), *table.shares_ND[best]]


def _candidates(question: Question, table: Table, w_D: Array, best_D: Array, rng: np.random.Generator) -> Array:
    """Mixtures that might be the best: the choice first, near the optimum at several distances, towards the runs. Shape M x D."""
    strengths = np.repeat(np.geomspace(5.0, 1000.0, 8), CANDIDATES // 12)
    near = [rng.dirichlet(s * (best_D + 1e-3) + 1e-3) for s in strengths]
    runs = table.shares_ND[rng.integers(0, len(table.ids), CANDIDATES // 3)]
    steps_M1 = rng.uniform(0.05, 1.0, (len(runs), 1))
    drawn = [*near, *((1 - steps_M1) * best_D + steps_M1 * runs)]
    inside = [v_D if question.feasible.contains(v_D, 1e-9) else question.feasible.project(v_D) for v_D in drawn]
    return np.array([w_D, best_D, *inside])


def _shares(asked: Asked, table: Table, choice: Choice, stakes: Stakes) -> tuple[Share, ...]:
    mixture = choice.schedule.phases[0].mixture
    w_D, epochs_D = mixture.shares, asked.epochs(mixture)
    low_D, high_D = stakes.best_shares()
    near = {r.domain: (r.low, r.high) for r in choice.near_optimal}
    least_D, most_D = table.shares_ND.min(0), table.shares_ND.max(0)
    found = []
    for i, domain in enumerate(asked.domains):
        share = float(w_D[i])
        near_low, near_high = near.get(domain, (share, share))
        found.append(
            Share(
                domain, share, min(float(low_D[i]), share), max(float(high_D[i]), share), min(near_low, share),
                max(near_high, share), None if epochs_D is None else float(epochs_D[i]), float(asked.natural_D[i]),
                (float(least_D[i]), float(most_D[i])),
            )
        )  # fmt: skip
    return tuple(found)


def _levels(
    asked: Asked, posterior: Posterior, table: Table, w_D: Array, rng: np.random.Generator
) -> dict[str, Interval]:
    """Each target's level at `w_D` in its own unit and sign."""
    drawn_ST = level_draws(posterior, table, w_D[None], rng)[:, 0] / asked.factor_T
    mean_T = posterior.mean(w_D[None])[0] / asked.factor_T
    low_T, high_T = interval(drawn_ST) if posterior.freedom else np.full((2, len(mean_T)), math.nan)
    return {n: Interval(float(mean_T[t]), float(low_T[t]), float(high_T[t])) for t, n in enumerate(asked.scored)}


def _unconstrained(asked: Asked, choice: Choice) -> Unconstrained | None:
    """The choice's, with its gain in the objective's own unit."""
    free = choice.unconstrained
    return None if free is None else Unconstrained(free.mixture.as_dict(), -free.predicted.mean / asked.scale)


def _say_beyond(table: Table, w_D: Array, notes: list[str]) -> None:
    """Where the choice is further out than any run was."""
    most_D = table.shares_ND.max(0)
    beyond = [
        f"{d} {w:.1%} (at most {most:.1%} in any run)"
        for d, w, most in zip(table.domains, w_D, most_D, strict=True)
        if w > BEYOND * most and w > most + 0.01
    ]
    if beyond:
        notes.append(f"the choice lies beyond the runs, where predictions are guesses: {listed(beyond)}")


def _say_scales(asked: Asked, table: Table, notes: list[str]) -> None:
    """Where a mean of targets is really that of one."""
    at = [list(asked.scored).index(t.name) for t in asked.objective]
    spread = {t.name: t.weight * float(np.std(table.loss_NT[:, i])) for t, i in zip(asked.objective, at, strict=True)}
    total = sum(spread.values())
    large = max(spread, key=lambda name: spread[name])
    if len(spread) > 1 and spread[large] > max(0.5, min(0.9, 2 / len(spread))) * total:
        notes.append(
            f"{large} makes {spread[large] / total:.0%} of the objective's spread over the runs, as targets count in their own "
            "units; weights (--target NAME=WEIGHT) can even that out"
        )
