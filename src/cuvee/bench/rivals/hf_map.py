"""HF datasets, map-style: `interleave_datasets` with probabilities over shuffled Arrow tables, in a DataLoader."""

from __future__ import annotations

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


class HfMap(harness.Rival):
    """There is no state: going on is making it again and selecting what is left."""

    packages = ("datasets", "torch", "numpy")

    @classmethod
    def prepare(cls, load: harness.Workload) -> None:
        write(load, load.own("HfMap"))

    def __init__(self, load: harness.Workload, workers: int, state: Any) -> None:
        parts = [datasets.load_from_disk(load.own("HfMap") / str(d)) for d in range(len(load.domains))]
        parts = [part.shuffle(seed=load.seed + d) for d, part in enumerate(parts)]
        shares = [w / sum(load.weights) for w in load.weights]
        mixed = datasets.interleave_datasets(parts, shares, seed=load.seed, stopping_strategy="all_exhausted")
        mixed = mixed.select(range((state or 0) * load.batch, len(mixed))).with_format("numpy")
        self.loader = DataLoader(mixed, load.batch, num_workers=workers, collate_fn=stacked)

    def state(self, batches: int) -> Any:
        return batches


if __name__ == "__main__":
    datasets.disable_progress_bars()
    harness.main(HfMap)
