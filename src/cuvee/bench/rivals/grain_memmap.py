"""google/grain: `MapDataset.mix` over memory-mapped sequences, batched before the workers share them, which keeps the order."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
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


class GrainMemmap:
    """The rival."""

    def versions(self) -> dict[str, str]:
        return {"grain": version("grain"), "numpy": np.__version__}

    def prepare(self, load: harness.Workload) -> None:
        """Reads the arrays as they are."""

    def open(self, load: harness.Workload, workers: int, state: bytes | None) -> Opened:
        return Opened(load, workers, state)


class Opened:
    """An iterator with `get_state` and `set_state`."""

    def __init__(self, load: harness.Workload, workers: int, state: bytes | None) -> None:
        parts = [
            grain.MapDataset.source(Sequences(load, d)).seed(load.seed + d).shuffle().repeat()
            for d in range(len(load.domains))
        ]
        mixed = grain.MapDataset.mix(parts, load.weights).batch(load.batch).map(int64)
        data = mixed.to_iter_dataset(grain.ReadOptions(num_threads=0, prefetch_buffer_size=0))
        if workers:
            data = data.mp_prefetch(MultiprocessingOptions(num_workers=workers))
        self.iterator = iter(data)
        if state:
            self.iterator.set_state(harness.unpacked(state))

    def batches(self) -> Iterator[Any]:
        return iter(self.iterator)

    def state(self, batches: int) -> bytes:
        return harness.packed(self.iterator.get_state())


if __name__ == "__main__":
    harness.main(GrainMemmap)
