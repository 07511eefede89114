"""Results of lm-evaluation-harness: the JSON file that it writes under `--output_path`, one or a folder of them.

From 0.4 on, `results` maps each task and group to `metric,filter` -> value with `metric_stderr,filter` beside it, "N/A" where there
is no standard error; before, the keys are bare (`acc`, `acc_stderr`). Groups are in `results` too, `groups` only repeats
them. (Read in lm_eval/evaluator_utils.py and result_schema.py of 0.4.13.)
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cuvee.base.errors import DataError
from cuvee.interop.metrics import Measurement, Point, decoded, direction_of, listed, run_name, warn

_ABOUT = ("alias", "name", "sample_len", "sample_count", "samples", " ")
_WANTED = "a results file of lm-evaluation-harness: an object with `results`, task -> metric -> value, and `versions`"


def measurements(files: list[Path], root: Path) -> Iterator[Measurement]:
    """The metrics of all tasks and groups, each measured at the end of the run.

    A single file is the run "". In a folder, a file's run is its `model_name`, and files of one model are one run.

    Raises:
        DataError: a file that is no such results file.
    """
    for file in files:
        data = _parsed(file)
        run = "" if file == root else str(data.get("model_name") or run_name(file, root))
        directions = data.get("higher_is_better")
        skipped: list[str] = []
        for task, scores in data["results"].items():
            known = directions.get(task) if isinstance(directions, dict) else None
            for key, value in _scores(scores):
                metric, _, filtered = key.partition(",")
                name = f"{task}/{metric}" + (f"/{filtered}" if filtered not in ("", "none") else "")
                if not _is_number(value):
                    skipped.append(f"{name} ({value!r:.40})")
                    continue
                error = scores.get(f"{metric}_stderr" + (f",{filtered}" if filtered else ""))
                higher = known[metric] if isinstance(known, dict) and metric in known else direction_of(name)
                point = Point(float(value), float(error) if _is_number(error) else None)
                yield Measurement(run, name, point, higher if isinstance(higher, bool) else None)
        if skipped:
            warn(f"no numbers and left out in {file.name}: {listed(skipped)}")


def _parsed(file: Path) -> dict[str, Any]:
    text = decoded(file)
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file} is no JSON: {error}", wanted=_WANTED, fix="copy or export it again") from error
    if not isinstance(data, dict):
        raise DataError(f"{file} holds {type(data).__name__}, not an object", wanted=_WANTED)
    results = data.get("results")
    if (
        "versions" not in data
        or not isinstance(results, dict)
        or not all(isinstance(r, dict) for r in results.values())
    ):
        raise DataError(f"{file} is JSON of another kind: it has {listed(list(data)) or 'no keys'}", wanted=_WANTED)
    return data


def _scores(scores: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The entries that are metrics: those with a filter, or all that are not about the task where none has one."""
    filtered = any("," in key for key in scores)
    for key, value in scores.items():
        bare = key.partition(",")[0]
        if key not in _ABOUT and ("," in key or not filtered) and not bare.endswith("_stderr"):
            yield key, value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
