"""mosaicml-streaming: `Stream`s with proportions of MDS shards, in its StreamingDataLoader.

torchvision is imported by the package whatever it is used for, and its wheel may not load beside a CPU build of torch: an
inert stand-in takes its place, which no token passes through.
"""

from __future__ import annotations

import sys
import types
from importlib.machinery import ModuleSpec
from typing import Any

import numpy as np
import torch

for name in ("torchvision", "torchvision.transforms", "torchvision.transforms.functional", "torchvision.datasets"):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__spec__ = ModuleSpec(name, None)
sys.modules["torchvision"].transforms = sys.modules["torchvision.transforms"]  # type: ignore[attr-defined]
sys.modules["torchvision.transforms"].functional = sys.modules[  # type: ignore[attr-defined]
    "torchvision.transforms.functional"
]
sys.modules["torchvision.transforms.functional"].to_tensor = None  # type: ignore[attr-defined]
sys.modules["torchvision.datasets"].VisionDataset = object  # type: ignore[attr-defined]

import harness  # noqa: E402
from streaming import MDSWriter, Stream, StreamingDataLoader, StreamingDataset  # noqa: E402
from streaming.base.util import clean_stale_shared_memory  # noqa: E402


class Tokens(StreamingDataset):
    """Sequences as int64."""

    def __getitem__(self, at: Any) -> Any:
        return torch.from_numpy(super().__getitem__(at)["tokens"].astype(np.int64))


class MosaicmlStreaming(harness.Rival):
    """A loader with a state_dict."""

    packages = ("mosaicml-streaming", "torch", "numpy")

    @classmethod
    def prepare(cls, load: harness.Workload) -> None:
        for d in range(len(load.domains)):
            place = load.own("MosaicmlStreaming") / str(d)
            if (place / "index.json").exists():
                continue
            columns = {"tokens": f"ndarray:uint16:{load.seq_len + 1}"}
            with MDSWriter(out=str(place), columns=columns, size_limit=1 << 22) as writer:
                for row in load.sequences(d):
                    writer.write({"tokens": np.ascontiguousarray(row)})

    def __init__(self, load: harness.Workload, workers: int, state: Any) -> None:
        clean_stale_shared_memory()
        streams = [
            Stream(local=str(load.own("MosaicmlStreaming") / str(d)), proportion=w / sum(load.weights))
            for d, w in enumerate(load.weights)
        ]
        data = Tokens(streams=streams, batch_size=load.batch, shuffle=True, shuffle_seed=load.seed)
        self.loader = StreamingDataLoader(data, batch_size=load.batch, num_workers=workers)
        if state:
            self.loader.load_state_dict(state)


if __name__ == "__main__":
    harness.main(MosaicmlStreaming)
