from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cuvee.base.codec import from_json, to_json
from cuvee.base.errors import DataError, UsageError
from cuvee.mixture.schedule import Phase, Schedule
from cuvee.mixture.weights import Mixture
from cuvee.shards.corpus import Corpus
from cuvee.shards.indexed import IndexedWriter
from cuvee.shards.inventory import DomainInfo, Inventory, Shard, SplitInfo, TokenizerInfo
from cuvee.stream.loader import Loader, LoaderState
from cuvee.testing.corpora import synthetic
from tests.stream.test_mixer import digest

FIRST = Mixture.from_shares({"a": 0.5, "b": 0.3, "c": 0.2})
SCHEDULE = Schedule((Phase(0, FIRST), Phase(4000, Mixture.from_shares({"a": 0.1, "b": 0.2, "c": 0.7}))))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return synthetic(tmp_path_factory.mktemp("corpus"), documents=40)


def loader(
    corpus: Corpus, rank: int = 0, world_size: int = 1, *, seed: int = 0, schedule: Schedule = SCHEDULE
) -> Loader:
    return Loader(corpus, schedule, seq_len=32, seed=seed, batch=24, rank=rank, world_size=world_size)


def global_batches(
    corpus: Corpus, world_size: int, n: int, state: LoaderState | None = None
) -> list[NDArray[np.int64]]:
    ranks = [loader(corpus, rank, world_size) for rank in range(world_size)]
    for rank in ranks:
        if state is not None:
            rank.restore(state)
    batches = [[next(rank) for rank in ranks] for _ in range(n)]
    assert len({json.dumps(to_json(rank.state())) for rank in ranks}) == 1
    return [np.concatenate([b.tokens for b in parts]) for parts in batches]


def test_the_global_order_is_pinned(tmp_path: Path) -> None:
    """Token t of document k of domain a is 1000 + 37 k + t, of b 2000 + 37 k + t."""
    infos = []
    for d, name in enumerate("ab"):
        with IndexedWriter(tmp_path / name, np.uint16) as writer:
            for k in range(20 + d):
                writer.add(1000 * (d + 1) + 37 * k + np.arange(37))
        shard = Shard(name, writer.documents, writer.tokens, writer.tokens, writer.hash)
        infos.append(DomainInfo(name, name, SplitInfo((shard,)), SplitInfo(), SplitInfo()))
    Inventory(tuple(infos), TokenizerInfo("external", 4000, 0, "")).save(tmp_path)
    data = Corpus.open(tmp_path)
    stream = Loader(data, Schedule.constant(Mixture.from_shares({"a": 0.7, "b": 0.3})), seq_len=16, seed=5, batch=8)
    assert data.fingerprint == "a5c14ddc8f18212477035111c5f9f821"
    assert digest([next(stream) for _ in range(30)]) == "039da83aeaf8f293"


@pytest.mark.parametrize("world_size", [1, 2, 3, 8])
def test_world_sizes_give_one_global_order(corpus: Corpus, world_size: int) -> None:
    wanted = global_batches(corpus, 1, 12)
    assert np.array_equal(np.stack(wanted), np.stack(global_batches(corpus, world_size, 12)))


@pytest.mark.parametrize(("before", "after"), [(1, 8), (8, 3), (3, 1), (2, 2)])
def test_resume_on_another_world_size_from_every_position(corpus: Corpus, before: int, after: int) -> None:
    wanted = global_batches(corpus, 1, 12)
    saving = loader(corpus, before - 1, before)
    for position in range(12):
        state = from_json(LoaderState, json.loads(json.dumps(to_json(saving.state()))))
        n = min(3, 12 - position)
        assert np.array_equal(
            np.stack(global_batches(corpus, after, n, state)), np.stack(wanted[position : position + n])
        )
        next(saving)


def test_a_state_of_eight_domains_is_under_a_kilobyte(tmp_path: Path) -> None:
    names = tuple("domain" + c for c in "abcdefgh")
    data = synthetic(tmp_path, names, documents=10)
    generator = np.random.default_rng(0)
    mixtures = [Mixture.from_array(names, generator.dirichlet(np.ones(8))) for _ in range(3)]
    stream = Loader(
        data, Schedule((Phase(0, mixtures[0]), Phase(10**12, mixtures[1]))), seq_len=32, seed=2**40, batch=24
    )
    stream.skip(4_000)
    stream.change(stream.tokens, mixtures[2], "loss stalled")
    stream.skip(10)
    assert len(json.dumps(to_json(stream.state())).encode()) < 1000


def test_it_accounts_for_what_it_served(corpus: Corpus) -> None:
    stream = loader(corpus, 1, 3)
    for _ in range(10):
        assert next(stream).tokens.shape == (8, 33)
    assert stream.batches == 10
    assert stream.tokens == sum(stream.realised.values()) == 10 * 24 * 32
    assert stream.epochs["c"] == stream.realised["c"] / 32 / ((corpus.train_tokens["c"] - 1) // 32)
    assert stream.schedule == SCHEDULE


def test_live_changes_on_every_rank_and_after_resume(corpus: Corpus) -> None:
    change = Mixture.from_shares({"a": 0.0, "b": 0.5, "c": 0.5})
    stream = loader(corpus)
    stream.skip(2)
    stream.change(stream.tokens, change, "x")
    state = stream.state()
    wanted = next(stream).tokens
    parts = []
    for rank in range(2):
        part = loader(corpus, rank, 2)
        part.restore(state)
        parts.append(next(part).tokens)
    assert np.array_equal(np.concatenate(parts), wanted)
    assert np.array_equal(loader_after(corpus, stream.schedule, 2), wanted)


def loader_after(corpus: Corpus, schedule: Schedule, batches: int) -> NDArray[np.int64]:
    stream = loader(corpus, schedule=schedule)
    stream.skip(batches)
    return next(stream).tokens


def test_another_corpus_or_run_is_refused_with_the_difference(corpus: Corpus, tmp_path: Path) -> None:
    state = loader(corpus).state()
    other = synthetic(tmp_path, documents=40, seed=1)
    with pytest.raises(DataError, match=f"{corpus.fingerprint}\n.*{other.fingerprint}"):
        loader(other).restore(state)
    with pytest.raises(UsageError, match="another seed: 0"):
        loader(corpus, seed=3).restore(state)
    with pytest.raises(UsageError, match="another phases"):
        loader(corpus, schedule=Schedule.constant(FIRST)).restore(state)


def test_bad_ranks_and_batches_are_refused(corpus: Corpus) -> None:
    with pytest.raises(UsageError, match=r"24 sequences for 5 ranks[\s\S]*batch=25"):
        loader(corpus, 0, 5)
    with pytest.raises(UsageError, match="rank 2 of world size 2"):
        loader(corpus, 2, 2)
    with pytest.raises(UsageError, match="lacks: d"):
        loader(corpus, schedule=Schedule.constant(Mixture.from_shares({"a": 1, "d": 1})))


def test_a_schedule_over_some_of_the_domains_will_do(corpus: Corpus) -> None:
    stream = loader(corpus, schedule=Schedule.constant(Mixture.from_shares({"c": 1, "a": 1})))
    next(stream)
    assert stream.realised == {"c": 12 * 32, "a": 12 * 32}
