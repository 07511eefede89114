"""The floor: windows at random places of memory-mapped arrays, domains drawn at random, in a plain DataLoader."""

from __future__ import annotations

from typing import Any

import harness
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset


class Windows(Dataset[Any]):
    """Batch `b` is a function of the seed and b."""

    def __init__(self, load: harness.Workload) -> None:
        self.load, self.shares = load, np.array(load.weights) / sum(load.weights)
        self.arrays = [load.tokens(d) for d in range(len(load.domains))]

    def __getitem__(self, b: int) -> Any:
        load, rng = self.load, np.random.default_rng([self.load.seed, b])
        rows = np.empty((load.batch, load.seq_len + 1), np.int64)
        places = rng.random(load.batch)
        for row, place, d in zip(rows, places, rng.choice(len(self.shares), load.batch, p=self.shares), strict=True):
            start = int(place * (len(self.arrays[d]) - load.seq_len - 1))
            row[:] = self.arrays[d][start : start + load.seq_len + 1]
        return torch.from_numpy(rows)


class NumpyWindow(harness.Rival):
    """A DataLoader over batch numbers."""

    packages = ("numpy", "torch")

    def __init__(self, load: harness.Workload, workers: int, state: Any) -> None:
        first = state or 0
        self.loader = DataLoader(
            Windows(load), batch_size=None, num_workers=workers, sampler=range(first, first + (1 << 20))
        )

    def state(self, batches: int) -> Any:
        return batches


if __name__ == "__main__":
    harness.main(NumpyWindow)
