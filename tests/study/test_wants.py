"""What runs record besides losses: made by real trainings, kept through kills, read back by methods."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cuvee.base.errors import UsageError
from cuvee.methods.mixmin import MixMin
from cuvee.plan.experts import expert, mixtures
from cuvee.proxies.train import train
from cuvee.shards.corpus import Corpus
from cuvee.study import judge
from cuvee.study.checks import check_plan
from cuvee.study.layout import Planned, Round
from cuvee.study.store import Store
from cuvee.study.study import Study
from tests.proxies.tiny import Killed, kill_at
from tests.study.fakes import Inline, problem

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_a_study_of_experts_runs_chooses_and_is_read_again(folder: Path, corpus: Corpus) -> None:
    method = MixMin(experts="ngrams")
    study = Study.open(folder, problem(corpus), corpus, method)
    study.run(runner=Inline(train))
    choice = study.choose()
    assert len(study.trials()) == 3
    assert study.problem.feasible().contains(choice.schedule.at(0).shares)
    # the objective is a and c, and b teaches neither: their experts know no symbols of each other
    assert choice.schedule.at(0).share("b") < 0.02
    again = Study.load(folder)
    assert again.trials() == study.trials()
    assert again.choice() == choice
    path = Store(folder).trial_path(study.trials()[0].id)
    assert path.stat().st_size < 100_000


def test_experts_are_no_mixtures_that_were_seen(folder: Path, corpus: Corpus) -> None:
    study = Study.open(folder, problem(corpus), corpus, MixMin(experts="ngrams"))
    study.run(runner=Inline(train))
    assert mixtures(study.trials()) == ()
    assert judge.best_observed(study.problem, study.trials()) is None


def test_a_training_that_was_killed_records_the_same(corpus: Corpus, tmp_path: Path) -> None:
    plan = expert(problem(corpus), "a", 0, "expert", "token_log_likelihoods")
    (whole,) = train([plan], corpus)
    checkpoint = tmp_path / "run.pt"
    for steps in ((5,), (11,)):
        with pytest.raises(Killed):
            train([plan], corpus, checkpoint=checkpoint, checkpoint_seconds=0.0, on_step=kill_at(*steps))
    (resumed,) = train([plan], corpus, checkpoint=checkpoint)
    assert resumed.likelihoods == whole.likelihoods
    assert len(whole.likelihoods) == 3
    # and the last checkpoint after the last evaluation
    with pytest.raises(Killed):
        train([plan], corpus, checkpoint=checkpoint, checkpoint_seconds=0.0, on_step=kill_at(plan.steps))
    assert train([plan], corpus, checkpoint=checkpoint)[0].likelihoods == whole.likelihoods


def test_models_trained_together_record_their_own(corpus: Corpus) -> None:
    question = problem(corpus)
    plan = replace(question.plan(question.natural, 0), wants=("example_log_likelihoods", "token_log_likelihoods"))
    slow = replace(plan, learning_rate=plan.learning_rate / 100)
    one, other = train([plan, slow], corpus)
    assert [r.want for r in one.likelihoods[:2]] == list(plan.wants)
    assert one.likelihoods[0].examples == other.likelihoods[0].examples
    assert one.likelihoods[0].nats_X.sum() < other.likelihoods[0].nats_X.sum()
    assert train([question.plan(question.natural, 0)], corpus)[0].likelihoods == ()


def test_the_split_of_the_plan_is_what_is_recorded(corpus: Corpus) -> None:
    plan = expert(problem(corpus), "a", 0, "ngram", "example_log_likelihoods")
    searched, verified = (train([replace(plan, split=split)], corpus)[0] for split in ("search", "verify"))
    assert not {r.examples for r in searched.likelihoods} & {r.examples for r in verified.likelihoods}


def test_one_block_of_experts_gives_the_same_numbers_through_the_store(store: Store, corpus: Corpus) -> None:
    plan = expert(problem(corpus), "c", 1, "ngram", "token_log_likelihoods")
    planned = Planned(plan.id(corpus.fingerprint), plan)
    assert store.write_round(1, Round((planned,)))
    (trial,) = train([plan], corpus)
    assert store.publish_trial(trial)
    read = Store(store.folder).trial(trial.id)
    assert read == trial
    assert read is not None
    assert np.array_equal(read.likelihoods[0].nats_X, trial.likelihoods[0].nats_X)
    # a file cut short is no trial
    path = store.trial_path(trial.id)
    path.write_bytes(path.read_bytes()[:-100])
    assert Store(store.folder).trial(trial.id) is None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"wants": ("weights",)}, "wants weights recorded"),
        ({"requires": ("0" * 32,)}, "requires other runs"),
        ({"trainer": "outside"}, "outside trainer"),
        ({"kind": "ngram", "pools": (10, 10, 10)}, "other than one domain"),
        ({"split": "verify"}, "split"),
    ],
)
def test_what_cannot_be_made_is_refused(corpus: Corpus, change: dict[str, object], says: str) -> None:
    question = problem(corpus)
    plan = expert(question, "a", 0, "ngram", "token_log_likelihoods")
    check_plan(plan, question)
    with pytest.raises(UsageError, match=says):
        check_plan(replace(plan, **change), question)  # type: ignore[arg-type]
