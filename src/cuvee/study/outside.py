"""Runs that another trainer makes: which are to be made next, and what came of them.

Rounds, choice and verification are those of every study: where workers would be started, `Waiting` is raised instead with
the runs that are missing. What is told of a run is checked as it comes in and becomes a trial like any other.

Letters: S evaluation points, D domains.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from cuvee import __version__
from cuvee.base.codec import nearest
from cuvee.base.errors import DataError, UsageError
from cuvee.base.progress import Progress
from cuvee.plan.problem import Proxy
from cuvee.plan.trial import Cost, Curve, Measure, Plan, Status, Trial
from cuvee.shards.corpus import Corpus
from cuvee.study.layout import Planned
from cuvee.study.store import FOLDERS, Store

if TYPE_CHECKING:
    from cuvee.study.study import Study

Direction = Literal["minimise", "maximise"]
SLACK = 0.02
"""How far the tokens of a told curve's end may be from those of the run, relative."""
ALIASES = {"bpb": "bits/byte", "bits per byte": "bits/byte", "bits_per_byte": "bits/byte", "acc": "accuracy"}
NATS = ("nats", "nats/token", "nats per token", "loss")


class Waiting(UsageError):
    """Runs that an outside trainer has to make before the study goes on: the answer of `Study.run` and `Study.verify`
    where no workers may be started."""

    def __init__(self, runs: tuple[Planned, ...], finished: int) -> None:
        self.runs, self.finished = runs, finished
        super().__init__(
            f"{len(runs)} runs wait for an outside trainer",
            wanted="their metrics, for the study has `trainer: outside`",
            fix="cuvee suggest STUDY.yaml --out DIR writes their plans, cuvee tell takes their metrics",
        )


@dataclass(frozen=True)
class Suggestion:
    """What is to be run next.

    Args:
        stage: `round 0` and so on, `verify`, `transfer`, `verify-large`, or `done`.
        runs: Those of the stage that have not ended.
        finished: How many of them have.
    """

    stage: str
    runs: tuple[Planned, ...]
    finished: int


@dataclass(frozen=True)
class Told:
    """What an outside trainer measured of one target.

    Args:
        values: Over training, shape S, the last one at the end; in the target's unit and direction.
        tokens: Seen at each, ascending; empty where only the final value is known.
        errors: Standard errors; empty, or one a value (NaN: not known).
        unit, direction: As the source gives them, to be compared with the target's; empty and None: as the target has them.
    """

    values: tuple[float, ...]
    tokens: tuple[int, ...] = ()
    errors: tuple[float, ...] = ()
    unit: str = ""
    direction: Direction | None = None


@dataclass(frozen=True)
class Ended:
    """How a run ended, as told.

    Args:
        metrics: By target.
        realised: Tokens trained on by domain; None: as planned.
        message: Why it failed or diverged.
        source: Where it was read from, for the record.
    """

    metrics: Mapping[str, Told]
    realised: Mapping[str, int] | None = None
    status: Status = "done"
    message: str = ""
    source: str = ""


def suggest(
    study: Study, seeds: int, large: Proxy | None, large_seeds: int, transfer: int, progress: Progress
) -> Suggestion:
    """See `Study.suggest`."""
    check_outside(study)
    stage = "round"
    try:
        study.run(progress=progress)
        choice = study.choose()
        if seeds:
            stage = FOLDERS["proxy"]
            study.verify(choice, seeds, progress=progress)
        if large is not None and transfer:
            stage = FOLDERS["transfer"]
            study.check_transfer(large, transfer, progress=progress)
        if large is not None and large_seeds:
            stage = FOLDERS["large"]
            study.verify(choice, large_seeds, progress=progress, at=large)
    except Waiting as waiting:
        name = f"round {len(study.rounds()) - 1}" if stage == "round" else stage
        return Suggestion(name, waiting.runs, waiting.finished)
    return Suggestion("done", (), 0)


def check_outside(study: Study) -> None:
    """Refuse to take runs from elsewhere into a study that makes its own."""
    if study.problem.trainer != "outside":
        raise UsageError(
            f"the runs of {study.path} are Cuvée's own proxies",
            wanted="a study of an outside trainer",
            fix="trainer: outside (in Python, Problem(trainer='outside')), in a study folder of its own",
        )


def tell(study: Study, store: Store, run: str, ended: Ended) -> Suggestion:
    """See `Study.tell`."""
    check_outside(study)
    stage, planned = _stage(store, run)
    plan = next(p.plan for p in planned if p.id == run)
    _publish(store, trial(run, plan, ended, study.corpus))
    left = tuple(p for p in planned if not store.has(p.id))
    return Suggestion(stage, left, len(planned) - len(left))


def _stage(store: Store, run: str) -> tuple[str, tuple[Planned, ...]]:
    """The latest stage that the run is of."""
    stages = [(f"round {i}", r.plans) for i, r in enumerate(store.rounds())]
    stages += [(folder, lineup.plans) for scale, folder in FOLDERS.items() for lineup in store.lineups(scale)]
    found = [(name, planned) for name, planned in stages if run in {p.id for p in planned}]
    if not found:
        known = [p.id for _, planned in stages for p in planned]
        raise UsageError(
            f"no run {run!r} in {store.folder}",
            wanted="the id of a run that was suggested" if known else "runs: nothing was suggested yet",
            fix=(nearest(run, known) or "cuvee suggest lists them") if known else "cuvee suggest STUDY.yaml --out DIR",
        )
    return found[-1]


def _publish(store: Store, new: Trial) -> None:
    """Write the trial; nothing happens when the very same was told before."""
    if store.has(new.id) and store.trial(new.id) is None:
        store.set_aside(new.id)
    if store.publish_trial(new):
        return
    old = store.trial(new.id)
    if old is None:
        raise DataError(f"the file of run {new.id} cannot be read", fix="tell it again")
    if _said(old) != _said(new):
        raise UsageError(
            f"run {new.id} was told before: {_said(old)}; now {_said(new)}",
            wanted="one result a run",
            fix=f"keep the first, or remove {store.trial_path(new.id)} and tell it again, before others are suggested",
        )


def _said(trial: Trial) -> str:
    """Everything of a trial that is told, as text: NaN is equal to NaN there."""
    values = [
        f"{c.target} "
        + ", ".join(f"{v!r} at {n:,} tokens" for v, n in zip(c.bits_per_byte, c.tokens, strict=True))
        + (f" ± {', '.join(map(repr, c.errors))}" if c.errors else "")
        for c in trial.curves
    ]
    return "; ".join([trial.status, *values, f"realised {trial.realised}", *filter(None, [trial.message])])


# what is told, as a trial


def trial(run: str, plan: Plan, ended: Ended, corpus: Corpus | None) -> Trial:
    """The trial that was told.

    Args:
        corpus: For a better message about units; may be absent.

    Raises:
        UsageError: see `Study.tell`.
    """
    realised = _realised(run, plan, ended)
    names = targets(plan)
    for name in ended.metrics:
        if name not in names:
            raise UsageError(
                f"run {run} has no target {name!r}",
                wanted=f"values of {', '.join(names)}",
                fix=nearest(name, names),
            )
    missing = [name for name in names if name not in ended.metrics]
    if ended.status == "done" and missing:
        raise UsageError(
            f"no value of {', '.join(missing)} in run {run}",
            wanted=f"values of {', '.join(names)}",
            fix="tell all targets of a run at once; a run that broke off is told with --failed MESSAGE",
        )
    if ended.status == "failed" and (ended.metrics or not ended.message):
        raise UsageError(f"run {run} failed, with metrics or without a message", wanted="a message and no metrics")
    total = plan.tokens if ended.realised is None else sum(realised)
    curves = [
        _curve(run, target, ended.metrics[name], total, ended.status, _nats(plan, name, corpus))
        for name, target in names.items()
        if name in ended.metrics
    ]
    return Trial(
        id=run,
        plan=plan,
        status=ended.status,
        curves=tuple(c for c in curves if c.tokens),
        realised=realised,
        cost=Cost(0.0, 0.0, 0.0),
        provenance={"trainer": "outside", "cuvee": __version__} | ({"from": ended.source} if ended.source else {}),
        message=ended.message or ("the trainer says so" if ended.status == "diverged" else ""),
    )


def targets(plan: Plan) -> dict[str, Measure]:
    """What a run is scored on, by name; domains in bits/byte of their held-out text."""
    return {name: Measure(name, "text") for name in plan.targets} | {m.name: m for m in plan.measures}


def _realised(run: str, plan: Plan, ended: Ended) -> tuple[int, ...]:
    """Tokens of each domain, shape D: as told, or the plan's; none of a run that broke off and says nothing."""
    domains, mean = plan.schedule.domains, plan.schedule.mean(plan.tokens)
    if ended.realised is None:
        return mean.tokens(plan.tokens) if ended.status == "done" else (0,) * len(domains)
    for name in ended.realised:
        if name not in domains:
            raise UsageError(
                f"realised tokens of {name!r} in run {run}",
                wanted=f"domains: {', '.join(domains)}",
                fix=nearest(name, domains),
            )
    missing = [d for d, share in mean.as_dict().items() if share and d not in ended.realised]
    if missing or min(ended.realised.values()) < 0 or (ended.status == "done" and not sum(ended.realised.values())):
        raise UsageError(
            f"the realised tokens of run {run} are {dict(ended.realised)}",
            wanted=f"whole numbers, at least 0, of every domain in the mixture: {', '.join(missing or domains)}",
        )
    return tuple(ended.realised.get(d, 0) for d in domains)


def _curve(run: str, target: Measure, told: Told, total: int, status: Status, nats: str) -> Curve:
    """The curve of one target as trials hold it: less is better."""
    what = f"{target.name} of run {run}"
    _check_meaning(what, target, told, nats)
    tokens = told.tokens or (total,) * len(told.values)
    if not told.values or len(tokens) != len(told.values) or len(told.errors) not in (0, len(told.values)):
        raise UsageError(
            f"{what}: {len(told.values)} values, {len(told.tokens)} tokens, {len(told.errors)} errors",
            wanted="as many of each, or a final value without tokens",
        )
    if not told.tokens and len(told.values) > 1:
        raise UsageError(f"{what}: {len(told.values)} values without tokens", wanted="the tokens seen at each value")
    if tokens[0] < 0 or any(b <= a for a, b in pairwise(tokens)):
        raise UsageError(f"{what}: tokens {_some(tokens)}", wanted="tokens that ascend")
    finite = next((i for i, v in enumerate(told.values) if not math.isfinite(v)), len(told.values))
    if status == "done":
        _check_end(what, told, tokens[-1], total, finite)
    if any(e < 0 or math.isinf(e) for e in told.errors):
        raise UsageError(f"{what}: standard errors {_some(told.errors)}", wanted="at least 0")
    sign = -1.0 if target.direction == "maximise" else 1.0
    values = tuple(sign * v for v in told.values[:finite])
    return Curve(target.name, tokens[:finite], (), values, told.errors[:finite])


def _check_end(what: str, told: Told, last: int, total: int, finite: int) -> None:
    if finite < len(told.values):
        raise UsageError(
            f"{what} is {told.values[finite]}",
            wanted="a finite value",
            fix="if the run diverged, say so: --diverged (status='diverged')",
        )
    if abs(last - total) > SLACK * total:
        raise UsageError(
            f"{what} ends at {last:,} tokens",
            wanted=f"the end of the run, {total:,} tokens, within {SLACK:.0%}",
            fix="if the run trained on more or fewer, tell its realised tokens by domain (--realised DOMAIN=TOKENS)",
        )


def _check_meaning(what: str, target: Measure, told: Told, nats: str) -> None:
    """Refuse a value that is not what the target means by its name."""
    if told.direction is not None and told.direction != target.direction:
        raise UsageError(
            f"{what} is to {told.direction} by its source",
            wanted=f"a metric to {target.direction}, as the study has it",
            fix="another metric, or the direction in `measures`; give accuracies as they are, not with their sign turned",
        )
    given, wanted = _unit(told.unit), _unit(target.unit)
    if given and wanted and given != wanted:
        loss = given in NATS and wanted == "bits/byte"
        raise UsageError(
            f"{what} is given in {told.unit}",
            wanted=target.unit,
            fix=f"a loss in nats/token is {nats} bits/byte" if loss else "the unit in `measures`, or another metric",
        )


def _unit(name: str) -> str:
    plain = name.strip().lower()
    return ALIASES.get(plain, plain)


def _nats(plan: Plan, name: str, corpus: Corpus | None) -> str:
    """How a loss in nats/token becomes bits/byte."""
    if corpus is None or name not in plan.targets:
        return "/ ln 2 / (bytes per token of the held-out text)"
    per_token = corpus.bytes_per_token(name, plan.split)
    return f"/ ln 2 / bytes per token; with this corpus's tokenizer 1 nat/token is {1 / math.log(2) / per_token:.4f}"


def _some(numbers: Sequence[float]) -> str:
    return ", ".join(f"{n:,}" for n in numbers[:6]) + (" ..." if len(numbers) > 6 else "")


def plain(metrics: Mapping[str, float | Told]) -> dict[str, Told]:
    """Metrics as `Told`, where a number is the final value."""
    return {name: m if isinstance(m, Told) else Told((float(m),)) for name, m in metrics.items()}
