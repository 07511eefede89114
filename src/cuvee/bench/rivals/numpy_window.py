"""The floor: windows at random places of memory-mapped arrays, domains drawn at random, in a plain DataLoader."""

from __future__ import annotations

from collections.abc import Iterator
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


class NumpyWindow:
    """The rival."""

    def versions(self) -> dict[str, str]:
        return {"numpy": np.__version__, "torch": torch.__version__}

    def prepare(self, load: harness.Workload) -> None:
        """Reads the arrays as they are."""

    def open(self, load: harness.Workload, workers: int, state: bytes | None) -> Opened:
        return Opened(load, workers, harness.unpacked(state) if state else 0)


class Opened:
    """A DataLoader over batch numbers."""

    def __init__(self, load: harness.Workload, workers: int, first: int) -> None:
        self.loader = DataLoader(
            Windows(load), batch_size=None, num_workers=workers, sampler=range(first, first + (1 << 20))
        )

    def batches(self) -> Iterator[Any]:
        return iter(self.loader)

    def state(self, batches: int) -> bytes:
        return harness.packed(batches)


if __name__ == "__main__":
    harness.main(NumpyWindow)
