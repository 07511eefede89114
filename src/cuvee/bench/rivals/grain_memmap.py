"""google/grain: `MapDataset.mix` over memory-mapped sequences, batched before the workers share them, which keeps the order."""

from __future__ import annotations

from typing import Any

import grain
import harness
import numpy as np
from grain.multiprocessing import MultiprocessingOptions


class Sequences:
    """A random-access source of one domain."""

    def __init__(self, load: harness.Workload, d: int) -> None:
        self.load, self.d, self.rows = load, d, load.sequences(d)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> Any:
        return self.rows[i]

    def __reduce__(self) -> Any:
        return Sequences, (self.load, self.d)


def int64(rows: Any) -> Any:
    """Tokens as a model takes them."""
    return rows.astype(np.int64)


class GrainMemmap(harness.Rival):
    """An iterator with `get_state` and `set_state`."""

    packages = ("grain", "numpy")

    def __init__(self, load: harness.Workload, workers: int, state: Any) -> None:
        parts = [
            grain.MapDataset.source(Sequences(load, d)).seed(load.seed + d).shuffle().repeat()
            for d in range(len(load.domains))
        ]
        mixed = grain.MapDataset.mix(parts, load.weights).batch(load.batch).map(int64)
        data = mixed.to_iter_dataset(grain.ReadOptions(num_threads=0, prefetch_buffer_size=0))
        if workers:
            data = data.mp_prefetch(MultiprocessingOptions(num_workers=workers))
        self.loader = iter(data)
        if state:
            self.loader.set_state(state)

    def state(self, batches: int) -> Any:
        return self.loader.get_state()


if __name__ == "__main__":
    harness.main(GrainMemmap)
