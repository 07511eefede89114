"""Where the runs of a study are made, as the command line and the study file say together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cuvee.base.errors import UsageError
from cuvee.cli.studyfile import Question, RunnerName
from cuvee.study.runners.emit import Emit, Kind
from cuvee.study.runners.local import Local, Runner
from cuvee.study.runners.ray import Ray


@dataclass(frozen=True)
class Machines:
    """So many workers at a time, and what runs them."""

    workers: int
    runner: Runner


def machines(
    question: Question, workers: int, runner: RunnerName | None, emit: Kind | None, out: Path | None
) -> Machines:
    """What the options say; where they say nothing, the study file.

    Raises:
        UsageError: no workers; options that do not go together; or several workers of this machine, each with most of one GPU's memory.
    """
    if (emit and runner) or (out and not emit):
        raise UsageError("--emit starts nothing and --out is for it", wanted="--runner, or --emit with --out")
    count = workers or question.file.workers
    if count < 1:
        raise UsageError(f"workers: got {count}", wanted="1 or more", fix="as many as this machine has cores")
    if emit:
        return Machines(count, Emit(emit, out or question.folder / "emitted"))
    name = runner or question.file.runner
    proxy = question.problem.proxy
    if name == "local" and count > 1 and proxy.device == "cuda" and proxy.together == "auto":
        raise UsageError(
            f"{count} workers on the GPU of this machine, most of whose memory together: auto gives to one",
            wanted="workers: 1",
            fix="that, or the number of plans by hand: together: 8",
        )
    return Machines(count, Ray(**vars(question.file.ray)) if name == "ray" else Local())
