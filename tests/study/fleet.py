"""A small real study for the tests of runners: its command in a process of its own, and what it must come to."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from cuvee.study.study import Study

ROOT = str(Path(__file__).resolve().parent.parent.parent)
COMMAND = """
import sys
import cuvee
from tests.study.fakes import Grid
from cuvee.study.runners.emit import Emit
from cuvee.study.runners.local import Local
from cuvee.study.runners.ray import Ray

folder, corpus, workers, runner = sys.argv[1], cuvee.Corpus.open(sys.argv[2]), int(sys.argv[3]), eval(sys.argv[4])
proxy = cuvee.plan.problem.Proxy(tokens=8192, size="0.1M", seq_len=8, batch=16, eval_points=1)
problem = cuvee.Problem.from_corpus(corpus, target_tokens=24_000, targets={"a": 1, "c": 1}, max_epochs=16, proxy=proxy)
study = cuvee.Study.open(folder, problem, corpus, Grid())
study.run(workers, None, runner)
study.choose()
"""


def start(folder: Path, corpus: Path, workers: int = 2, runner: str = "Local()") -> subprocess.Popen[bytes]:
    """The study in `folder`, searched and chosen by `workers` under `runner` (a Python expression)."""
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, str(folder), str(corpus), str(workers), runner],
        env={**os.environ, "PYTHONPATH": ROOT + os.pathsep + os.environ.get("PYTHONPATH", "")},
        stderr=subprocess.PIPE,
    )


def finish(process: subprocess.Popen[bytes]) -> None:
    _, stderr = process.communicate()
    assert process.returncode == 0, stderr.decode()


def trials(folder: Path) -> int:
    return len(list(folder.glob("trials/*/*.json")))


def same(folder: Path, reference: Path) -> None:
    """The same runs, to the bit, each once, and the same choice."""
    ours, theirs = Study.load(folder).trials(), Study.load(reference).trials()
    assert [(t.id, t.status, t.curves, t.realised) for t in ours] == [
        (t.id, t.status, t.curves, t.realised) for t in theirs
    ]
    assert trials(folder) == len(theirs)
    ours_chosen, theirs_chosen = (Study.load(f).choice() for f in (folder, reference))
    assert ours_chosen is not None
    assert theirs_chosen is not None
    # made by other commits where the code is worked on meanwhile
    assert replace(ours_chosen, provenance=None) == replace(theirs_chosen, provenance=None)
