"""Two ranks under transformers' Trainer, with a schedule, a ramp and a live change, are killed; one rank goes on."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cuvee.base.processes import ONE_THREAD
from cuvee.interop.live import Examples, live_weights, resume
from cuvee.interop.mixturefile import read_mixture
from cuvee.mixture.schedule import Phase, Schedule
from cuvee.mixture.weights import Mixture
from cuvee.shards.corpus import Corpus
from cuvee.stream.loader import Loader
from cuvee.testing.corpora import synthetic

STEPS, SAVED, KILLED, BATCH, SEQ_LEN = 14, 4, 7, 16, 16
ONE = BATCH * SEQ_LEN
PLANNED = Schedule(
    (
        Phase(0, Mixture.from_shares({"a": 1, "b": 1, "c": 2})),
        Phase(2 * ONE, Mixture.from_shares({"a": 3, "b": 0, "c": 1}), ramp=2 * ONE),
    )
)
LIVE = Mixture.from_shares({"a": 0, "b": 3, "c": 1})


def loader(corpus: Corpus, schedule: Schedule = PLANNED) -> Loader:
    return Loader(corpus, schedule, seq_len=SEQ_LEN, seed=3, batch=BATCH)


def rule(step: int, metrics: Mapping[str, float]) -> Mixture | None:
    return LIVE if step == 5 else None


class Recorder(torch.nn.Module):
    """A language model of one table that writes what it is trained on, and waits for its end where told to."""

    def __init__(self, vocabulary: int, path: Path, last: int) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(vocabulary, vocabulary)
        self.path, self.last = path, last

    def forward(self, input_ids: torch.Tensor, labels: torch.Tensor, **kwargs: Any) -> dict[str, torch.Tensor]:
        with open(self.path, "ab") as file:
            file.write(input_ids.numpy().tobytes())
        while self.path.stat().st_size >= self.last:
            time.sleep(0.1)
        logits = self.table(input_ids[:, :-1])
        return {"loss": torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten())}


def train(folder: Path, corpus: Corpus, name: str, last: int, checkpoint: str | None, **kwargs: Any) -> None:
    import transformers

    ours = loader(corpus)
    if checkpoint is not None:
        resume(ours, checkpoint)
    examples = Examples(ours, log=folder / "changes.jsonl")
    model = Recorder(corpus.inventory.tokenizer.vocab_size, folder / name, last)
    arguments = transformers.TrainingArguments(
        output_dir=str(folder), max_steps=STEPS, per_device_train_batch_size=4, logging_steps=1, save_steps=SAVED,
        use_cpu=True, report_to=[], disable_tqdm=True, ignore_data_skip=True, **kwargs,
    )  # fmt: skip
    trainer = transformers.Trainer(model, arguments, train_dataset=examples, callbacks=[live_weights(examples, rule)])
    trainer.train(resume_from_checkpoint=checkpoint)


def main(folder: Path, corpus: str, checkpoint: str) -> None:
    """One process of the test."""
    rank, opened = os.environ.get("RANK"), Corpus.open(corpus)
    if rank is not None:
        train(
            folder, opened, f"killed-{rank}", KILLED * ONE * 8 // 2, None, gradient_accumulation_steps=2,
            dataloader_num_workers=1, accelerator_config={"dispatch_batches": False},
        )  # fmt: skip
    else:
        train(folder, opened, "resumed", 1 << 40, checkpoint, gradient_accumulation_steps=4, dataloader_num_workers=2)


@pytest.mark.slow
def test_the_tokens_seen_are_exactly_the_plans(tmp_path: Path) -> None:
    corpus = synthetic(tmp_path / "corpus", documents=60)
    start(tmp_path, corpus)
    assert not (tmp_path / f"checkpoint-{2 * SAVED}").exists()
    words = [str(tmp_path), str(corpus.path), str(tmp_path / f"checkpoint-{SAVED}")]
    done = subprocess.run(command(words), env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    plan = read_mixture(tmp_path / f"checkpoint-{STEPS}" / "cuvee_mixture.json")
    assert plan.phases[:2] == PLANNED.phases
    (live,) = plan.phases[2:]
    assert live.mixture == LIVE
    assert 5 * ONE < live.start < STEPS * ONE
    batches = [batch.tokens[:, :-1] for _, batch in zip(range(STEPS), loader(corpus, plan), strict=False)]
    seen = [rows(tmp_path / f"killed-{rank}") for rank in range(2)]
    for step in range(KILLED):  # each micro-batch of 8 goes to the two ranks in halves
        both = np.concatenate([s[step * 8 : step * 8 + 8] for s in seen])
        assert sorted(both.tolist()) == sorted(batches[step].tolist())
    assert np.array_equal(rows(tmp_path / "resumed"), np.concatenate(batches[SAVED:]))


def start(folder: Path, corpus: Corpus) -> None:
    """Two ranks until both wait, and then no more."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    with open(folder / "stderr", "wb") as stderr:
        ranks = [
            subprocess.Popen(
                command([str(folder), str(corpus.path), ""]),
                env=environment()
                | {"RANK": r, "LOCAL_RANK": r, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port},
                stderr=stderr,
                stdout=subprocess.DEVNULL,
            )
            for r in ("0", "1")
        ]
    try:
        while any(size(folder / f"killed-{r}") < KILLED * ONE * 8 // 2 for r in range(2)):
            assert all(p.poll() is None for p in ranks), (folder / "stderr").read_text(encoding="utf-8")[-3000:]
            time.sleep(0.1)
    finally:
        for process in ranks:
            process.send_signal(signal.SIGKILL)
            process.wait()


def size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def rows(path: Path) -> Any:
    return np.fromfile(path, np.int64).reshape(-1, SEQ_LEN)


def command(words: list[str]) -> list[str]:
    code = "import sys; from pathlib import Path; from tests.interop.test_live_killed import main; "
    return [sys.executable, "-W", "ignore", "-c", code + "main(Path(sys.argv[1]), *sys.argv[2:])", *words]


def environment() -> dict[str, str]:
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, **ONE_THREAD, "PYTHONPATH": path}
