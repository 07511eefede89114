"""`past`, `tree` and `freeze` in a study file, as a user types them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cuvee.base.errors import UsageError
from cuvee.cli.studyfile import load
from cuvee.methods.regression import Regression
from cuvee.mixture.edits import Remove, Split
from cuvee.mixture.tree import Tree
from cuvee.shards.corpus import Corpus
from cuvee.study.study import Study
from cuvee.testing.corpora import synthetic
from tests.study.fakes import Inline, problem

STUDY = """\
corpus: corpus
study: study
target_tokens: 40_000
targets: {b: 1}
proxy: {size: 0.1M, tokens: 4096, seq_len: 16, batch: 16, eval_points: 1}
verify: {seeds: 0}
small_pools: cap
"""
PAST = "past: [{study: old, edits: [%s]}]\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("edits")
    synthetic(root / "corpus", domains=("b", "web/x", "web/y"))
    before: Corpus = synthetic(root / "before")
    Study.open(root / "old", problem(before), before, Regression(runs=16, rounds=1)).run(runner=Inline())
    return root


def written(folder: Path, more: str) -> Path:
    path = folder / "study.yaml"
    path.write_text(STUDY + more, encoding="utf-8")
    return path


def test_a_study_file_names_what_became_of_the_domains(folder: Path) -> None:
    edits = "{remove: c}, {split: a, into: {web/x: 0.25, web/y: 0.75}}"
    past = load(written(folder, PAST % edits)).problem.past[0]
    assert past.edits == (Remove("c"), Split("a", {"web/x": 0.25, "web/y": 0.75}))
    assert (past.source, len(past.runs)) == ("old", 16)
    assert past.lift().columns == ("web/x", "web/y", "b", "c (removed)")


@pytest.mark.parametrize(
    ("edits", "message"),
    [
        ("{remov: c}", r"study\.yaml:8: past\.0\.edits\.0: got remov"),
        ("{remove: d}", "edit 1: no domain 'd'"),
        ("{remove: c}", "after its edits, old has a, b"),
        ("{split: a, into: {web/x: 0.5, web/y: 0.4}}", r"sum 0\.9"),
        ("{merge: [a], into: b}", "at least two domains"),
        ("{revise: a, noise: -1}", "got noise -1"),
    ],
)
def test_edits_that_do_not_apply_are_errors(folder: Path, edits: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load(written(folder, PAST % edits))


def test_a_tree_by_names_or_by_paths(folder: Path) -> None:
    by_names = load(written(folder, "tree: /\nfreeze: [web]\n")).problem
    assert by_names.tree == Tree(((), ("web",), ("web",)), ("web",))
    natural_D = by_names.natural.shares
    w_D = by_names.feasible().project(np.array([0.8, 0.2, 0.0]))
    assert w_D[1] / w_D[2] == pytest.approx(natural_D[1] / natural_D[2])
    by_paths = load(written(folder, "tree: {b: books/old, web/x: web}\n")).problem
    assert by_paths.tree == Tree((("books", "old"), ("web",), ()))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("freeze: [web]\n", "there is no tree"),
        ("tree: /\nfreeze: [wed]\n", "no group 'wed'"),
        ("tree: {bb: web}\n", "no domain 'bb'"),
        ("tree: ''\n", "the separator is empty"),
    ],
)
def test_trees_that_name_nothing_are_errors(folder: Path, more: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load(written(folder, more))
