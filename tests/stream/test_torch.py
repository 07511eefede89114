from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from cuvee.base.errors import UsageError
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


LATER = Mixture.from_shares({"a": 3, "b": 0, "c": 1})


def test_a_live_change_reaches_the_next_batch_and_replays(loader: Loader) -> None:
    dataset = TorchDataset(loader)
    found = []
    for batch in DataLoader(dataset, batch_size=None):
        found.append(batch[0])
        if len(found) == 3:
            dataset.reweight(LATER)
        if len(found) == 6:
            break
    loader.skip(3)
    loader.change(loader.tokens, LATER, "reweight")
    assert dataset.schedule == loader.schedule
    assert all(np.array_equal(t.numpy(), next(loader).tokens) for t in found[3:])
    assert dataset.state_after(6) == loader.state()
    again = TorchDataset(loader)
    for _, (tokens, _, _) in zip(range(2), again, strict=False):
        assert tokens.shape == (4, 17)
    again.reweight(Mixture.from_shares({"a": 0, "b": 1, "c": 0}))
    repeated = iter(again)
    assert [next(repeated)[1].tolist() for _ in range(3)][2] == [1, 1, 1, 1]


def test_a_state_before_a_change_that_was_read_ahead_keeps_the_change(loader: Loader) -> None:
    dataset = TorchDataset(loader)
    batches = iter(dataset)
    ahead = [next(batches)[0] for _ in range(4)]
    dataset.reweight(LATER)
    ahead += [next(batches)[0] for _ in range(3)]
    state = dataset.state_after(2)
    loader.restore(state)
    assert all(np.array_equal(t.numpy(), next(loader).tokens) for t in ahead[2:])


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_live_change_that_cannot_arrive_is_refused(loader: Loader) -> None:
    dataset = TorchDataset(loader)
    assert not dataset.is_read_here
    for _ in zip(DataLoader(dataset, batch_size=None, num_workers=1), range(2), strict=False):
        with pytest.raises(UsageError, match="no batches are read in this process"):
            dataset.reweight(LATER)
