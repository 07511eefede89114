from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from cuvee.shards.corpus import Corpus
from cuvee.testing.corpora import synthetic


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return synthetic(tmp_path_factory.mktemp("proxies"), documents=30)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints" / "run.pt"
