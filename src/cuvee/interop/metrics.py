"""Metrics of runs that another trainer made: the values, what is known of a metric by its name, and the entry point.

The readers beside this file (`metrics_lmeval`, `metrics_tables`, `metrics_tensorboard`) turn files into `Measurement`s; `gather`
puts those together into runs, the same way for all of them.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from cuvee.base.codec import nearest
from cuvee.base.errors import DataError, UsageError


class MetricsWarning(UserWarning):
    """Something in a file of metrics was left out, or is not what it seems; the rest was read."""


@dataclass(frozen=True)
class Point:
    """One measurement.

    Args:
        value: Finite, except in a metric's last point, where NaN or infinity says that the run had diverged by then.
        error: Standard error, if the source gives one.
        tokens: Training tokens seen; None with a `step` when the source does not say, None without one at the end of the run.
        step: The trainer's own step, if the source gives one.
    """

    value: float
    error: float | None = None
    tokens: int | None = None
    step: int | None = None


@dataclass(frozen=True)
class Metric:
    """One metric of one run.

    Args:
        name: As the source has it, such as `arc_easy/acc_norm` or `val/loss`.
        points: At least one, ascending in step and tokens.
        higher_is_better: None when the source does not say and the name is not a well-known one.
        unit: Empty when unknown.
    """

    name: str
    points: tuple[Point, ...]
    higher_is_better: bool | None
    unit: str


@dataclass(frozen=True)
class RunMetrics:
    """The metrics of one run. `run` is the source's id or name of it; empty when a file is one run and does not name it."""

    run: str
    metrics: tuple[Metric, ...]


class Measurement(NamedTuple):
    """A point, and of which metric of which run it is: what readers yield. `higher_is_better` is as in `Metric`."""

    run: str
    metric: str
    point: Point
    higher_is_better: bool | None


SOURCES = ("lm-eval", "wandb", "mlflow", "table", "tensorboard")
"""What `read_metrics` reads."""

TOKEN_COUNTERS = ("tokens", "tokens_seen", "n_tokens_seen", "num_input_tokens_seen", "consumed_tokens", "total_tokens")
"""Last part of the names under which trainers log the running total of training tokens."""

# Directions: the registry in lm-evaluation-harness 0.4.13, lm_eval/api/metrics.py, but for `accuracy` (the name in Hugging Face's
# evaluate) and `loss`.
_KNOWN: dict[str, tuple[bool, str]] = {
    **dict.fromkeys(("acc", "acc_norm", "acc_mutual_info", "acc_bytes", "acc_all", "accuracy"), (True, "accuracy")),
    **dict.fromkeys(("exact_match", "f1", "bleu", "chrf", "chrf++", "mcc", "likelihood"), (True, "")),
    **dict.fromkeys(("brier_score", "ter", "loss"), (False, "")),
    "perplexity": (False, "perplexity"),
    "word_perplexity": (False, "perplexity/word"),
    "byte_perplexity": (False, "perplexity/byte"),
    "bits_per_byte": (False, "bits/byte"),
}
_SPLITS = ("train_", "eval_", "val_", "valid_", "validation_", "test_")


def _known(name: str) -> tuple[bool | None, str]:
    """Direction and unit by the last part of a name, or the one before it in task/metric/filter."""
    parts = [part.partition(",")[0].strip().lower() for part in name.split("/")]
    for part in [parts[-1], *parts[-2:-1][: len(parts) > 2]]:
        bare = next((part.removeprefix(split) for split in _SPLITS if part.startswith(split)), part)
        if bare in _KNOWN:
            return _KNOWN[bare]
    return None, ""


def direction_of(name: str) -> bool | None:
    """Whether more of a metric is better, by its name; None unless the name is a well-known one.

    `val/loss`, `eval_loss`, `gsm8k/exact_match/strict-match` and `arc_easy/acc,none` are known by `loss`, `exact_match`, `acc`.
    """
    return _known(name)[0]


def unit_of(name: str) -> str:
    """The unit of a metric, by its name; empty unless it is certain."""
    return _known(name)[1]


@lru_cache(4096)  # asked of every point
def is_token_counter(name: str) -> bool:
    """Whether a column or metric of this name is the running total of training tokens."""
    return name.rpartition("/")[2].strip().lower() in TOKEN_COUNTERS


def read_metrics(path: Path, source: str | None = None) -> tuple[RunMetrics, ...]:
    """The metrics in a file or folder that an evaluation or a trainer's logger wrote.

    Args:
        path: A results file of lm-evaluation-harness, a CSV or Parquet table, a TensorBoard event file; or a folder of one kind.
        source: One of `SOURCES`; recognised by the file when left out.

    Returns:
        Runs in the order of their names, each with at least one metric, in the order of theirs.

    Raises:
        UsageError: an unknown source, a folder of several kinds, or TensorBoard's files without the package `tensorboard`.
        DataError: a file that is none of these or is broken, or that says two things of one measurement.

    Warns:
        MetricsWarning: something was left out: values that are not finite, columns without numbers, the broken end of a file.
    """
    if source is not None and source not in SOURCES:
        raise UsageError(
            f"no source {source!r}", wanted=f"one of {', '.join(SOURCES)}", fix=nearest(source, SOURCES) or ""
        )
    kind, files = _files(path, source)
    measured: Iterable[Measurement]
    if kind == "lm-eval":
        from cuvee.interop.metrics_lmeval import measurements as read_lmeval

        measured = read_lmeval(files, path)
    elif kind == "tensorboard":
        from cuvee.interop.metrics_tensorboard import measurements as read_tensorboard

        measured = read_tensorboard(files, path)
    else:
        from cuvee.interop.metrics_tables import measurements as read_tables

        measured = read_tables(files, path, source)
    found = gather(measured, path)
    if not found:
        raise DataError(f"{path} holds no measurement", wanted="at least one metric with a value")
    return found


_PATTERNS = {
    "lm-eval": ("results*.json",),
    "table": ("*.csv", "*.parquet"),
    "tensorboard": ("*tfevents*",),
}
_WANTED = (
    "results*.json of lm-evaluation-harness, a .csv or .parquet table, TensorBoard's events.out.tfevents.*, "
    "or a folder of one kind"
)


def _files(path: Path, source: str | None) -> tuple[str, list[Path]]:
    """The kind of reader and the files for it. A file that is named outright may have any name that ends as its kind does."""
    told = "table" if source in ("wandb", "mlflow") else source
    if path.is_file():
        byname = {".json": "lm-eval", ".csv": "table", ".parquet": "table"}.get(path.suffix.lower())
        kind = told or ("tensorboard" if "tfevents" in path.name else byname)
        if kind is None:
            raise DataError(f"{path.name} is no kind of file that metrics are read from", wanted=_WANTED)
        return kind, [path]
    if not path.is_dir():
        raise DataError(f"no such file or folder: {path}", fix="check the path")
    kinds = {
        kind: files
        for kind, patterns in _PATTERNS.items()
        if told in (None, kind) and (files := sorted(f for p in patterns for f in path.rglob(p) if f.is_file()))
    }
    if not kinds:
        raise DataError(f"{path} holds no metrics" + (f" of {source}" if source else ""), wanted=_WANTED)
    if len(kinds) > 1:
        raise UsageError(
            f"{path} holds files of {' and '.join(kinds)}", wanted="one kind", fix="say which, or give one file"
        )
    return kinds.popitem()


def gather(measured: Iterable[Measurement], path: Path) -> tuple[RunMetrics, ...]:
    """Measurements put together by run and metric.

    A token counter that was logged with steps becomes the `tokens` of the run's other points at those steps. Values that are not
    finite are left out with a warning, except a metric's last, which says that the run diverged.

    Raises:
        DataError: one measurement with two values, or tokens that do not grow with the steps.
    """
    found: dict[tuple[str, str], list[Measurement]] = {}
    counted: dict[tuple[str, int], int] = {}
    for m in measured:
        tokens = m.point.tokens
        if m.point.step is not None and is_token_counter(m.metric):
            tokens = whole(m.point.value, f"{m.metric} of {_of(m.run)} in {path.name}")
        else:
            found.setdefault((m.run, m.metric), []).append(m)
        if m.point.step is not None and tokens is not None:
            counted[m.run, m.point.step] = tokens
    runs: dict[str, list[Metric]] = {}
    lost: list[str] = []
    for (run, name), ms in sorted(found.items()):
        at = f"{name} of {_of(run)} in {path.name}"
        points = _ordered([_with_tokens(m.point, run, counted) for m in ms], at)
        kept = [p for p in points[:-1] if math.isfinite(p.value)] + points[-1:]
        lost += [f"{len(points) - len(kept)} of {len(points)} values of {at}"] if len(kept) < len(points) else []
        runs.setdefault(run, []).append(Metric(name, tuple(kept), ms[0].higher_is_better, unit_of(name)))
    if lost:
        warn(f"not finite and left out: {listed(lost)}")
    return tuple(RunMetrics(run, tuple(metrics)) for run, metrics in runs.items())


def _of(run: str) -> str:
    return f"run {run}" if run else "the run"


def _with_tokens(point: Point, run: str, counted: dict[tuple[str, int], int]) -> Point:
    if point.tokens is not None or point.step is None or (run, point.step) not in counted:
        return point
    return Point(point.value, point.error, counted[run, point.step], point.step)


def _ordered(points: list[Point], at: str) -> list[Point]:
    """Points in ascending order, those without a position last, each position once."""
    stepped = any(p.step is not None for p in points)
    ranked: dict[float, Point] = {}
    for p in points:
        place = p.step if stepped else p.tokens
        if place is None and p.tokens is not None:
            raise DataError(
                f"{at} has a step for some values and only tokens for others", wanted="steps for all or none"
            )
        first = ranked.setdefault(math.inf if place is None else place, p)
        if first is not p and repr(first) != repr(p):  # repr, because here NaN is the same as NaN
            raise DataError(
                f"{at} has two values {_place(p)}: {first.value:g} and {p.value:g}",
                wanted="each measurement once",
                fix="log with the step; where a run was begun again, keep the rows of one beginning",
            )
    ordered = [ranked[key] for key in sorted(ranked)]
    known = [p.tokens for p in ordered if p.tokens is not None]
    if any(later <= earlier for earlier, later in pairwise(known)):
        raise DataError(
            f"the tokens of {at} do not grow with the steps: {listed([f'{n:,}' for n in known])}",
            wanted="the running total of training tokens",
            fix="rename the column or metric if it counts something else, such as the tokens of a batch",
        )
    return ordered


def _place(point: Point) -> str:
    if point.step is not None:
        return f"at step {point.step}"
    return "at the end" if point.tokens is None else f"at {point.tokens:,} tokens"


def whole(value: float, what: str) -> int:
    """A step or count of tokens.

    Raises:
        DataError: negative, or no whole number.
    """
    if not (math.isfinite(value) and value >= 0 and value == int(value)):
        raise DataError(f"{what} is {value:g}", wanted="a whole number, at least 0")
    return int(value)


def listed(names: list[str]) -> str:
    """Up to six of them in a sentence, and how many more there are."""
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def warn(text: str) -> None:
    """Say that something was left out."""
    warnings.warn(text, MetricsWarning, stacklevel=2)


def run_name(file: Path, root: Path) -> str:
    """The run of a file that names none: its path in the folder that was given, without its ending; empty for one file."""
    return "" if file == root else file.relative_to(root).with_suffix("").as_posix()


def readable_size(path: Path) -> int:
    """The bytes in a file.

    Raises:
        DataError: it cannot be read, or is empty.
    """
    try:
        with open(path, "rb") as file:
            size = file.seek(0, 2)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}", fix="check the path and its permissions") from error
    if not size:
        raise DataError(f"{path} is empty", wanted="a file with metrics", fix="export or copy it again")
    return size


def decoded(path: Path) -> str:
    """The text of a file, without a byte order mark.

    Raises:
        DataError: it cannot be read, is empty, or is not UTF-8.
    """
    readable_size(path)
    data = path.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not UTF-8: byte {data[error.start]:#04x} at {error.start}",
            wanted="UTF-8",
            fix=f"iconv -f ENCODING -t UTF-8 {path.name}",
        ) from error
