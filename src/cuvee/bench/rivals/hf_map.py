"""HF datasets, map-style: `interleave_datasets` with probabilities over shuffled Arrow tables, in a DataLoader."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import datasets
import harness
import numpy as np
import torch
from torch.utils.data import DataLoader


def write(load: harness.Workload, place: Any) -> None:
    """A saved dataset a domain: one column of fixed lists of uint16."""
    for d in range(len(load.domains)):
        if (place / str(d) / "state.json").exists():
            continue
        features = datasets.Features({"tokens": datasets.List(datasets.Value("uint16"), length=load.seq_len + 1)})
        datasets.Dataset.from_dict({"tokens": list(load.sequences(d))}, features=features).save_to_disk(place / str(d))


def stacked(rows: list[Any]) -> Any:
    """Rows of a batch as int64."""
    return torch.from_numpy(np.stack([r["tokens"] for r in rows]).astype(np.int64))


class HfMap:
    """The rival."""

    def versions(self) -> dict[str, str]:
        return {"datasets": datasets.__version__, "torch": torch.__version__, "numpy": np.__version__}

    def prepare(self, load: harness.Workload) -> None:
        write(load, load.own("HfMap"))

    def open(self, load: harness.Workload, workers: int, state: bytes | None) -> Opened:
        return Opened(load, workers, harness.unpacked(state) if state else 0)


class Opened:
    """There is no state: going on is making it again and selecting what is left."""

    def __init__(self, load: harness.Workload, workers: int, first: int) -> None:
        parts = [datasets.load_from_disk(load.own("HfMap") / str(d)) for d in range(len(load.domains))]
        parts = [part.shuffle(seed=load.seed + d) for d, part in enumerate(parts)]
        shares = [w / sum(load.weights) for w in load.weights]
        mixed = datasets.interleave_datasets(parts, shares, seed=load.seed, stopping_strategy="all_exhausted")
        mixed = mixed.select(range(first * load.batch, len(mixed))).with_format("numpy")
        self.loader = DataLoader(mixed, load.batch, num_workers=workers, collate_fn=stacked)

    def batches(self) -> Iterator[Any]:
        return iter(self.loader)

    def state(self, batches: int) -> bytes:
        return harness.packed(batches)


if __name__ == "__main__":
    datasets.disable_progress_bars()
    harness.main(HfMap)
