"""The loader in PyTorch: a dataset of whole batches, and its own `DataLoader` over worker processes.

Order, resume and live changes do not depend on how many processes read. Letters: W workers.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args

import numpy.random  # noqa: F401 - or else every worker would import it for itself
import torch
from numpy.typing import NDArray
from torch import distributed
from torch.utils.data import DataLoader, IterableDataset, get_worker_info
from torch.utils.data._utils.worker import WorkerInfo

from cuvee.base.codec import from_json, to_json
from cuvee.base.errors import DataError, UsageError
from cuvee.mixture.schedule import Schedule
from cuvee.mixture.weights import Mixture
from cuvee.stream.batch import Batch
from cuvee.stream.channel import Channel, Log, hash_of, latest, take
from cuvee.stream.contract import Loads
from cuvee.stream.handover import Chunk, Memory, Parcel, Tensors, memory, tensors
from cuvee.stream.state import Change

Field = Literal["tokens", "domains", "documents", "positions", "cu_seqlens", "labels"]
_PARCEL = 1 << 19
_MOST = 16


class TorchDataset(IterableDataset[Tensors]):
    """Endless batches of this rank, from where `loader` is, for a DataLoader with `batch_size=None` and any `num_workers`.

    A batch is a list of the tensors named in `fields`. Worker w of W reads every W-th batch; a DataLoader asks its workers in
    turn, so batches come in order. `loader` itself is not moved: `state_after` says what to save.

    Args:
        fields: Attributes of `Batch` that a batch consists of; what is not asked for costs nothing.
        log: A file of live changes that outlives the run. Those already in it are made again. Rank 0 writes it; every rank
            reads it here.

    Raises:
        UsageError: a field that batches lack.
        DataError: the log is of another run, or holds a change that `loader` has passed without it.
    """

    def __init__(
        self, loader: Loads[Any], fields: tuple[Field, ...] = ("tokens", "domains"), log: Path | str | None = None
    ) -> None:
        unknown = [f for f in fields if f not in get_args(Field)]
        if unknown:
            raise UsageError(f"got the field {unknown[0]!r}", wanted=f"some of {', '.join(get_args(Field))}")
        self.fields, self._log = fields, Log(Path(log), loader) if log is not None else None
        self._begin_at(loader.copy())
        self._recall()

    def _begin_at(self, loader: Loads[Any]) -> None:
        for change in latest(self._log.read()) if self._log is not None else ():
            take(loader, change)
        self._loader, self._shadow, self._start = loader, loader.copy(), loader.batches
        self._channel = Channel(loader.batches)

    def _recall(self) -> None:
        """Causes of all that the log has, and of what of it lies ahead: of decisions that the loop may take once more."""
        logged = self._log.read() if self._log is not None else []
        self._causes = {change.cause for change in logged}
        self._made = Counter(change.cause for change in logged if change.start >= self._loader.tokens)

    def __iter__(self) -> Reader:
        return Reader(self, 1, get_worker_info())

    def all_here(self) -> Iterator[Tensors]:
        """Every batch of this rank in whatever process asks, for those who share rows out to workers themselves."""
        return Reader(self, 1, None)

    def reweight(self, mixture: Mixture, cause: str = "reweight") -> None:
        """Change to `mixture` from the first batch on that no process has begun to read.

        With several ranks (torch.distributed), call it on every one: they settle on the position. A change that this run took
        from its log when it began again is not made twice: it is known by its cause, so with a log every decision has its own.

        Raises:
            UsageError: the mixture is over other domains; a cause that the log has of another decision.
            DataError: a domain that gets a weight is shorter than one sequence; ranks differ in their changes.
        """
        with self._channel.held():
            earliest = self._asked(mixture, cause)
            if earliest is not None:
                self._change(earliest, mixture, cause, 0)

    def change(self, position: int, mixture: Mixture, cause: str, *, ramp: int = 0) -> None:
        """From `position` tokens on serve `mixture`, until the next planned phase; on every rank alike.

        Args:
            position: Of all ranks, counted from the start of the run; after all that has been begun, read ahead or not.
            cause: Why, in words, for the log; as of `reweight`.
            ramp: Tokens over which weights move there in a straight line.

        Raises:
            UsageError: the mixture is over other domains; some process has begun on the position: says which is possible.
            DataError: as of `reweight`.
        """
        with self._channel.held():
            earliest = self._asked(mixture, cause)
            if earliest is None:
                return
            if position < earliest:
                raise UsageError(
                    f"a change at {position:,} tokens, where batches have been read or are being read ahead",
                    wanted=f"at least {earliest:,} tokens, the earliest possible now",
                    fix="a later position, or reweight, which takes the earliest",
                )
            self._change(position, mixture, cause, ramp)

    def _asked(self, mixture: Mixture, cause: str) -> int | None:
        """Tokens of the first batch that no process of any rank has begun, while holding, so that it stays so; None if the change
        is one that the log has made again."""
        again = self._made[cause] > 0
        other = not again and self._log is not None and cause in self._causes
        begun = self._channel.begun
        if distributed.is_available() and distributed.is_initialized():
            device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
            changes = hash_of([self._shadow.events, mixture.units, again, other])
            most = torch.tensor([begun, changes, -changes], device=device)
            distributed.all_reduce(most, distributed.ReduceOp.MAX)
            begun, high, low = most.tolist()
            if high != -low:
                raise DataError(
                    "the ranks make different live changes, or have made some",
                    wanted="every change on every rank alike, and one log that all of them read",
                    fix="decide on one rank and broadcast the mixture; a log in a folder that every rank sees",
                )
        if other:
            raise UsageError(
                f"a second change because of {cause!r}, and the log knows a change by its cause after a kill",
                wanted="a cause that names the decision",
                fix=f'cause=f"{cause}, step {{step}}"',
            )
        self._made[cause] -= again
        return None if again else begun * self._loader.batch_tokens

    def _change(self, position: int, mixture: Mixture, cause: str, ramp: int) -> None:
        change = Change(position, mixture.units, cause, ramp)
        shadow = self._shadow.copy()
        take(shadow, change)  # refused before anything is written
        if self._log is not None and _rank(self._loader) == 0:
            self._log.add(change)
        self._shadow = shadow
        self._causes.add(cause)
        self._channel.add(change)

    @property
    def schedule(self) -> Schedule:
        """The planned phases and the live changes so far: a loader made with it gives the same batches."""
        return self._shadow.schedule

    def state_after(self, batches: int) -> Any:
        """The state to save once the training loop has used `batches` batches of this dataset; ask in rising order.

        Live changes made so far are in it, also those from a batch on that was not used yet.
        """
        passed = self._shadow.batches - self._start
        assert batches >= passed, (batches, passed)
        self._shadow.skip(batches - passed)
        return self._shadow.state()

    def restore(self, state: Any) -> None:
        """Go on from `state` when next read; not while it is being read.

        Raises:
            DataError, UsageError: as of `Loader.restore`.
        """
        self._go_on(state)
        self._recall()

    def _go_on(self, state: Any) -> None:
        """As `restore`, in a loop that has taken its decisions up to here."""
        loader = self._loader.copy()
        loader.restore(state)
        self._begin_at(loader)


class Reader(Iterator[Any]):
    """Reads the parts of one process: `chunk` batches at a time of every W chunks.

    `state_dict` and `load_state_dict` are what torchdata's StatefulDataLoader asks of an iterator, in every worker.
    """

    def __init__(self, dataset: TorchDataset, chunk: int, info: WorkerInfo | None) -> None:
        self._dataset, self._chunk, self._away = dataset, chunk, info is not None
        if self._away:
            gc.freeze()  # a collection would touch, and so copy, every object that the worker shares with its parent
        worker, self._workers = (info.id, info.num_workers) if info is not None else (0, 1)
        self._loader, self._skip = dataset._loader.copy(), worker * chunk
        self._memory: Memory | None = None
        self._place, self._began = 0, False
        self._failed: Exception | None = None

    def __next__(self) -> Any:
        if self._failed is not None:  # others have read on: a batch that can be read now would come too late
            raise self._failed
        loader, channel, batches = self._loader, self._dataset._channel, list[list[NDArray[Any]]]()
        # changes first: they may lie among the batches that others read
        first = loader.batches + self._skip
        self._place = channel.begin(loader, first + self._chunk, self._place)
        try:
            loader.skip(self._skip)
            while len(batches) < self._chunk:
                batches.append(self._arrays(next(loader)))
        except Exception as error:
            if not self._away:
                self._skip = 0
                channel.give_up(loader.batches)
                raise
            self._failed = error
            if not batches:
                raise
        self._skip = (self._workers - 1) * self._chunk
        if not self._away:
            return tensors(batches[0])
        if not self._began:
            self._memory, self._began = memory(batches), True
        return Parcel(batches, self._chunk > 1, self._memory)

    def _arrays(self, batch: Batch) -> list[NDArray[Any]]:
        return [getattr(batch, name) for name in self._dataset.fields]

    def state_dict(self) -> dict[str, Any]:
        """Where this process is, as JSON types."""
        return {"loader": to_json(self._loader.state()), "skip": self._skip}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there; live changes since come from the log.

        Raises:
            DataError: saved on another corpus; the log lacks a change of the state.
            UsageError: saved under another schedule, seed, seq_len or batch.
        """
        known = self._dataset._shadow.events
        self._loader.restore(from_json(type(self._loader.state()), state["loader"]))
        unknown = [e for e in self._loader.events if e not in known]
        if unknown:
            raise DataError(
                f"the state holds a change at {unknown[0].start:,} tokens ({unknown[0].cause}) that this dataset lacks",
                wanted="the log of that run, in which every worker finds it",
                fix="TorchDataset(loader, log=...), from the run's beginning",
            )
        self._skip, self._place = state["skip"], 0
        for change in known:
            take(self._loader, change)


class _Chunks(IterableDataset[Chunk]):
    def __init__(self, dataset: TorchDataset, chunk: int) -> None:
        self._dataset, self._chunk = dataset, chunk

    def __iter__(self) -> Reader:
        return Reader(self._dataset, self._chunk, get_worker_info())


class TorchBatches:
    """The batches of a dataset over worker processes, several to a message: a third of a plain DataLoader's cost or less.

    An iteration goes on after the last batch that was given out, by this or an earlier iteration, also one that an error
    ended; errors come after as many batches with any number of workers. It has `state_dict` and
    `load_state_dict`, which do not depend on the number of workers or ranks.

    Args:
        dataset: Moved by this object alone.
        workers: Processes that read; 0 reads in this one.
        pin_memory: Page-locked memory, for copies to a GPU.
        ahead: Messages that each worker prepares ahead.
    """

    def __init__(self, dataset: TorchDataset, *, workers: int = 2, pin_memory: bool = False, ahead: int = 2) -> None:
        self.dataset, self._given = dataset, 0
        self._workers, self._pin_memory, self._ahead = workers, pin_memory, ahead
        loader = dataset._loader
        self._chunk = max(1, min(_MOST, _PARCEL * loader.world_size // (2 * loader.batch_tokens))) if workers else 1

    def __iter__(self) -> Iterator[Tensors]:
        if self._given:
            self.dataset._go_on(self.state())
            self._given = 0
        chunks, workers, pin = _Chunks(self.dataset, self._chunk), self._workers, self._pin_memory
        ahead = self._ahead if workers else None
        # a DataLoader without workers does no more than this, at a tenth of the cost of a batch
        plain = None if workers or pin else chunks
        short = False
        try:
            for found in plain or DataLoader(chunks, None, num_workers=workers, pin_memory=pin, prefetch_factor=ahead):
                if short:  # its error comes with the next message of the process that met it; others have read on
                    continue
                for batch in found if self._chunk > 1 else [found]:
                    self._given += 1
                    yield batch
                short = self._chunk > 1 and len(found) < self._chunk
        except Exception:
            self.dataset._go_on(self.state())
            self._given = 0
            raise

    def state(self) -> Any:
        """After the last batch that was given out: the loader's own."""
        return self.dataset.state_after(self._given)

    def state_dict(self) -> dict[str, Any]:
        """The state as JSON types."""
        found: dict[str, Any] = to_json(self.state())
        return found

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there at the next iteration.

        Raises:
            DataError, UsageError: as of `Loader.restore`.
        """
        self.dataset.restore(from_json(type(self.state()), state))
        self._given = 0


def _rank(loader: Loads[Any]) -> int:
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank()
    return loader.rank
