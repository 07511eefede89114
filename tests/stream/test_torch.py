from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from cuvee.mixture.schedule import Schedule
from cuvee.mixture.weights import Mixture
from cuvee.stream.loader import Loader
from cuvee.stream.torch import TorchDataset
from cuvee.testing.corpora import synthetic


@pytest.fixture
def loader(tmp_path: Path) -> Loader:
    corpus = synthetic(tmp_path, documents=20)
    return Loader(corpus, Schedule.constant(Mixture.from_shares({"a": 1, "b": 2, "c": 1})), seq_len=16, seed=0, batch=4)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_the_loaders_for_any_number_of_workers(loader: Loader, workers: int) -> None:
    dataset = TorchDataset(loader)
    found = []
    for batch, _ in zip(DataLoader(dataset, batch_size=None, num_workers=workers), range(7), strict=False):
        found.append(batch)
    assert loader.batches == 0
    state = dataset.state_after(7)
    for tokens, domains, documents in found:
        wanted = next(loader)
        assert tokens.dtype == torch.int64
        assert np.array_equal(tokens.numpy(), wanted.tokens)
        assert np.array_equal(domains.numpy(), wanted.domains)
        assert np.array_equal(documents.numpy(), wanted.documents)
    assert state == loader.state()
    assert dataset.state_after(9) != state
