"""torchdata: `MultiNodeWeightedSampler` over shuffled keys of every domain, batches of keys read in a (parallel) mapper."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import harness
import numpy as np
import torch
from torch.utils.data import Sampler
from torchdata.nodes import Batcher, Loader, Mapper, MultiNodeWeightedSampler, ParallelMapper, SamplerWrapper


class Keys(Sampler[Any]):
    """(domain, sequence) in a shuffled order; the position is its state."""

    def __init__(self, d: int, count: int, seed: int) -> None:
        self.d, self.order, self.done = d, np.random.default_rng([seed, d]).permutation(count), 0

    def __iter__(self) -> Iterator[tuple[int, int]]:
        for i in self.order[self.done :].tolist():
            self.done += 1
            yield self.d, i

    def state_dict(self) -> dict[str, int]:
        """Keys given out."""
        return {"done": self.done}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """The inverse."""
        self.done = state["done"]


class Read:
    """A batch of keys to its tokens."""

    def __init__(self, load: harness.Workload) -> None:
        self.rows = [load.sequences(d) for d in range(len(load.domains))]

    def __call__(self, keys: list[tuple[int, int]]) -> Any:
        return torch.from_numpy(np.stack([self.rows[d][i] for d, i in keys]).astype(np.int64))


class TorchdataNodes(harness.Rival):
    """A `Loader` with a state_dict."""

    packages = ("torchdata", "torch", "numpy")

    def __init__(self, load: harness.Workload, workers: int, state: Any) -> None:
        read = Read(load)
        nodes = {str(d): SamplerWrapper(Keys(d, len(rows), load.seed)) for d, rows in enumerate(read.rows)}
        weights = {str(d): float(w) for d, w in enumerate(load.weights)}
        keys = Batcher(MultiNodeWeightedSampler(nodes, weights, rank=0, world_size=1, seed=load.seed), load.batch)
        mapped = (
            ParallelMapper(keys, read, num_workers=workers, method="process", multiprocessing_context="fork")
            if workers
            else Mapper(keys, read)
        )
        self.loader = Loader(mapped)
        if state:
            self.loader.load_state_dict(state)


if __name__ == "__main__":
    harness.main(TorchdataNodes)
