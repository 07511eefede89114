"""What `cuvee suggest` and `cuvee tell` do: plans out as files, metrics in from options, results files, other tools' files."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cuvee.base.codec import SchemaError, from_json, nearest
from cuvee.base.errors import DataError, UsageError
from cuvee.base.files import load_json
from cuvee.base.progress import Silent
from cuvee.cli.mix import pairs
from cuvee.cli.run import Result, finish, open_study
from cuvee.cli.studyfile import Question
from cuvee.corpus.examples import read_examples
from cuvee.interop.metrics import Metric, RunMetrics, read_metrics
from cuvee.interop.outside import Form, Halves, finished, write_plans
from cuvee.plan.trial import Measure, Status
from cuvee.study.outside import Direction, Ended, Suggestion, Told, targets
from cuvee.study.study import Study

PLUS_MINUS = "±"


class _Said(Silent):
    """Says on stderr what the study says."""

    def say(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)


def run_suggest(question: Question, study_file: Path, out: Path, form: Form) -> Result:
    """Write the plans that are to be run next; at the end the report."""
    study, large = open_study(question, "refuse"), question.large
    found = study.suggest(
        question.file.verify.seeds,
        large=large.proxy if large else None,
        large_seeds=large.seeds if large else 0,
        transfer=large.transfer if large else 0,
        progress=_Said(),
    )
    if found.stage == "done":
        finished(out)
        choice = study.choice()
        assert choice is not None, "a study that is done has chosen"
        verified = [v for v in (study.verification(), study.verification("large")) if v is not None]
        text, value = finish(question, study, choice, verified)
        return text, {"stage": "done", "left": 0, "finished": 0, "plans": [], **value}
    runs = {p.id: p.plan for p in found.runs}
    paths = write_plans(out, found.stage, runs, question.corpus, form, _halves(question, study_file))
    lines = [f"{found.stage}: {len(runs)} runs to make, {found.finished} told", *map(str, paths)]
    lines.append("then, for each: cuvee tell STUDY.yaml RUN --metric NAME=VALUE ... (or --from FILE)")
    return "\n".join(lines), {**_standing(found), "plans": [str(p) for p in paths]}


def _halves(question: Question, study_file: Path) -> Halves:
    base = study_file.resolve().parent
    entries = {name: e for name, e in question.file.measures.items() if e.file is not None}
    return {
        name: read_examples(base / str(e.file), e.text_field).split(question.problem.seed)
        for name, e in entries.items()
    }


def _standing(found: Suggestion) -> dict[str, Any]:
    return {"stage": found.stage, "left": len(found.runs), "finished": found.finished}


@dataclass(frozen=True)
class Given:
    """The options of `cuvee tell`."""

    run: str
    metrics: Sequence[str]
    units: Sequence[str]
    realised: Sequence[str]
    file: Path | None
    source: str | None
    mapped: Sequence[str]
    status: Status
    message: str


def run_tell(question: Question, given: Given) -> Result:
    """Take the metrics of one run or of all in a file."""
    if not (question.folder / "study.json").exists():
        raise UsageError("nothing was suggested yet", fix="cuvee suggest STUDY.yaml --out DIR")
    study = Study.load(question.folder, question.corpus)
    told = list(_told(study, given))
    found: dict[str, Suggestion] = {}
    for run, e in told:
        place = f"{given.file.name}: " if given.file else ""
        try:
            left = study.tell(run, e.metrics, realised=e.realised, status=e.status, message=e.message, source=e.source)
        except UsageError as error:
            raise UsageError(f"{place}{error.what}", wanted=error.wanted, fix=error.fix) from error
        found[left.stage] = left
    lines = [f"told {len(told)} run{'s' if len(told) != 1 else ''}"]
    for left in found.values():
        ids = ", ".join(p.id[:12] for p in left.runs[:6]) + (" ..." if len(left.runs) > 6 else "")
        lines.append(
            f"{left.stage}: {len(left.runs)} of {len(left.runs) + left.finished} runs left ({ids})"
            if left.runs
            else f"{left.stage}: all {left.finished} runs are told; go on with cuvee suggest"
        )
    return "\n".join(lines), {"told": [run for run, _ in told], "stages": [_standing(s) for s in found.values()]}


def _told(study: Study, given: Given) -> Iterator[tuple[str, Ended]]:
    """Every run that the options tell of."""
    plain = Ended({}, _counts(given.realised), given.status, given.message, given.file.name if given.file else "")
    if given.file is None:
        if not given.run:
            raise UsageError("no run is named", wanted="RUN with --metric NAME=VALUE, or --from FILE")
        if given.mapped or given.source:
            raise UsageError("--map and --source are about a file", fix="--from FILE")
        units = _units(given.units)
        yield (
            given.run,
            replace(plain, metrics={n: _value(v, units, n) for n, v in pairs(given.metrics, "--metric").items()}),
        )
        return
    if given.metrics:
        raise UsageError("got --metric and --from", wanted="one of them")
    if (ours := _results(given.file)) is not None:
        if given.mapped or given.realised or given.units or given.source or given.status != "done":
            raise UsageError(
                f"{given.file.name} is a results file, which says itself what its values are",
                wanted="no --map, --unit, --realised, --source, --failed, --diverged beside it",
            )
        yield from _picked(ours, given.run, given.file)
        return
    runs = read_metrics(given.file, given.source)
    if not given.run and plain.realised is not None:
        raise UsageError("--realised without a run", wanted="RUN, or a results file with `realised` for each")
    for run, metrics in _by_run(runs, given).items():
        yield run, replace(plain, metrics=_chosen(study, run, metrics, given))


# options


def _number(text: str, what: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"{what} is {text!r}", wanted="a number such as 1.93") from None


def _value(text: str, units: Mapping[str, str], name: str) -> Told:
    """`1.93`, `1.93±0.01` or `1.93,0.01`."""
    value, _, error = text.replace(PLUS_MINUS, ",").partition(",")
    errors = (_number(error, f"the error of {name}"),) if error else ()
    return Told((_number(value, name),), (), errors, units.get(name, units.get("", "")))


def _units(words: Sequence[str]) -> dict[str, str]:
    """Target -> unit; an empty name for all targets."""
    for_all = next((w for w in words if "=" not in w), "")
    return {"": for_all} | pairs([w for w in words if "=" in w], "--unit")


def _counts(words: Sequence[str]) -> dict[str, int] | None:
    found = {name: _number(n, f"--realised {name}") for name, n in pairs(words, "--realised").items()}
    for name, n in found.items():
        if not n.is_integer():
            raise UsageError(f"--realised {name}={n}", wanted="a whole number of tokens")
    return {name: int(n) for name, n in found.items()} or None


# results files of our own


@dataclass(frozen=True)
class MetricEntry:
    """A metric in a results file: `value` with its `error`, or `values` at `tokens` with `errors`."""

    value: float | None = None
    error: float | None = None
    values: tuple[float, ...] = ()
    tokens: tuple[int, ...] = ()
    errors: tuple[float, ...] = ()
    unit: str = ""
    direction: Direction | None = None

    def __post_init__(self) -> None:
        if (self.value is None) == (not self.values) or (self.values and self.error is not None):
            raise UsageError("a metric", wanted="value (and error), or values with tokens (and errors)")

    def told(self) -> Told:
        """As a study takes it."""
        if self.value is None:
            return Told(self.values, self.tokens, self.errors, self.unit, self.direction)
        errors = self.errors if self.error is None else (self.error,)
        return Told((self.value,), self.tokens, errors, self.unit, self.direction)


@dataclass(frozen=True)
class RunEntry:
    """A run in a results file; what the fields mean is as in `Study.tell`."""

    run: str
    metrics: Mapping[str, float | MetricEntry]
    realised: Mapping[str, int] | None = None
    status: Status = "done"
    message: str = ""


@dataclass(frozen=True)
class ResultsFile:
    """`results.json`: what an outside trainer measured."""

    runs: tuple[RunEntry, ...]
    format: int = 1


def _results(path: Path) -> list[tuple[str, Ended]] | None:
    """The runs of a results file of ours; None when the file is of another kind."""
    if path.suffix.lower() != ".json" or not path.is_file():
        return None
    data = load_json(path)
    if not isinstance(data, dict) or "runs" not in data:
        return None
    try:
        runs = from_json(ResultsFile, data).runs
    except SchemaError as error:
        raise DataError(f"{path.name}: {error.what}", wanted=error.wanted, fix=error.fix) from error
    return [
        (
            r.run,
            Ended(
                {n: m.told() if isinstance(m, MetricEntry) else Told((m,)) for n, m in r.metrics.items()},
                r.realised,
                r.status,
                r.message,
                path.name,
            ),
        )
        for r in runs
    ]


def _picked(runs: list[tuple[str, Ended]], run: str, path: Path) -> list[tuple[str, Ended]]:
    found = [(r, e) for r, e in runs if run in ("", r)]
    if not found:
        raise DataError(f"{path.name} has no run {run or 'at all'}", wanted=f"one of {', '.join(r for r, _ in runs)}")
    return found


# other tools' files


def _by_run(runs: Sequence[RunMetrics], given: Given) -> dict[str, tuple[Metric, ...]]:
    """Run id -> metrics: the run that is named, or all runs when the file names them by their ids."""
    assert given.file is not None
    if not given.run:
        if any(not r.run for r in runs):
            raise UsageError(
                f"{given.file.name} does not say which run it is of",
                wanted="RUN, or a column `run` with run ids",
                fix="cuvee tell STUDY.yaml RUN --from FILE",
            )
        return {r.run: r.metrics for r in runs}
    named = [r for r in runs if r.run == given.run] or list(runs)
    if len(named) > 1:
        raise UsageError(
            f"{given.file.name} holds {len(runs)} runs, none called {given.run}: {', '.join(r.run for r in runs[:6])}",
            wanted="a file of one run, or one that calls runs by their ids",
        )
    return {given.run: named[0].metrics}


def _chosen(study: Study, run: str, metrics: Sequence[Metric], given: Given) -> dict[str, Told]:
    """The targets of a run among the metrics of a file: those of the same name, and those that are mapped."""
    assert given.file is not None
    mapped, units = pairs(given.mapped, "--map"), _units(given.units)
    known = {m.name: m for m in metrics}
    for name in mapped:
        if name not in known:
            raise UsageError(
                f"{given.file.name} has no metric {name!r} of run {run}",
                wanted=f"one of {', '.join(known)}",
                fix=nearest(name, known),
            )
    wanted = targets(study.problem.plan(study.problem.natural, 0))
    names = {name: name for name in wanted if name in known} | {target: name for name, target in mapped.items()}
    missing = [name for name in wanted if name not in names]
    if missing and given.status == "done":
        raise UsageError(
            f"{given.file.name} has no metric called {', '.join(missing)} of run {run}",
            wanted=f"one of its metrics for each target: {', '.join(known)}",
            fix=f"--map METRIC={missing[0]}",
        )
    found = {}
    for target, name in names.items():
        unit = units.get(target, units.get("", "")) or known[name].unit
        if not unit and name in mapped and target in wanted:
            _check_unit(name, wanted[target])
        found[target] = _of(known[name], unit)
    return found


def _check_unit(name: str, target: Measure) -> None:
    """A loss under another name may be in nats/token, which no check of values could tell."""
    if target.unit == "bits/byte":
        raise UsageError(
            f"{name} does not say its unit",
            wanted=f"{target.name} in bits/byte of its held-out text (not nats/token)",
            fix=f"--unit {target.name}=bits/byte if that is what it is",
        )


def _of(metric: Metric, unit: str) -> Told:
    """The whole curve where tokens are known up to its end, else the final value."""
    direction: dict[bool | None, Direction | None] = {True: "maximise", False: "minimise", None: None}
    last = metric.points[-1]
    points = [p for p in metric.points if p.tokens is not None] if last.tokens is not None else [last]
    errors = [math.nan if p.error is None else p.error for p in points]
    return Told(
        values=tuple(p.value for p in points),
        tokens=tuple(p.tokens for p in points if p.tokens is not None),
        errors=() if all(math.isnan(e) for e in errors) else tuple(errors),
        unit=unit,
        direction=direction[metric.higher_is_better],
    )
