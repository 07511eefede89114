from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cuvee.base.codec import from_json, to_json
from cuvee.base.errors import DataError, UsageError
from cuvee.mixture.schedule import Phase, Schedule
from cuvee.mixture.weights import Mixture
from cuvee.shards.corpus import Corpus
from cuvee.stream.bestfit import BestFit
from cuvee.stream.loader import Loader, LoaderState
from cuvee.stream.repetition import Repetition
from cuvee.stream.state import OrderKind
from cuvee.testing.corpora import synthetic
from tests.stream.test_decomposition import corpus_of
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


POLICY = Repetition({"a": 0.3, "b": 0.5}, "redistribute")
LIVE = Mixture.from_shares({"a": 0.2, "b": 0.7, "c": 0.1})


def eventful(corpus: Corpus, rank: int, world_size: int, order: OrderKind = "exact") -> Loader:
    """A phase, a ramp, a live change, two domains that run out: all of them within twelve batches."""
    schedule = Schedule.constant(FIRST).then(2000, SCHEDULE.phases[1].mixture, ramp=2500)
    stream = Loader(
        corpus, schedule, seq_len=32, seed=0, batch=24, rank=rank, world_size=world_size, repetition=POLICY, order=order
    )
    stream.change(5000, LIVE, "b is learnt fastest")
    return stream


def global_batches(ranks: list[Loader], n: int, state: LoaderState | None = None) -> list[NDArray[np.int64]]:
    for rank in ranks:
        if state is not None:
            rank.restore(state)
    batches = [[next(rank) for rank in ranks] for _ in range(n)]
    assert len({json.dumps(to_json(rank.state())) for rank in ranks}) == 1
    return [np.concatenate([b.tokens for b in parts]) for parts in batches]


def test_the_global_order_is_pinned(tmp_path: Path) -> None:
    """Token t of document k of domain a is 1000 + 37 k + t, of b 2000 + 37 k + t."""
    data = corpus_of(tmp_path, {"a": [37] * 20, "b": [37] * 21}, 1000, 1000, vocab=4000)
    stream = Loader(data, Schedule.constant(Mixture.from_shares({"a": 0.7, "b": 0.3})), seq_len=16, seed=5, batch=8)
    assert data.fingerprint == "a5c14ddc8f18212477035111c5f9f821"
    assert digest([next(stream) for _ in range(30)]) == "039da83aeaf8f293"


@pytest.mark.parametrize("order", ["exact", "random"])
@pytest.mark.parametrize("world_size", [1, 2, 3, 8])
def test_resume_on_any_world_size_from_every_position(corpus: Corpus, world_size: int, order: OrderKind) -> None:
    whole = eventful(corpus, 0, 1, order)
    states, wanted = [], []
    for _ in range(12):
        states.append(from_json(LoaderState, json.loads(json.dumps(to_json(whole.state())))))
        wanted.append(next(whole).tokens)
    assert len(whole.state().mixer.exhausted) == 2
    ranks = [eventful(corpus, rank, world_size, order) for rank in range(world_size)]
    assert np.array_equal(np.stack(global_batches(ranks, 12)), np.stack(wanted))
    assert {(r.log, json.dumps(to_json(r.served))) for r in ranks} == {(whole.log, json.dumps(to_json(whole.served)))}
    for position, state in enumerate(states):
        ranks = [eventful(corpus, rank, world_size, order) for rank in range(world_size)]
        assert np.array_equal(
            np.stack(global_batches(ranks, min(3, 12 - position), state)), np.stack(wanted[position : position + 3])
        )


def test_a_copy_goes_its_own_way(corpus: Corpus) -> None:
    stream = loader(corpus, 1, 2)
    stream.skip(3)
    other = stream.copy()
    state = stream.state()
    ahead = [next(other).tokens for _ in range(3)]
    other.change(other.tokens, FIRST, "x")
    assert stream.state() == state
    assert all(np.array_equal(next(stream).tokens, tokens) for tokens in ahead)


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
    state = json.dumps(to_json(stream.state()))
    assert len(state.encode()) < 1000
    stream.skip(10_000)
    assert len(json.dumps(to_json(stream.state()))) < len(state) + 30


def test_it_accounts_for_what_it_served(corpus: Corpus) -> None:
    stream = loader(corpus, 1, 3)
    for _ in range(10):
        assert next(stream).tokens.shape == (8, 33)
    assert stream.batches == 10
    assert stream.tokens == sum(stream.realised.values()) == 10 * 24 * 32
    assert stream.epochs["c"] == stream.realised["c"] / 32 / ((corpus.train_tokens["c"] - 1) // 32)
    assert stream.schedule == SCHEDULE


def test_another_corpus_or_run_is_refused_with_the_difference(corpus: Corpus, tmp_path: Path) -> None:
    state = loader(corpus).state()
    other = synthetic(tmp_path, documents=40, seed=1)
    with pytest.raises(DataError, match=f"{corpus.fingerprint}\n.*{other.fingerprint}"):
        loader(other).restore(state)
    with pytest.raises(UsageError, match="another seed: 0"):
        loader(corpus, seed=3).restore(state)
    with pytest.raises(
        UsageError, match=r"another phases: phase 2 from 4,000 tokens: [\s\S]*phases no phase 2, as here"
    ):
        loader(corpus, schedule=Schedule.constant(FIRST)).restore(state)
    other_shares = Schedule((SCHEDULE.phases[0], Phase(4000, Mixture.from_shares({"a": 0.1, "b": 0.3, "c": 0.6}), 70)))
    with pytest.raises(
        UsageError, match=r"tokens: b 0\.2, c 0\.7\n.*phase 2 from 4,000 tokens over 70: b 0\.3, c 0\.6"
    ):
        loader(corpus, schedule=other_shares).restore(state)
    for said, there in {
        "repetition: None": Loader(corpus, SCHEDULE, seq_len=32, seed=0, batch=24, repetition=POLICY),
        "order: exact": Loader(corpus, SCHEDULE, seq_len=32, seed=0, batch=24, order="random"),
        r"packing: Concat\(\)\n.*BestFit\(pad=0\)": Loader(
            corpus, SCHEDULE, seq_len=32, seed=0, batch=24, packing=BestFit()
        ),
    }.items():
        with pytest.raises(UsageError, match=f"another {said}"):
            there.restore(state)


def test_shares_are_of_tokens_whatever_the_packing_leaves_empty(corpus: Corpus) -> None:
    stream = Loader(corpus, Schedule.constant(FIRST), seq_len=32, seed=0, batch=24, packing=BestFit())
    learnt_D = np.zeros(3)
    for _ in range(60):
        batch = next(stream)
        np.add.at(learnt_D, batch.domains, (batch.labels >= 0).sum(1))
    assert learnt_D / learnt_D.sum() == pytest.approx(FIRST.shares, abs=0.01)
    assert list(stream.realised.values()) == pytest.approx(learnt_D.tolist(), rel=0.03)
    rows_D = [stream.served[d].tokens / stream.fill[d] / 32 for d in stream.schedule.domains]
    assert sum(rows_D) == pytest.approx(60 * 24, rel=1e-3)
    assert all(0.5 < fill < 1 for fill in stream.fill.values())
    state = stream.state()
    wanted = next(stream).tokens
    again = Loader(corpus, Schedule.constant(FIRST), seq_len=32, seed=0, batch=24, packing=BestFit())
    again.restore(state)
    assert np.array_equal(next(again).tokens, wanted)


def test_bad_ranks_and_batches_are_refused(corpus: Corpus) -> None:
    with pytest.raises(UsageError, match=r"24 sequences for 5 ranks[\s\S]*batch=25"):
        loader(corpus, 0, 5)
    with pytest.raises(UsageError, match="rank 2 of world size 2"):
        loader(corpus, 2, 2)


def test_what_is_no_corpus_or_no_schedule_is_refused(corpus: Corpus) -> None:
    mixture = Mixture.from_shares(dict.fromkeys(corpus.domains, 1.0))
    with pytest.raises(UsageError, match="got a Mixture for the schedule"):
        Loader(corpus, mixture, seq_len=16, seed=0)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="got a str for the corpus"):
        Loader("corpus", Schedule.constant(mixture), seq_len=16, seed=0)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="got the policy 'often'"):
        Repetition(1, "often")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="got the weight nan for 'b'"):
        Mixture.from_shares({"a": 1, "b": float("nan")})
    assert (
        Mixture.from_shares({"a": np.array(1), "b": Fraction(1, 3)}).units  # type: ignore[dict-item]
        == Mixture.from_shares({"a": 3, "b": 1}).units
    )
    loader = Loader(corpus, Schedule.constant(mixture), seq_len=16, seed=0, batch=4)
    loader.change(1e3, mixture, "a float")  # type: ignore[arg-type]
    assert [type(e.start) for e in loader.state().mixer.events] == [int]
    loader.skip(-1)
    assert loader.batches == 0


def test_a_schedule_over_some_of_the_domains_will_do(corpus: Corpus) -> None:
    stream = loader(corpus, schedule=Schedule.constant(Mixture.from_shares({"c": 1, "a": 1})))
    next(stream)
    assert stream.realised == {"c": 12 * 32, "a": 12 * 32}
