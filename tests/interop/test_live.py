from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cuvee.base.errors import DataError, UsageError
from cuvee.interop.live import Examples, live_weights, resume
from cuvee.interop.mixturefile import read_mixture
from cuvee.mixture.schedule import Schedule
from cuvee.mixture.weights import Mixture
from cuvee.shards.corpus import Corpus
from cuvee.stream.bestfit import BestFit
from cuvee.stream.decomposition import DecompositionLoader
from cuvee.stream.loader import Loader
from cuvee.testing.corpora import synthetic
from tests.hf import transformers

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
EVEN = Schedule.constant(Mixture.from_shares({"a": 1, "b": 1, "c": 2}))
LATER = Mixture.from_shares({"a": 0, "b": 3, "c": 1})


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return synthetic(tmp_path_factory.mktemp("live") / "corpus", documents=60)


def fresh(corpus: Corpus, batch: int = 8, **kwargs: Any) -> Loader:
    return Loader(corpus, EVEN, seq_len=16, seed=3, batch=batch, **kwargs)


def rule(step: int, metrics: Mapping[str, float]) -> Mixture | None:
    assert metrics["loss"] > 0
    return LATER if step == 3 else None


class Recorder(torch.nn.Module):
    """A language model of one table that remembers what it was trained on."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(vocabulary, vocabulary)
        self.seen: list[torch.Tensor] = []

    def forward(self, input_ids: torch.Tensor, labels: torch.Tensor, **kwargs: Any) -> dict[str, torch.Tensor]:
        self.seen.append(input_ids)
        logits = self.table(input_ids[:, :-1])
        return {"loss": torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten())}


Train = Callable[..., tuple[Examples, torch.Tensor]]


@pytest.fixture
def train(corpus: Corpus, tmp_path: Path) -> Train:
    def run(
        loader: Loader, steps: int = 8, checkpoint: str | None = None, **kwargs: Any
    ) -> tuple[Examples, torch.Tensor]:
        torch.manual_seed(0)
        arguments = transformers().TrainingArguments(
            **{
                "output_dir": str(tmp_path / "out"), "max_steps": steps, "per_device_train_batch_size": 4,
                "gradient_accumulation_steps": 2, "logging_steps": 1, "save_steps": 5, "use_cpu": True, "report_to": [],
                "disable_tqdm": True, "ignore_data_skip": True,
            }
            | kwargs
        )  # fmt: skip
        examples, model = Examples(loader), Recorder(corpus.inventory.tokenizer.vocab_size)
        trainer = transformers().Trainer(
            model, arguments, train_dataset=examples, callbacks=[live_weights(examples, rule)]
        )
        trainer.train(resume_from_checkpoint=checkpoint)
        return examples, torch.cat(model.seen)

    return run


def test_a_change_reaches_the_trainer_and_its_run_replays(corpus: Corpus, train: Train) -> None:
    examples, seen = train(fresh(corpus))
    (first, second) = examples.batches.schedule.phases
    assert (first.mixture, second.mixture) == (EVEN.phases[0].mixture, LATER)
    # decided after step 3, with one micro-batch of step 4 read ahead: from step 5 on
    assert second.start == 4 * 8 * 16
    replay = Loader(corpus, examples.batches.schedule, seq_len=16, seed=3, batch=8)
    assert torch.equal(seen, torch.cat([torch.from_numpy(next(replay).tokens[:, :-1]) for _ in range(8)]))
    late = Loader(corpus, EVEN, seq_len=16, seed=3, batch=8)
    assert not torch.equal(seen, torch.cat([torch.from_numpy(next(late).tokens[:, :-1]) for _ in range(8)]))


@pytest.mark.parametrize("workers", [1, 3])
def test_a_change_reaches_workers(corpus: Corpus, train: Train, workers: int) -> None:
    examples, seen = train(fresh(corpus), steps=16, dataloader_num_workers=workers)
    assert examples.batches.schedule.phases[-1].mixture == LATER
    assert 3 * 8 * 16 < examples.batches.schedule.phases[-1].start < 14 * 8 * 16
    replay = Loader(corpus, examples.batches.schedule, seq_len=16, seed=3, batch=8)
    assert torch.equal(seen, torch.cat([torch.from_numpy(next(replay).tokens[:, :-1]) for _ in range(16)]))


@pytest.mark.parametrize("save", [3, 5])
def test_a_run_from_a_checkpoint_sees_the_same_sequences(
    corpus: Corpus, train: Train, tmp_path: Path, save: int
) -> None:
    _, whole = train(fresh(corpus), save_steps=save)
    folder = tmp_path / "out" / f"checkpoint-{save}"
    if save == 5:  # at 3 the rule is asked before the state is saved as well: the change after batch 4 is in it
        assert len(read_mixture(folder / "cuvee_mixture.json").phases) == 2
    loader = fresh(corpus)
    resume(loader, folder)
    assert loader.batches == save
    _, rest = train(loader, checkpoint=str(folder))
    assert torch.equal(rest, whole[save * 8 :])


def test_refusals(corpus: Corpus, train: Train, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="takes 8 sequences a step, the loader gives 4"):
        train(fresh(corpus, batch=4))
    with pytest.raises(UsageError, match="one rank of 2"):
        Examples(fresh(corpus, world_size=2))
    with pytest.raises(DataError, match="holds no cuvee_loader"):
        resume(fresh(corpus), tmp_path)
    train(fresh(corpus), steps=5)
    folder = tmp_path / "out" / "checkpoint-5"
    with pytest.raises(UsageError, match="starts at step 5, the loader at 0"):
        train(fresh(corpus), checkpoint=str(folder))
    with pytest.raises(UsageError, match="got a DecompositionLoader"):
        Examples(DecompositionLoader(corpus, EVEN, shortest=8, longest=16, batch_tokens=64, seed=0))  # type: ignore[arg-type]
    state = json.loads((folder / "cuvee_loader.json").read_text(encoding="utf-8"))
    state["corpus"] = "other"
    (folder / "cuvee_loader.json").write_text(json.dumps(state), encoding="utf-8")
    with pytest.raises(DataError, match="saved on the corpus other"):
        resume(fresh(corpus), folder)


EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.slow
def test_padding_is_no_label(corpus: Corpus) -> None:
    loader = Loader(corpus, EVEN, seq_len=200, seed=3, batch=8, packing=BestFit(pad=0))
    batch = next(loader.copy())
    rows = [row for _, row in zip(range(8), Examples(loader), strict=False)]
    assert (batch.documents < 0).any()
    for row, tokens, documents in zip(rows, batch.tokens, batch.documents, strict=True):
        assert row["input_ids"].tolist() == tokens[:-1].tolist()
        assert row["labels"].tolist() == np.where(documents >= 0, tokens, -100)[:-1].tolist()


def test_the_examples_run(corpus: Corpus, tmp_path: Path) -> None:
    def output(*words: object) -> str:
        return subprocess.run([sys.executable, *map(str, words)], capture_output=True, text=True, check=True).stdout

    assert "4 changes; the replayed schedule gives the same batches: True" in output(
        EXAMPLES / "live_loop.py", corpus.path
    )
    found = output(EXAMPLES / "live_trainer.py", corpus.path, tmp_path)
    assert "'a': 1.0, 'b': 0.0, 'c': 0.0" in found
    last = read_mixture(tmp_path / "checkpoint-30" / "cuvee_mixture.json").phases[-1]
    assert last.mixture.as_dict() == {"a": 1.0, "b": 0.0, "c": 0.0}


RANKS = """
import os, sys
from pathlib import Path
import torch, transformers
from cuvee.interop.live import Examples, live_weights
from cuvee.shards.corpus import Corpus
from tests.interop.test_live import Recorder, fresh, rule

folder, dispatch = Path(sys.argv[1]), sys.argv[2] == "dispatch"
corpus = Corpus.open(sys.argv[3])
examples, model = Examples(fresh(corpus, batch=16)), Recorder(corpus.inventory.tokenizer.vocab_size)
arguments = transformers.TrainingArguments(
    output_dir=str(folder), max_steps=8, per_device_train_batch_size=4, gradient_accumulation_steps=2, logging_steps=1,
    save_steps=8, use_cpu=True, report_to=[], accelerator_config={"dispatch_batches": dispatch},
)
trainer = transformers.Trainer(model, arguments, train_dataset=examples, callbacks=[live_weights(examples, rule)])
trainer.train()
torch.save(torch.cat(model.seen), folder / f"seen-{os.environ['RANK']}.pt")
"""


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["dispatch", "shard"])
def test_two_processes_train_on_the_replayed_batches(corpus: Corpus, tmp_path: Path, mode: str) -> None:
    (tmp_path / "ranks.py").write_text(RANKS, encoding="utf-8")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--master-port=0", "--standalone"]
    environment = {**os.environ, "PYTHONPATH": str(EXAMPLES.parent), "OMP_NUM_THREADS": "1"}
    words = [str(tmp_path / "ranks.py"), str(tmp_path), mode, str(corpus.path)]
    done = subprocess.run([*command, *words], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    seen = [torch.load(tmp_path / f"seen-{rank}.pt", weights_only=True) for rank in range(2)]
    schedule = read_mixture(tmp_path / "checkpoint-8" / "cuvee_mixture.json")
    assert [p.start for p in schedule.phases] == [0, 4 * 16 * 16]
    replay = Loader(corpus, schedule, seq_len=16, seed=3, batch=16)
    for step in range(8):
        rows = torch.cat([s[step * 8 : step * 8 + 8] for s in seen])
        assert sorted(rows.tolist()) == sorted(next(replay).tokens[:, :-1].tolist())
