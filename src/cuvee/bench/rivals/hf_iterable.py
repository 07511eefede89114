"""HF datasets, iterable: `interleave_datasets` over streams with a shuffle buffer, in torchdata's StatefulDataLoader."""

from __future__ import annotations

from typing import Any

import datasets
import harness
from hf_map import stacked, write
from torchdata.stateful_dataloader import StatefulDataLoader

BUFFER = 1000  # the library's default for shuffle
SHARDS = 4


class HfIterable(harness.Rival):
    """A loader with a state_dict."""

    packages = ("datasets", "torch", "numpy")

    @classmethod
    def prepare(cls, load: harness.Workload) -> None:
        write(load, load.own("HfIterable"))

    def __init__(self, load: harness.Workload, workers: int, state: Any) -> None:
        parts = [datasets.load_from_disk(load.own("HfIterable") / str(d)) for d in range(len(load.domains))]
        streams = [
            p.to_iterable_dataset(num_shards=SHARDS).shuffle(seed=load.seed + d, buffer_size=BUFFER)
            for d, p in enumerate(parts)
        ]
        shares = [w / sum(load.weights) for w in load.weights]
        mixed = datasets.interleave_datasets(streams, shares, seed=load.seed, stopping_strategy="all_exhausted")
        data = mixed.with_format("numpy")
        self.loader = StatefulDataLoader(data, load.batch, num_workers=workers, collate_fn=stacked)
        if state:
            self.loader.load_state_dict(state)


if __name__ == "__main__":
    datasets.disable_progress_bars()
    harness.main(HfIterable)
