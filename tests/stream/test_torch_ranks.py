"""Two ranks of accelerate (gloo), each with worker processes of its own: one order, one position for a live change."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cuvee.base.processes import ONE_THREAD
from cuvee.mixture.schedule import Schedule
from cuvee.mixture.weights import Mixture
from cuvee.shards.corpus import Corpus
from cuvee.stream.loader import Loader
from cuvee.stream.torch import TorchBatches, TorchDataset
from cuvee.testing.corpora import synthetic

EVEN = Schedule.constant(Mixture.from_shares({"a": 1, "b": 2, "c": 1}))
LATER = Mixture.from_shares({"a": 3, "b": 0, "c": 1})
STEPS, BATCH, SEQ_LEN = 300, 8, 16


def fresh(corpus: Corpus, schedule: Schedule, rank: int, world: int) -> Loader:
    return Loader(corpus, schedule, seq_len=SEQ_LEN, seed=0, batch=BATCH, rank=rank, world_size=world)


def main(folder: Path, corpus: str) -> None:
    """One rank."""
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    rank = accelerator.process_index
    loader = fresh(Corpus.open(corpus), EVEN, rank, accelerator.num_processes)
    # ranks read ahead differently far, so that only what they settle on is right for both
    batches = TorchBatches(TorchDataset(loader, log=folder / "log"), workers=1 + rank)
    seen = []
    for step, (tokens, _) in zip(range(STEPS), batches, strict=False):
        seen.append(tokens.numpy())
        if step == 4:
            batches.dataset.reweight(LATER, "live")
    np.save(folder / f"seen-{rank}.npy", np.stack(seen))
    accelerator.wait_for_everyone()


@pytest.mark.slow
def test_ranks_agree_where_a_change_begins(tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    corpus = synthetic(tmp_path / "corpus", documents=20)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    code = "import sys; from pathlib import Path; from tests.stream.test_torch_ranks import main; main(Path(sys.argv[1]), sys.argv[2])"
    shared = {**os.environ, **ONE_THREAD, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    root = str(Path(__file__).parents[2])
    shared["PYTHONPATH"] = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")]))
    ranks = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", code, str(tmp_path), str(corpus.path)],
            env={**shared, "RANK": r, "LOCAL_RANK": r},
            stderr=subprocess.PIPE,
            text=True,
        )
        for r in ("0", "1")
    ]
    for process in ranks:
        _, stderr = process.communicate(timeout=300)
        assert process.returncode == 0, stderr[-3000:]
    lines = (tmp_path / "log").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 2  # rank 0 alone writes it
    schedule = TorchDataset(fresh(corpus, EVEN, 0, 1), log=tmp_path / "log").schedule
    assert schedule.phases[-1].mixture == LATER
    assert 5 * BATCH * SEQ_LEN <= schedule.phases[-1].start < STEPS * BATCH * SEQ_LEN
    seen = [np.load(tmp_path / f"seen-{r}.npy") for r in range(2)]
    for step, batch in zip(range(STEPS), fresh(corpus, schedule, 0, 1), strict=False):
        assert np.array_equal(np.concatenate([s[step] for s in seen]), batch.tokens)


def test_a_numpy_reader_imports_no_torch(tmp_path: Path) -> None:
    corpus = synthetic(tmp_path, documents=20)
    code = (
        "import sys, cuvee; corpus = cuvee.Corpus.open(sys.argv[1]); "
        "schedule = cuvee.Schedule.constant(cuvee.Mixture.from_shares({'a': 1, 'b': 2, 'c': 1})); "
        "next(cuvee.Loader(corpus, schedule, seq_len=16, seed=0, batch=8, rank=1, world_size=2)); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(corpus.path)], check=True)
