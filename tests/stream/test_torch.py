from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from cuvee.base.errors import DataError, UsageError
from cuvee.mixture.schedule import Schedule
from cuvee.mixture.weights import Mixture
from cuvee.shards.corpus import Corpus
from cuvee.shards.sources import Source
from cuvee.stream.loader import Loader
from cuvee.stream.packing import Items, Sequences
from cuvee.stream.repetition import Repetition
from cuvee.stream.torch import TorchBatches, TorchDataset
from cuvee.testing.corpora import synthetic

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning"),
]
EVEN = Schedule.constant(Mixture.from_shares({"a": 1, "b": 2, "c": 1}))
LATER = Mixture.from_shares({"a": 3, "b": 0, "c": 1})
ONE = 24 * 16
"""Tokens of a batch."""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return synthetic(tmp_path_factory.mktemp("torch"), documents=20)


def fresh(corpus: Corpus, rank: int = 0, world_size: int = 1) -> Loader:
    return Loader(corpus, EVEN, seq_len=16, seed=0, batch=24, rank=rank, world_size=world_size)


@pytest.fixture
def loader(corpus: Corpus) -> Loader:
    return fresh(corpus)


def take(batches: Any, n: int) -> list[list[Any]]:
    return [[t.numpy() for t in batch] for _, batch in zip(range(n), batches, strict=False)]


def same(found: list[list[Any]], loader: Loader) -> bool:
    return all(
        np.array_equal(tokens, wanted.tokens) and np.array_equal(domains, wanted.domains)
        for (tokens, domains), wanted in zip(found, loader, strict=False)
    )


@pytest.mark.parametrize("workers", range(5))
@pytest.mark.parametrize("world", [1, 2, 3, 8])
def test_one_order_and_resume_at_every_position_for_any_ranks_and_workers(
    corpus: Corpus, world: int, workers: int
) -> None:
    # the whole run on `world` ranks, then on from every position with another number of ranks and workers
    whole = take(fresh_batches(corpus, 0, 1, 0), 20)
    rank = workers % world
    share = slice(rank * 24 // world, (rank + 1) * 24 // world)
    batches = fresh_batches(corpus, rank, world, workers)
    found = []
    states = []
    for _, batch in zip(range(18), batches, strict=False):
        found.append([t.numpy() for t in batch])
        states.append(batches.state())
    assert all(
        np.array_equal(f, w[share]) for a, b in zip(found, whole, strict=False) for f, w in zip(a, b, strict=True)
    )
    for done, state in enumerate(states, start=1):
        other = fresh(corpus)
        other.restore(state)
        assert np.array_equal(next(other).tokens, whole[done][0])
    again = fresh_batches(corpus, 0, 3, (workers + 1) % 3)
    again.load_state_dict(batches.state_dict())
    assert np.array_equal(take(again, 2)[1][0], whole[19][0][:8])


def fresh_batches(corpus: Corpus, rank: int, world: int, workers: int) -> TorchBatches:
    return TorchBatches(TorchDataset(fresh(corpus, rank, world)), workers=workers)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_plain_dataloader_gives_the_loaders_batches(loader: Loader, workers: int) -> None:
    dataset = TorchDataset(loader, ("tokens", "domains", "documents", "positions", "cu_seqlens", "labels"))
    found = take(DataLoader(dataset, batch_size=None, num_workers=workers), 7)
    assert loader.batches == 0
    state = dataset.state_after(7)
    for batch in found:
        wanted = next(loader)
        for name, tensor in zip(dataset.fields, batch, strict=True):
            assert tensor.dtype == getattr(wanted, name).dtype
            assert np.array_equal(tensor, getattr(wanted, name))
    assert state == loader.state()
    assert dataset.state_after(9) != state


def test_batches_that_are_kept_do_not_change(loader: Loader) -> None:
    found = [batch for _, batch in zip(range(150), TorchBatches(TorchDataset(loader), workers=2), strict=False)]
    assert all(torch.equal(batch[0], torch.from_numpy(next(loader).tokens)) for batch in found)


def test_an_iteration_goes_on_where_the_last_one_stopped(loader: Loader) -> None:
    batches = TorchBatches(TorchDataset(loader), workers=1)
    first = take(batches, 5)
    # zip asked for one more batch, which was given out
    loader_at = batches.state().mixer.batches
    assert same(first, loader)
    loader.skip(loader_at - loader.batches)
    assert same(take(batches, 3), loader)


@pytest.mark.parametrize("workers", [0, 1, 2, 4])
def test_live_changes_reach_every_reader_and_replay(corpus: Corpus, loader: Loader, workers: int) -> None:
    batches = TorchBatches(TorchDataset(loader), workers=workers)
    found, states = [], []
    for n, batch in enumerate(batches):
        found.append([t.numpy() for t in batch])
        states.append(batches.state())
        if n == 3:
            with pytest.raises(UsageError, match="the earliest possible now"):
                batches.dataset.change(3 * ONE, LATER, "too late")
            batches.dataset.change(400 * ONE, Mixture.from_shares({"a": 0, "b": 1, "c": 0}), "planned ahead", ramp=ONE)
            batches.dataset.reweight(LATER, "loss of b is low")
        if n == 450:
            break
    (start,) = [p.start for p in batches.dataset.schedule.phases if p.mixture == LATER]
    assert start % ONE == 0
    assert start >= 4 * ONE
    assert workers or start == 4 * ONE
    replay = Loader(corpus, batches.dataset.schedule, seq_len=16, seed=0, batch=24)
    assert same(found, replay)
    for done in (5, start // ONE + 1, 390):  # a state holds the changes to come
        other = fresh(corpus)
        other.restore(states[done - 1])
        assert np.array_equal(next(other).tokens, found[done][0])


def test_a_log_outlives_the_run(corpus: Corpus, tmp_path: Path) -> None:
    log = tmp_path / "run" / "changes.jsonl"
    first = TorchDataset(fresh(corpus), log=log)
    before = first.state_after(2)
    first.change(6 * ONE, LATER, "one")
    with open(log, "ab") as file:
        file.write(b'{"start":99')  # killed while it wrote
    second = TorchDataset(fresh(corpus), log=log)
    second.change(9 * ONE, EVEN.phases[0].mixture, "two")
    # gone on from a state that knows of neither
    loader = fresh(corpus)
    loader.restore(before)
    again = TorchDataset(loader, log=log)
    assert [p.start for p in again.schedule.phases] == [0, 6 * ONE, 9 * ONE]
    replay = Loader(corpus, again.schedule, seq_len=16, seed=0, batch=24)
    replay.skip(2)
    assert same(take(again, 10), replay)
    late = fresh(corpus)
    late.skip(7)
    with pytest.raises(DataError, match="passed without it"):
        TorchDataset(late, log=log)
    other = synthetic(tmp_path / "other", documents=30)
    with pytest.raises(DataError, match="the log of another run"):
        TorchDataset(fresh(other), log=log)
    with pytest.raises(DataError, match="the log of another run"):
        TorchDataset(Loader(corpus, EVEN, seq_len=16, seed=1, batch=24), log=log)
    header = json.loads(log.read_text(encoding="utf-8").splitlines()[0])
    del header["run"]  # as logs began once
    log.write_text(json.dumps(header) + "\n", encoding="utf-8")
    assert not TorchDataset(fresh(corpus), log=log).schedule.phases[1:]
    log.write_text("no log\n", encoding="utf-8")
    with pytest.raises(DataError, match="no log of changes"):
        TorchDataset(fresh(corpus), log=log)


@pytest.mark.parametrize("workers", [0, 2])
def test_decisions_taken_again_after_a_kill_are_not_made_twice(corpus: Corpus, tmp_path: Path, workers: int) -> None:
    def train(loader: Loader, workers: int, first: int) -> tuple[TorchBatches, list[list[Any]], Any]:
        batches, seen, saved = TorchBatches(TorchDataset(loader, log=tmp_path / "log"), workers=workers), [], None
        for step, batch in zip(range(first, 240), batches, strict=False):
            seen.append([t.numpy() for t in batch])
            if step == 18:
                saved = batches.state()
            if step % 60 == 0:
                batches.dataset.reweight(Mixture.from_shares({"a": step, "b": 20, "c": 10}), f"after step {step}")
        return batches, seen, saved

    killed, seen, saved = train(fresh(corpus), 2, 1)
    loader = fresh(corpus)
    loader.restore(saved)
    again, rest, _ = train(loader, workers, 19)
    phases = killed.dataset.schedule.phases
    assert len(phases) > 2
    assert again.dataset.schedule.phases == phases
    for one, two in zip(rest, seen[18:], strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    again.dataset.reweight(LATER, "after step 240")
    assert again.dataset.schedule.phases != phases
    with pytest.raises(UsageError, match="a second change because of 'after step 240'"):
        again.dataset.reweight(LATER, "after step 240")


def test_a_log_that_cannot_be_written_leaves_no_change_behind(corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is a folder"):
        TorchDataset(fresh(corpus), log=tmp_path)
    dataset = TorchDataset(fresh(corpus), log=tmp_path / "log")
    (tmp_path / "log").mkdir()
    with pytest.raises(IsADirectoryError):
        dataset.reweight(LATER, "now")
    assert dataset.schedule == EVEN
    with pytest.raises(UsageError, match="got the field 'token'"):
        TorchDataset(fresh(corpus), ("token",))  # type: ignore[arg-type]


def run_out(corpus: Corpus, then: Literal["error", "redistribute"], workers: int) -> tuple[TorchBatches, int]:
    """Batches whose domains reach their caps, and how many came."""
    repetition = Repetition({"b": 1} if then == "error" else 1, then)
    loader = Loader(corpus, EVEN, seq_len=16, seed=0, batch=24, repetition=repetition)
    batches, found = TorchBatches(TorchDataset(loader), workers=workers), list[Any]()
    with pytest.raises(DataError, match="cap"):
        found.extend(batch for batch in batches)
    return batches, len(found)


@pytest.mark.parametrize("then", ["error", "redistribute"])
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_an_error_comes_after_as_many_batches_with_any_workers(
    corpus: Corpus, then: Literal["error", "redistribute"], workers: int
) -> None:
    assert run_out(corpus, then, workers)[1] == run_out(corpus, then, 0)[1]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_change_goes_on_from_the_batch_that_could_not_be_served(corpus: Corpus, workers: int) -> None:
    batches, n = run_out(corpus, "error", workers)
    batches.dataset.reweight(LATER, "b is used up")
    assert batches.dataset.schedule.phases[-1].start == n * ONE
    assert all((domains != 1).all() for _, domains in take(batches, 5))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_batch_that_a_worker_cannot_read_never_comes_late(corpus: Corpus, tmp_path: Path, workers: int) -> None:
    stalled = tmp_path / "stalled"
    stalled.touch()

    class Store(Sequences):
        def read(self, place: int, row_L1: Any) -> None:
            if stalled.exists() and place > 400 * 16:
                raise DataError("the store stalls")
            super().read(place, row_L1)

    class Packing:
        def items(self, name: str, source: Source, seq_len: int, seed: int, block: int) -> Items:
            return Store(name, source, seq_len, seed, block)

    loader = Loader(corpus, EVEN, seq_len=16, seed=0, batch=24, packing=Packing())
    found, failed = [], 0
    iterator = iter(DataLoader(TorchDataset(loader), None, num_workers=workers))
    for _ in range(12):
        try:
            found.append([t.numpy() for t in next(iterator)])
        except DataError:
            failed += 1
            stalled.unlink(missing_ok=True)
    assert failed
    wanted = [next(one).tokens for one in [fresh(corpus)] for _ in range(12)]
    places = [next(n for n, w in enumerate(wanted) if np.array_equal(tokens, w)) for tokens, _ in found]
    assert places == sorted(places)  # what fails goes on failing
    stalled.touch()
    batches, through = TorchBatches(TorchDataset(loader), workers=workers), list[list[Any]]()
    with pytest.raises(DataError, match="stalls"):
        through.extend([t.numpy() for t in batch] for batch in batches)
    stalled.unlink()
    through += take(batches, 12 - len(through))
    assert len(through) == 12
    assert same(through, fresh(corpus))


def test_of_two_changes_at_one_position_a_log_holds_the_last(corpus: Corpus, tmp_path: Path) -> None:
    log = tmp_path / "changes.jsonl"
    first = TorchDataset(fresh(corpus), log=log)
    first.reweight(EVEN.phases[0].mixture, "not this one")
    first.reweight(LATER, "this one")
    loader = fresh(corpus)
    loader.restore(first.state_after(3))
    again = TorchDataset(loader, log=log)
    assert again.schedule == first.schedule
    replay = Loader(corpus, first.schedule, seq_len=16, seed=0, batch=24)
    replay.skip(3)
    assert same(take(again, 4), replay)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("every", [1, 4])
def test_torchdatas_loader_resumes_exactly(corpus: Corpus, tmp_path: Path, workers: int, every: int) -> None:
    with warnings.catch_warnings():  # what it warns of when it is imported is its own
        warnings.simplefilter("ignore")
        stateful = pytest.importorskip("torchdata.stateful_dataloader").StatefulDataLoader

    def opened() -> Any:
        dataset = TorchDataset(fresh(corpus), log=tmp_path / "log")
        return dataset, stateful(dataset, batch_size=None, num_workers=workers, snapshot_every_n_steps=every)

    dataset, batches = opened()
    found, states = [], []
    for n, batch in enumerate(batches):
        found.append([t.numpy() for t in batch])
        states.append(batches.state_dict())
        if n == 4:
            dataset.reweight(LATER, "live")
        if n == 24:
            break
    assert same(found, Loader(corpus, dataset.schedule, seq_len=16, seed=0, batch=24))
    for done in (2, 5, 11, 19):
        _, again = opened()
        again.load_state_dict(states[done - 1])
        for tokens, wanted in zip(take(again, 5), found[done:], strict=False):
            assert np.array_equal(tokens[0], wanted[0])


def test_a_worker_state_with_a_change_that_no_log_has_is_refused(corpus: Corpus) -> None:
    dataset = TorchDataset(fresh(corpus))
    reader = iter(dataset)
    next(reader)
    dataset.reweight(LATER)
    next(reader)
    state = reader.state_dict()
    iter(dataset).load_state_dict(state)
    with pytest.raises(DataError, match="that this dataset lacks"):
        iter(TorchDataset(fresh(corpus))).load_state_dict(state)


def test_spawned_workers_read_the_same(loader: Loader) -> None:
    dataset = TorchDataset(loader)
    batches = DataLoader(dataset, batch_size=None, num_workers=1, multiprocessing_context="spawn")
    assert same(take(batches, 2), loader)
