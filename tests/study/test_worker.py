from __future__ import annotations

import errno
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from cuvee.base.errors import DataError, PartialError, UsageError
from cuvee.mixture.schedule import Schedule
from cuvee.mixture.weights import Mixture
from cuvee.plan.trial import Plan, Status, Trial
from cuvee.shards.corpus import Corpus
from cuvee.study import claims, worker
from cuvee.study.layout import Planned, Round
from cuvee.study.store import Store
from tests.study.fakes import fake_train


def job(store: Store, corpus: Corpus) -> tuple[Path, tuple[str, ...]]:
    ids = tuple(store.planned())
    return store.write_job(corpus.path, ids), ids


def mixed(plan: Plan, shares: tuple[float, ...]) -> Schedule:
    return Schedule.constant(Mixture.from_shares(dict(zip(plan.schedule.domains, shares, strict=True))))


def test_it_makes_every_run_and_cleans_up(store: Store, corpus: Corpus) -> None:
    path, ids = job(store, corpus)
    seen: list[Path] = []

    def train(
        plans: Sequence[Plan], corpus: Corpus, *, checkpoint: Path | None = None, inputs: Path | None = None
    ) -> tuple[Trial, ...]:
        assert checkpoint is not None
        checkpoint.write_bytes(b"half a run")
        assert claims.held(store.claim_path(checkpoint.stem))
        seen.append(checkpoint)
        return fake_train(plans, corpus)

    worker.work(path, train)
    assert [s.stem for s in seen] == list(ids)
    assert {t.id for t in store.trials(store.planned().values())} == set(ids)
    assert list((store.folder / "checkpoints").iterdir()) == []
    assert list((store.folder / "claims").iterdir()) == []
    worker.work(path, train)
    assert len(seen) == len(ids)


def test_an_error_in_training_is_a_trial(store: Store, corpus: Corpus) -> None:
    path, ids = job(store, corpus)

    def train(plans: Sequence[Plan], corpus: Corpus, **paths: Path | None) -> tuple[Trial, ...]:
        if plans[0].block == 1:
            raise ValueError("a broken plan")
        if plans[0].block == 2:
            raise DataError("a domain without sequences")
        return fake_train(plans, corpus)

    worker.work(path, train)
    trials = {t.plan.block: t for t in store.trials(store.planned().values())}
    assert [trials[b].status for b in range(3)] == ["done", "failed", "failed"]
    assert "ValueError: a broken plan" in trials[1].message
    assert str(Path(__file__).parent) not in trials[1].message
    assert trials[1].realised == (0, 0, 0)
    assert trials[1].curves == ()
    assert set(ids) == {t.id for t in trials.values()}


def test_a_divergence_is_retried_once_at_half_the_rate_and_recorded(store: Store, corpus: Corpus) -> None:
    path, ids = job(store, corpus)
    rates: list[float] = []

    def train(plans: Sequence[Plan], corpus: Corpus, **paths: Path | None) -> tuple[Trial, ...]:
        (trial,) = fake_train(plans, corpus)
        rates.append(plans[0].learning_rate)
        diverges = plans[0].block == 1 and plans[0].learning_rate == store.planned()[ids[0]].plan.learning_rate
        return (replace(trial, status="diverged", message="not finite"),) if diverges else (trial,)

    worker.work(path, train)
    planned = list(store.planned().values())
    (fallen,) = [t for t in store.trials(planned) if t.status == "diverged"]
    (other,) = {*rates} - {fallen.plan.learning_rate}
    retry = replace(fallen.plan, learning_rate=fallen.plan.learning_rate / 2)
    assert (other, rates.count(other)) == (retry.learning_rate, 1)
    assert (
        fallen.message == f"not finite; at half the learning rate it ended done (trial {retry.id(corpus.fingerprint)})"
    )
    again = store.trial(retry.id(corpus.fingerprint))
    assert again is not None
    assert (again.status, again.plan) == ("done", retry)
    assert {t.id for t in store.trials(planned)} == set(ids)


def test_runs_are_trained_together_as_their_plans_say(store: Store, corpus: Corpus) -> None:
    (base, *_) = store.planned().values()
    runs = [
        Planned(p.id(corpus.fingerprint), p)
        for block in (0, 1)
        for units in ((1, 1, 2), (1, 2, 1), (2, 1, 1))
        for p in [replace(base.plan, block=block, together=2, schedule=mixed(base.plan, units))]
    ]
    groups = worker.together(runs)
    assert [len(g) for g in groups] == [2, 1, 2, 1]
    assert {frozenset(g) for g in worker.together(runs[::-1])} == {frozenset(g) for g in groups}
    store.write_round(len(store.rounds()), Round(tuple(runs)))
    sizes: list[tuple[int, int]] = []

    def train(plans: Sequence[Plan], corpus: Corpus, **paths: Path | None) -> tuple[Trial, ...]:
        sizes.append((len(plans), len(set(plans))))
        return tuple(fake_train([p], corpus)[0] for p in plans)

    worker.work(store.write_job(corpus.path, tuple(r.id for r in runs)), train)
    assert sorted(sizes) == [(2, 1), (2, 1), (2, 2), (2, 2)]
    assert all(store.has(r.id) for r in runs)
    counted = [Planned(r.id, replace(r.plan, kind="ngram")) for r in runs]
    assert [len(g) for g in worker.together(counted)] == [1] * len(runs), "copies of n-gram models would be counted too"


def test_of_a_batch_nothing_is_published_before_its_retries(store: Store, corpus: Corpus) -> None:
    """Or a kill in a retry would leave a checkpoint of more runs than are left, from which nobody goes on."""
    (base, *_) = store.planned().values()
    plans = [replace(base.plan, together=2, schedule=mixed(base.plan, units)) for units in ((1, 1, 2), (1, 2, 1))]
    batch = [Planned(p.id(corpus.fingerprint), p) for p in plans]
    store.write_round(len(store.rounds()), Round(tuple(batch)))
    there: list[list[bool]] = []

    def train(plans: Sequence[Plan], corpus: Corpus, **paths: Path | None) -> tuple[Trial, ...]:
        there.append([store.has(run.id) for run in batch])
        status: Status = "diverged" if plans[0].learning_rate == base.plan.learning_rate else "done"
        return tuple(replace(fake_train([p], corpus)[0], status=status) for p in plans)

    worker.work(store.write_job(corpus.path, tuple(run.id for run in batch)), train)
    assert there == [[False, False]] * 3
    assert all(store.has(run.id) for run in batch)


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left"), OSError(5, "I/O"), MemoryError(), PartialError("full")]
)
def test_what_the_machine_lacks_is_no_trial(store: Store, corpus: Corpus, error: Exception) -> None:
    path, ids = job(store, corpus)

    def train(plans: Sequence[Plan], corpus: Corpus, **paths: Path | None) -> tuple[Trial, ...]:
        raise error

    with pytest.raises(PartialError):
        worker.work(path, train)
    assert not any(store.has(i) for i in ids)
    assert list((store.folder / "claims").iterdir()) == []


@pytest.mark.slow
def test_memory_that_torch_did_not_get_is_no_trial(store: Store, corpus: Corpus) -> None:
    import torch

    path, ids = job(store, corpus)
    errors = [torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")]

    def train(plans: Sequence[Plan], corpus: Corpus, **paths: Path | None) -> tuple[Trial, ...]:
        if errors:
            raise errors.pop()
        torch.empty(1 << 50)
        raise AssertionError("a petabyte was there")

    for _ in range(2):
        with pytest.raises(PartialError, match="allocate"):
            worker.work(path, train)
    assert not any(store.has(i) for i in ids)


def test_an_error_after_somebody_else_published_does_not_matter(store: Store, corpus: Corpus) -> None:
    path, ids = job(store, corpus)

    def train(
        plans: Sequence[Plan], corpus: Corpus, *, checkpoint: Path | None = None, inputs: Path | None = None
    ) -> tuple[Trial, ...]:
        store.publish_trial(fake_train(plans, corpus)[0])
        raise FileNotFoundError(errno.ENOENT, "the checkpoint was swept away")

    worker.work(path, train)
    assert all(store.has(i) for i in ids)


def test_an_interrupt_is_no_trial_and_ends_with_5(store: Store, corpus: Corpus) -> None:
    path, ids = job(store, corpus)

    def train(plans: Sequence[Plan], corpus: Corpus, **paths: Path | None) -> tuple[Trial, ...]:
        raise KeyboardInterrupt

    assert worker.main([str(path)], train) == 5
    assert not any(store.has(i) for i in ids)
    assert list((store.folder / "claims").iterdir()) == []


def test_it_leaves_a_living_claim_alone_until_the_trial_is_there(
    store: Store, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, ids = job(store, corpus)
    made: list[str] = []
    claim = claims.take(store.claim_path(ids[0]))
    assert claim is not None
    other = fake_train([store.planned()[ids[0]].plan], corpus)[0]

    def publish_instead_of_sleeping(seconds: float) -> None:
        store.publish_trial(other)

    def train(plans: Sequence[Plan], corpus: Corpus, **paths: Path | None) -> tuple[Trial, ...]:
        made.append(plans[0].id(corpus.fingerprint))
        return fake_train(plans, corpus)

    monkeypatch.setattr("time.sleep", publish_instead_of_sleeping)
    worker.work(path, train)
    claim.release()
    assert made == list(ids[1:])


def test_it_refuses_runs_of_another_training_code(
    store: Store, corpus: Corpus, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, _ = job(store, corpus)
    monkeypatch.setattr("cuvee.plan.trial.RECIPE", 99)
    with pytest.raises(UsageError, match="another version of the training code"):
        worker.work(path, fake_train)
    assert worker.main([str(path)], fake_train) == 2
    assert "restart it with --accept" in capsys.readouterr().err


def test_a_missing_corpus_is_a_data_error(store: Store, corpus: Corpus, capsys: pytest.CaptureFixture[str]) -> None:
    path = store.write_job(store.folder / "nothing", tuple(store.planned()))
    assert worker.main([str(path)], fake_train) == 3
    assert "nothing" in capsys.readouterr().err


def test_without_torch_it_says_what_to_install(
    store: Store, corpus: Corpus, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, _ = job(store, corpus)
    monkeypatch.setitem(sys.modules, "torch", None)
    assert worker.main([str(path)]) == 2
    assert "pip install 'cuvee[train]'" in capsys.readouterr().err


@pytest.mark.slow
def test_importing_the_worker_loads_no_torch() -> None:
    import subprocess

    code = "import sys, cuvee.study.worker, cuvee.study.study; print('torch' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"
