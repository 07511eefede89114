"""How `fixtures/format1` was made: `python -m tests.study.make_fixture FOLDER`. It is never made again: it must load for ever."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from cuvee.plan.problem import Guard, Limit, Problem, Proxy, Target
from cuvee.study.study import Study
from cuvee.testing.corpora import synthetic
from tests.study.fakes import Grid, Inline


def make(folder: Path) -> None:
    """A small finished study, edited once, whose corpus is gone."""
    corpus = synthetic(folder.parent / "gone", domains=("C/C++", "c/c++", "日本語"), documents=60)
    problem = Problem.from_corpus(
        corpus,
        target_tokens=12_000,
        targets={"C/C++": 1, "日本語": 2},
        max_epochs=4,
        proxy=Proxy(tokens=2048, size="0.1M", seq_len=8, batch=16, eval_points=1),
        limits=(Limit("c/c++", max_share=0.9),),
        guards=(Guard("rest", (Target("c/c++"),), 0.05),),
    )
    first = problem.with_objective((Target("C/C++"),))
    Study.open(folder, first, corpus, Grid(per_round=1)).run(runner=Inline())
    study = Study.open(folder, problem, corpus, Grid(per_round=1))
    study.run(runner=Inline())
    study.verify(study.choose(), seeds=2, runner=Inline())
    shutil.rmtree(corpus.path)


if __name__ == "__main__":
    make(Path(sys.argv[1]))
