"""HF datasets, iterable: `interleave_datasets` over streams with a shuffle buffer, in torchdata's StatefulDataLoader."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import datasets
import harness
import numpy as np
import torch
from hf_map import stacked, write
from torchdata.stateful_dataloader import StatefulDataLoader

BUFFER = 1000  # the library's default for shuffle
SHARDS = 4


class HfIterable:
    """The rival."""

    def versions(self) -> dict[str, str]:
        return {"datasets": datasets.__version__, "torch": torch.__version__, "numpy": np.__version__}

    def prepare(self, load: harness.Workload) -> None:
        write(load, load.own("HfIterable"))

    def open(self, load: harness.Workload, workers: int, state: bytes | None) -> Opened:
        return Opened(load, workers, state)


class Opened:
    """A loader with a state_dict."""

    def __init__(self, load: harness.Workload, workers: int, state: bytes | None) -> None:
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
            self.loader.load_state_dict(harness.unpacked(state))

    def batches(self) -> Iterator[Any]:
        return iter(self.loader)

    def state(self, batches: int) -> bytes:
        return harness.packed(self.loader.state_dict())


if __name__ == "__main__":
    datasets.disable_progress_bars()
    harness.main(HfIterable)
