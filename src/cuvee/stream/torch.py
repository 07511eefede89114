"""The loader as a torch dataset: whole batches, for a DataLoader with `batch_size=None`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch.utils.data import IterableDataset, get_worker_info

from cuvee.base.errors import UsageError
from cuvee.mixture.schedule import Schedule
from cuvee.mixture.weights import Mixture
from cuvee.stream.batch import Batch
from cuvee.stream.loader import Loader, LoaderState

Tensors = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


class TorchDataset(IterableDataset[Tensors]):
    """Endless (tokens, domains, documents) of this rank's batches, from where `loader` is, the same for any `num_workers`.

    Worker w of W reads every W-th batch and passes over the others; a DataLoader asks its workers in turn, so batches come
    in order. `loader` itself is not moved: `state_after` says what to save, `schedule` what was planned and changed.
    """

    def __init__(self, loader: Loader) -> None:
        self._loader = loader
        self._shadow, self._passed = loader.copy(), 0
        self._reader: Loader | None = None

    def __iter__(self) -> Iterator[Tensors]:
        info = get_worker_info()
        loader = self._loader.copy()
        if info is None:
            _take_changes(loader, self._reader)
            self._reader = loader
        worker, workers = (info.id, info.num_workers) if info is not None else (0, 1)
        loader.skip(worker)
        while True:
            yield _tensors(next(loader))
            loader.skip(workers - 1)

    @property
    def is_read_here(self) -> bool:
        """Whether batches have been taken in this process, so that `reweight` reaches the next ones."""
        return self._reader is not None

    def reweight(self, mixture: Mixture) -> None:
        """Change to `mixture` from the next batch that is read on; call it on every rank at the same batch.

        Raises:
            UsageError: batches are read by worker processes, or none has been read; the mixture is over other domains.
            DataError: a domain that gets a weight is shorter than one sequence.
        """
        if self._reader is None:
            raise UsageError(
                "a change of weights while no batches are read in this process",
                wanted="a DataLoader with num_workers=0, and at least one batch taken from it",
                fix="reweight the Loader itself before the first batch",
            )
        self._reader.change(self._reader.tokens, mixture, "reweight")

    @property
    def schedule(self) -> Schedule:
        """The planned phases and the live changes so far: a loader made with it gives the same batches."""
        return (self._reader or self._loader).schedule

    def state_after(self, batches: int) -> LoaderState:
        """The state to save once the training loop has used `batches` batches of this dataset; ask in rising order.

        Live changes made so far are in it, also those from a batch on that was read ahead and not used.
        """
        assert batches >= self._passed, (batches, self._passed)
        _take_changes(self._shadow, self._reader)
        self._shadow.skip(batches - self._passed)
        self._passed = batches
        return self._shadow.state()


def _take_changes(loader: Loader, other: Loader | None) -> None:
    """Give `loader` the live changes of `other`, which goes through the same batches, and leave it where it is."""
    if other is not None:
        mine = loader.state()
        loader.restore(replace(mine, mixer=replace(mine.mixer, events=other.state().mixer.events)))


def _tensors(batch: Batch) -> Tensors:
    return torch.from_numpy(batch.tokens), torch.from_numpy(batch.domains), torch.from_numpy(batch.documents)
