"""A corpus that all tests of studies share (none of them changes it), and a study with runs to make."""

from __future__ import annotations

from pathlib import Path

import pytest

from cuvee.shards.corpus import Corpus
from cuvee.study.layout import Planned, Round
from cuvee.study.store import Store
from cuvee.testing.corpora import synthetic
from tests.study.fakes import problem


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return synthetic(tmp_path_factory.mktemp("study") / "corpus")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "study"


@pytest.fixture
def store(folder: Path, corpus: Corpus) -> Store:
    """A study with one round: natural in three blocks."""
    question = problem(corpus)
    plans = [question.plan(question.natural, block) for block in range(3)]
    made = Store(folder)
    made.write_round(0, Round(tuple(Planned(p.id(corpus.fingerprint), p) for p in plans)))
    return made
