"""litdata: `CombinedStreamingDataset` with weights over blocks of tokens, in its StreamingDataLoader."""

from __future__ import annotations

from typing import Any

import harness
import numpy as np
import torch
from litdata import CombinedStreamingDataset, StreamingDataLoader, StreamingDataset, TokensLoader
from litdata.streaming import Cache


class Blocks(StreamingDataset):
    """Blocks as int64."""

    def __getitem__(self, index: Any) -> Any:
        return super().__getitem__(index).to(torch.int64)


class LitdataCombined(harness.Rival):
    """A loader with a state_dict."""

    packages = ("litdata", "torch", "numpy")

    @classmethod
    def prepare(cls, load: harness.Workload) -> None:
        for d in range(len(load.domains)):
            place = load.own("LitdataCombined") / str(d)
            if (place / "index.json").exists():
                continue
            place.mkdir(parents=True, exist_ok=True)
            loader = TokensLoader(block_size=load.seq_len + 1)
            cache = Cache(str(place), chunk_bytes="64MB", item_loader=loader)
            # the blocks of the others overlap by a token, so that all deliver the same sequences
            for i, row in enumerate(load.sequences(d)):
                cache[i] = torch.from_numpy(row.astype(np.uint16))
            cache.done()
            cache.merge()

    def __init__(self, load: harness.Workload, workers: int, state: Any) -> None:
        parts = [
            Blocks(
                str(load.own("LitdataCombined") / str(d)),
                item_loader=TokensLoader(block_size=load.seq_len + 1),
                shuffle=True,
                seed=load.seed,
            )
            for d in range(len(load.domains))
        ]
        mixed = CombinedStreamingDataset(parts, seed=load.seed, weights=load.weights, iterate_over_all=False)
        self.loader = StreamingDataLoader(mixed, batch_size=load.batch, num_workers=workers)
        if state:
            self.loader.load_state_dict(state)


if __name__ == "__main__":
    harness.main(LitdataCombined)
