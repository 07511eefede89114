"""This project's loader: `TorchBatches`, in the environment that runs the benchmark."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import harness

from cuvee.base.codec import from_json, to_json
from cuvee.mixture.schedule import Schedule
from cuvee.mixture.weights import Mixture
from cuvee.shards.corpus import Corpus
from cuvee.stream.loader import Loader, LoaderState
from cuvee.stream.torch import TorchBatches, TorchDataset


class CuveeLoader(harness.Rival):
    """A corpus, opened and checked, and a loader over it."""

    packages = ("cuvee", "torch", "numpy")

    def __init__(self, load: harness.Workload, workers: int, state: Any) -> None:
        corpus = Corpus.open(load.work)
        schedule = Schedule.constant(Mixture.from_shares(dict(zip(corpus.domains, load.weights, strict=True))))
        loader = Loader(corpus, schedule, seq_len=load.seq_len, seed=load.seed, batch=load.batch)
        if state:
            loader.restore(from_json(LoaderState, state))
        self.loader = TorchBatches(TorchDataset(loader), workers=workers)

    def batches(self) -> Iterator[Any]:
        return (tokens for tokens, _ in self.loader)

    def state(self, batches: int) -> Any:
        return to_json(self.loader.state())


if __name__ == "__main__":
    harness.main(CuveeLoader)
