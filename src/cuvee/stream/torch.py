"""The loader as a torch dataset: whole batches, for a DataLoader with `batch_size=None`."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch.utils.data import IterableDataset, get_worker_info

from cuvee.stream.loader import Loader, LoaderState
from cuvee.stream.mixer import Batch

Tensors = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


class TorchDataset(IterableDataset[Tensors]):
    """Endless (tokens, domains, documents) of this rank's batches, from where `loader` is, the same for any `num_workers`.

    Worker w of W reads every W-th batch and passes over the others; a DataLoader asks its workers in turn, so batches come
    in order. `loader` itself is not moved: `state_after` says what to save.
    """

    def __init__(self, loader: Loader) -> None:
        self._loader = loader
        self._shadow, self._passed = copy.deepcopy(loader), 0

    def __iter__(self) -> Iterator[Tensors]:
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info is not None else (0, 1)
        loader = copy.deepcopy(self._loader)
        loader.skip(worker)
        while True:
            yield _tensors(next(loader))
            loader.skip(workers - 1)

    def state_after(self, batches: int) -> LoaderState:
        """The state to save once the training loop has used `batches` batches of this dataset; ask in rising order."""
        assert batches >= self._passed, (batches, self._passed)
        self._shadow.skip(batches - self._passed)
        self._passed = batches
        return self._shadow.state()


def _tensors(batch: Batch) -> Tensors:
    return torch.from_numpy(batch.tokens), torch.from_numpy(batch.domains), torch.from_numpy(batch.documents)
