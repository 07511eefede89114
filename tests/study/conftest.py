"""A corpus that all tests of studies share; none of them changes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from cuvee.shards.corpus import Corpus
from cuvee.testing.corpora import synthetic


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return synthetic(tmp_path_factory.mktemp("study") / "corpus")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "study"
