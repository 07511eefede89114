"""This project's loader: `TorchBatches`, in the environment that runs the benchmark."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import harness
import numpy as np
import torch

from cuvee.base.codec import from_json, to_json
from cuvee.mixture.schedule import Schedule
from cuvee.mixture.weights import Mixture
from cuvee.shards.corpus import Corpus
from cuvee.stream.loader import Loader, LoaderState
from cuvee.stream.torch import TorchBatches, TorchDataset


class CuveeLoader:
    """The entrant."""

    def versions(self) -> dict[str, str]:
        return {"cuvee": version("cuvee"), "torch": torch.__version__, "numpy": np.__version__}

    def prepare(self, load: harness.Workload) -> None:
        """Reads the shards as they are."""

    def open(self, load: harness.Workload, workers: int, state: bytes | None) -> Opened:
        return Opened(load, workers, state)


class Opened:
    """A corpus, opened and checked, and a loader over it."""

    def __init__(self, load: harness.Workload, workers: int, state: bytes | None) -> None:
        corpus = Corpus.open(load.work)
        schedule = Schedule.constant(Mixture.from_shares(dict(zip(corpus.domains, load.weights, strict=True))))
        loader = Loader(corpus, schedule, seq_len=load.seq_len, seed=load.seed, batch=load.batch)
        if state:
            loader.restore(from_json(LoaderState, json.loads(state)))
        self.loader = TorchBatches(TorchDataset(loader), workers=workers)

    def batches(self) -> Iterator[Any]:
        return (tokens for tokens, _ in self.loader)

    def state(self, batches: int) -> bytes:
        return json.dumps(to_json(self.loader.state()), separators=(",", ":")).encode()


if __name__ == "__main__":
    harness.main(CuveeLoader)
