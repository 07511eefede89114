"""What is asked of a table of past runs: which metrics count and in which direction, against what, within which bounds.

Letters: N runs, D domains, M metrics, T targets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cuvee.base.errors import DataError, UsageError
from cuvee.interop.metrics import direction_of, listed, unit_of
from cuvee.methods.deciding import FEWEST
from cuvee.mixture.feasible import FeasibleSet
from cuvee.mixture.weights import Array, Mixture
from cuvee.plan.past import Past
from cuvee.plan.problem import Guard, Target
from cuvee.predict.table import Bools, Table, mean_weights
from cuvee.tables.names import looks_better_higher, resolve
from cuvee.tables.reading import Runs
from cuvee.tables.values import Values, by_name

ALL = "all"
PROBABILITY = 0.9
"""With which guards must hold."""
SAME = 1e-9
"""Shares and values nearer than this are the same."""
SPREADS = (1e-3, 1e2)
"""Standard deviations of the objective over the runs that are fitted as they are."""
UNIT = "units of the objective"
Weight = tuple[str, float]
"""A metric's name with a number."""


@dataclass(frozen=True)
class Wishes:
    """What a user asks for; names are those of columns, or short.

    Args:
        targets: Metric -> weight; empty for all metrics alike.
        maximise, minimise: Metrics of which more, or less, is better; `all` for all.
        guards: Metric -> by how much of natural's level it may get worse.
        caps, floors: Domain -> most and least share.
        natural: The mixture to compare with: shares or tokens, a file, or the id of a run; None for the run `natural`, or the mean.
        tokens: Domain -> tokens there are.
        target_tokens: Of the run that the mixture is for.
        max_epochs: Most passes over any domain in that run.
    """

    targets: tuple[Weight, ...] = ()
    maximise: tuple[str, ...] = ()
    minimise: tuple[str, ...] = ()
    guards: tuple[Weight, ...] = ()
    caps: Values | None = None
    floors: Values | None = None
    natural: Values | None = None
    tokens: Values | None = None
    target_tokens: float | None = None
    max_epochs: float | None = None


@dataclass(frozen=True, eq=False)
class Asked:
    """What is asked, in terms of the table: what `cuvee.methods.report` needs of a question.

    Args:
        domains, scored: Short names of domains and targets.
        objective: Targets with weights that sum to 1.
        scale: Losses are metrics times this, or times -this where more is better: 1, or a power of ten where the objective is so
            large or so small that solvers would not see what is near.
        maximised: Targets of which more is better.
        unit: Of the objective, for sentences.
        natural_D: What gains are against, and where from.
        epochs_D: Passes over each domain, had it all of the run; None where that is not known.
        past: Runs from before the domains were edited.
    """

    domains: tuple[str, ...]
    scored: tuple[str, ...]
    objective: tuple[Target, ...]
    guards: tuple[Guard, ...]
    scale: float
    maximised: tuple[str, ...]
    unit: str
    natural_D: Array
    natural_from: str
    epochs_D: Array | None
    feasible: FeasibleSet
    past: tuple[Past, ...] = ()

    def epochs(self, mixture: Mixture) -> Array | None:
        """Passes over each domain, shape D; None where the run or the tokens are not known."""
        return None if self.epochs_D is None else np.asarray(mixture.shares * self.epochs_D, np.float64)

    @property
    def a_T(self) -> Array:
        """The objective's weights."""
        return mean_weights(self.objective, self.scored)

    @property
    def factor_T(self) -> Array:
        """What metrics are times to be losses."""
        return np.array([-self.scale if name in self.maximised else self.scale for name in self.scored])

    def table(self, runs: Runs, notes: list[str]) -> Table:
        """The runs that have a value of every target.

        Raises:
            DataError: too few of them, or all of one mixture.
        """
        at = [list(runs.metrics).index(name) for name in self.scored]
        whole_N: Bools = np.asarray(np.isfinite(runs.value_NM[:, at]).all(1))
        if not whole_N.all():
            lost = [run for run, whole in zip(runs.ids, whole_N, strict=True) if not whole]
            notes.append(f"{len(lost)} run(s) without a value of every target are left out: {listed(lost)}")
        table = _table(self, runs, whole_N, runs.value_NM[:, at] * self.factor_T)
        _check_enough(table, runs, at, notes)
        return table


def ask(runs: Runs, wishes: Wishes, notes: list[str], tried_ND: Array) -> Asked:
    """The question that `wishes` put to `runs`; `notes` gets what was assumed.

    Args:
        tried_ND: Mixtures that runs had: shares that are the same in all stay there.

    Raises:
        UsageError: unknown names, weights that are not positive, epochs without tokens.
        DataError: a target that has no values or only one.
        InfeasibleError: bounds that no mixture meets.
    """
    domains = tuple(runs.domains)
    weights, guards = _targets(runs, wishes, notes)
    scored = tuple(name for name in runs.metrics if name in {*weights, *guards})
    maximised = _maximised(runs, wishes, scored, notes)
    natural_D, natural_from = natural_of(runs, wishes.natural, notes)
    epochs_D = _epochs(runs, wishes)
    total = sum(weights.values())
    objective = tuple(Target(name, weights[name] / total) for name in scored if name in weights)
    scale = _scale(runs, objective)
    return Asked(
        domains=domains,
        scored=scored,
        objective=objective,
        guards=tuple(Guard(name, (Target(name),), guards[name], PROBABILITY) for name in scored if name in guards),
        scale=scale,
        maximised=maximised,
        unit=_unit(runs, objective, maximised),
        natural_D=natural_D,
        natural_from=natural_from,
        epochs_D=epochs_D,
        feasible=_feasible(runs, wishes, epochs_D, notes, tried_ND),
    )


def _targets(runs: Runs, wishes: Wishes, notes: list[str]) -> tuple[dict[str, float], dict[str, float]]:
    """Weights of the objective's targets, and tolerances of guards."""
    weights = _named(wishes.targets, runs.metrics, "target")
    guards = _named(wishes.guards, runs.metrics, "guard")
    for name, weight in weights.items():
        if not 0 < weight < np.inf:
            raise UsageError(
                f"target {name}: got weight {weight:g}", wanted="a weight above 0", fix="--maximise for a score"
            )
    useless = {name: why for i, name in enumerate(runs.metrics) if (why := _useless(runs.value_NM[:, i]))}
    for name in {*weights, *guards}:
        if name in useless:
            raise DataError(f"target {name} {useless[name]}", wanted="a metric that differs between runs")
    if not weights:
        weights = {name: 1.0 for name in runs.metrics if name not in useless}
        notes += [f"metric {name} {why}: left out" for name, why in useless.items()]
        if not weights:
            raise DataError("no metric differs between runs", wanted="a metric with at least two values")
        if len(weights) > 1:
            notes.append(
                f"no target was named: the objective is the mean of all {len(weights)} metrics, each with the same weight "
                "in its own unit (--target NAME=WEIGHT)"
            )
    return weights, guards


def _named(given: Sequence[Weight], names: Mapping[str, str], what: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, value in given:
        short = resolve(name, names, what)
        if short in found:
            raise UsageError(f"{what} {name} is given twice", wanted="each once")
        found[short] = value
    return found


def _useless(value_N: Array) -> str:
    """Why a metric says nothing; empty where it does."""
    known_N = value_N[np.isfinite(value_N)]
    if not len(known_N):
        return "has no value in any run"
    if 2 * len(known_N) < len(value_N):
        return f"has a value in only {len(known_N)} of {len(value_N)} runs"
    return f"is {known_N[0]:g} in every run" if np.ptp(known_N) <= SAME * max(abs(known_N[0]), 1e-300) else ""


def _maximised(runs: Runs, wishes: Wishes, scored: Sequence[str], notes: list[str]) -> tuple[str, ...]:
    """The targets of which more is better."""
    asked: dict[str, str] = {}
    for option, names in (("--maximise", wishes.maximise), ("--minimise", wishes.minimise)):
        for name in scored if ALL in names else [resolve(n, runs.metrics, f"metric for {option},") for n in names]:
            if name not in scored:
                raise UsageError(f"{option} {name}: it is no target", wanted=f"one of {', '.join(scored)}")
            if asked.setdefault(name, option) != option:
                raise UsageError(f"{name} is to be both maximised and minimised", wanted="one of them")
    long = {name: runs.metrics[name] for name in scored if name not in asked}
    guessed = [n for n, metric in long.items() if direction_of(metric) or looks_better_higher(metric)]
    if guessed:
        notes.append(f"taken for scores of which more is better, by their names: {listed(guessed)} (--minimise if not)")
    return tuple(name for name in scored if name in guessed or asked.get(name) == "--maximise")


def _scale(runs: Runs, objective: Sequence[Target]) -> float:
    """1, or the power of ten that makes the objective's spread over the runs about 0.1, where it is far from that."""
    spreads = [t.weight * float(np.nanstd(runs.value_NM[:, list(runs.metrics).index(t.name)])) for t in objective]
    spread = float(np.linalg.norm(spreads))
    return 1.0 if SPREADS[0] <= spread <= SPREADS[1] else float(10.0 ** -round(np.log10(spread) + 1))


def _unit(runs: Runs, objective: Sequence[Target], maximised: Sequence[str]) -> str:
    """The unit that all of the objective's targets share, as sentences say it."""
    units = {unit_of(runs.metrics[t.name]) for t in objective}
    turned = {t.name in maximised for t in objective}
    known = units.pop() if len(units) == 1 and len(turned) == 1 else ""
    return known + (" (sign turned)" if True in turned else "") if known else UNIT


def natural_of(runs: Runs, given: Values | None, notes: list[str]) -> tuple[Array, str]:
    """What to compare with, and where it is from."""
    run = "natural" if given is None else str(given) if not isinstance(given, Mapping) else ""
    own_N = rows_of(run, runs)
    if given is None and not own_N:
        notes.append("no natural mixture was given: gains are against the mean of the runs' mixtures (--natural)")
        return np.asarray(runs.shares_ND.mean(0), np.float64), "the mean of the runs' mixtures"
    if own_N:
        return np.asarray(runs.shares_ND[own_N].mean(0), np.float64), f"run {run}"
    assert given is not None
    shares = by_name(given, runs.domains, "--natural")
    if min(shares.values()) < 0 or not 0 < sum(shares.values()) < np.inf:
        raise UsageError(f"natural: got {shares}", wanted="shares or tokens, none negative, not all zero")
    natural_D = np.array([shares.get(d, 0.0) for d in runs.domains])
    return np.asarray(natural_D / natural_D.sum(), np.float64), "as given"


def rows_of(run: str, runs: Runs) -> list[int]:
    """The rows of a run, which is called `ID/BLOCK` where it was run in several blocks."""
    names = {run, *(f"{run}/{block}" for block in runs.blocks)}
    return [i for i, name in enumerate(runs.ids) if run and name in names]


def _epochs(runs: Runs, wishes: Wishes) -> Array | None:
    """Passes over each domain, had it all of the run; None where that is not known."""
    if wishes.tokens is None or wishes.target_tokens is None:
        if wishes.max_epochs is not None:
            raise UsageError("--max-epochs without tokens", wanted="--tokens, and --target-tokens of the run")
        return None
    if wishes.max_epochs is not None and not wishes.max_epochs > 0:
        raise UsageError(f"--max-epochs {wishes.max_epochs:g}", wanted="more than 0")
    tokens = by_name(wishes.tokens, runs.domains, "--tokens")
    lacking = [d for d in runs.domains if not 0 < tokens.get(d, 0.0) < np.inf]
    if lacking or not 0 < wishes.target_tokens < np.inf:
        raise UsageError(
            f"tokens of {listed(lacking) if lacking else 'the run'} are not a positive number",
            wanted="tokens of every domain, and of the run",
        )
    return np.array([wishes.target_tokens / tokens[d] for d in runs.domains])


def _feasible(runs: Runs, wishes: Wishes, epochs_D: Array | None, notes: list[str], tried_ND: Array) -> FeasibleSet:
    """The mixtures within all bounds; a domain that never varied stays where it was, as no run says what more of it does."""
    low, high = (
        {} if v is None else by_name(v, runs.domains, w) for v, w in ((wishes.floors, "floors"), (wishes.caps, "caps"))
    )
    for what, bounds in (("floor", low), ("cap", high)):
        for domain, share in bounds.items():
            if not 0 <= share <= 1:
                raise UsageError(f"{what} of {domain}: got {share:g}", wanted="a share between 0 and 1, or such as 20%")
    low_D = np.array([low.get(d, 0.0) for d in runs.domains])
    high_D = np.array([high.get(d, 1.0) for d in runs.domains])
    if wishes.max_epochs is not None and epochs_D is not None:
        high_D = np.minimum(high_D, wishes.max_epochs / epochs_D)
    fixed_D = np.ptp(tried_ND, axis=0) <= SAME
    if fixed_D.any() and not fixed_D.all():
        stay_D = np.clip(tried_ND[0], low_D, high_D)
        notes.append(
            "the same share in every run, so that nothing tells what another would do, and kept there: "
            + listed([f"{d} {s:.3g}" for d, s, f in zip(runs.domains, stay_D, fixed_D, strict=True) if f])
        )
        low_D, high_D = np.where(fixed_D, stay_D, low_D), np.where(fixed_D, stay_D, high_D)
    return FeasibleSet(tuple(runs.domains), tuple(low_D.tolist()), tuple(high_D.tolist()))


def _table(asked: Asked, runs: Runs, which_N: Bools, loss_NT: Array) -> Table:
    numbers = {np.round(asked.natural_D, 9).tobytes(): 0}
    keys = [np.round(w_D, 9).tobytes() for w_D in runs.shares_ND[which_N]]
    return Table(
        domains=asked.domains,
        targets=asked.scored,
        shares_ND=runs.shares_ND[which_N],
        loss_NT=loss_NT[which_N],
        block_N=runs.block_N[which_N],
        ids=tuple(run for run, keep in zip(runs.ids, which_N, strict=True) if keep),
        mixture_N=np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int64),
    )


def _check_enough(table: Table, runs: Runs, at: Sequence[int], notes: list[str]) -> None:
    runs_there, different = len(table.ids), len(np.unique(table.mixture_N))
    if runs_there < FEWEST:
        empty = {name: int(np.isnan(runs.value_NM[:, i]).sum()) for name, i in zip(table.targets, at, strict=True)}
        most = max(empty, key=lambda name: empty[name])
        raise DataError(
            f"{runs_there} run(s) with a value of every target; {most} lacks one in {empty[most]} of {len(runs.ids)}",
            wanted=f"at least {FEWEST} runs",
            fix="more runs, or fewer targets",
        )
    if different < 2:
        raise DataError(f"all {runs_there} runs have the same mixture", wanted="mixtures that differ")
    inside = sum(len(np.unique(table.mixture_N[table.block_N == b])) - 1 for b in table.blocks)
    if inside < FEWEST - 1:
        raise DataError(
            f"{runs_there} runs in {len(table.blocks)} blocks: only {inside} can be compared with another mixture of their block",
            wanted=f"at least {FEWEST} mixtures in a block, or as many comparisons over several",
            fix="leave --block out, if no seed or batch is common to several runs",
        )
    size = len(table.domains)
    if different <= size:
        notes.append(
            f"FEW RUNS: {different} different mixtures for {size} domains. What is predicted rests on the predictor's "
            f"assumptions more than on runs; {2 * size} or more would tell the domains apart"
        )
