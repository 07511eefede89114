from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from cuvee.base.errors import DataError, UsageError
from cuvee.interop.live import Examples, live_weights, resume
from cuvee.interop.mixturefile import read_mixture
from cuvee.mixture.schedule import Schedule
from cuvee.mixture.weights import Mixture
from cuvee.shards.corpus import Corpus
from cuvee.stream.loader import Loader
from cuvee.testing.corpora import synthetic

with warnings.catch_warnings():  # what other people's packages warn of when they are imported is theirs
    warnings.simplefilter("ignore")
    transformers = pytest.importorskip("transformers")

pytestmark = pytest.mark.filterwarnings("ignore")
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
        arguments = transformers.TrainingArguments(
            **{
                "output_dir": str(tmp_path / "out"), "max_steps": steps, "per_device_train_batch_size": 4,
                "gradient_accumulation_steps": 2, "logging_steps": 1, "save_steps": 5, "use_cpu": True, "report_to": [],
                "disable_tqdm": True, "ignore_data_skip": True,
            }
            | kwargs
        )  # fmt: skip
        examples, model = Examples(loader), Recorder(corpus.inventory.tokenizer.vocab_size)
        trainer = transformers.Trainer(
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
    with pytest.raises(UsageError, match="dataloader_num_workers"):
        train(fresh(corpus), dataloader_num_workers=1)
    with pytest.raises(UsageError, match="one rank of 2"):
        Examples(fresh(corpus, world_size=2))
    with pytest.raises(DataError, match="holds no cuvee_loader"):
        resume(fresh(corpus), tmp_path)
    train(fresh(corpus), steps=5)
    folder = tmp_path / "out" / "checkpoint-5"
    with pytest.raises(UsageError, match="starts at step 5, the loader at 0"):
        train(fresh(corpus), checkpoint=str(folder))
    state = json.loads((folder / "cuvee_loader.json").read_text(encoding="utf-8"))
    state["corpus"] = "other"
    (folder / "cuvee_loader.json").write_text(json.dumps(state), encoding="utf-8")
    with pytest.raises(DataError, match="saved on the corpus other"):
        resume(fresh(corpus), folder)
