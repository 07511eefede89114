from __future__ import annotations

import json
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cuvee.base.codec import from_json, to_json
from cuvee.base.errors import DataError, InfeasibleError, UsageError
from cuvee.mixture.schedule import Phase, Schedule
from cuvee.mixture.weights import Mixture
from cuvee.shards.corpus import Corpus
from cuvee.shards.indexed import IndexedDataset, IndexedWriter
from cuvee.shards.inventory import DomainInfo, Inventory, Shard, SplitInfo, TokenizerInfo
from cuvee.shards.sources import TokenSource
from cuvee.stream.contract import Loads
from cuvee.stream.curricula import Curriculum, Natural, Odds, Shares, grow_p2
from cuvee.stream.dealing import DecompositionState
from cuvee.stream.decomposition import DecompositionLoader
from cuvee.stream.joint import ahead_bound
from cuvee.stream.loader import Loader
from cuvee.stream.repetition import Repetition
from cuvee.stream.torch import TorchBatches, TorchDataset
from tests.stream.test_mixer import digest

pytestmark = pytest.mark.slow

FIRST = Mixture.from_shares({"a": 0.5, "b": 0.3, "c": 0.2})
SECOND = Mixture.from_shares({"a": 0.1, "b": 0.2, "c": 0.7})
SCHEDULE = Schedule((Phase(0, FIRST), Phase(2000, SECOND), Phase(5000, FIRST, 1500)))
GROW = Odds((8.0, 4.0, 2.0, 1.0), 12_000, 2, 5)
LENGTHS = (4, 8, 16, 32)
T = 192


def corpus_of(
    folder: Path, lengths: dict[str, list[int]], first: int = 0, step: int = 4000, vocab: int = 16_000
) -> Corpus:
    """Token t of domain number d is first + d step + t."""
    infos = []
    for d, (name, sizes) in enumerate(lengths.items()):
        with IndexedWriter(folder / name, np.uint16) as writer:
            for size, end in zip(sizes, np.cumsum(sizes).tolist(), strict=True):
                writer.add(first + d * step + np.arange(end - size, end))
        shard = Shard(name, writer.documents, writer.tokens, writer.tokens, writer.hash)
        infos.append(DomainInfo(name, name, SplitInfo((shard,)), SplitInfo(), SplitInfo()))
    Inventory(tuple(infos), TokenizerInfo("external", vocab, 0, "")).save(folder)
    return Corpus.open(folder)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    draw = np.random.default_rng(0).integers
    lengths = {"a": draw(1, 90, 60).tolist(), "b": draw(1, 16, 200).tolist(), "c": draw(30, 140, 30).tolist()}
    return corpus_of(tmp_path_factory.mktemp("corpus"), lengths)


def loader(
    corpus: Corpus,
    rank: int = 0,
    world_size: int = 1,
    *,
    schedule: Schedule = SCHEDULE,
    curriculum: Curriculum = GROW,
    seed: int = 0,
    batch_tokens: int = T,
    repetition: Repetition | None = None,
) -> DecompositionLoader:
    return DecompositionLoader(
        corpus,
        schedule,
        shortest=4,
        longest=32,
        batch_tokens=batch_tokens,
        seed=seed,
        curriculum=curriculum,
        repetition=repetition,
        rank=rank,
        world_size=world_size,
    )


def test_the_global_order_is_pinned(corpus: Corpus) -> None:
    stream = loader(corpus)
    assert digest([next(stream) for _ in range(40)]) == "7fd55ca321693dd2"


def test_rows_are_one_document_of_their_domain_at_constant_tokens(corpus: Corpus) -> None:
    stream, seen = loader(corpus), set()
    for _ in range(60):
        batch = next(stream)
        size = batch.tokens.shape[1] - 1
        assert batch.tokens.shape[0] * size == T
        assert np.array_equal(batch.tokens[:, 1:] // 4000, np.repeat(batch.domains[:, None], size, 1))
        assert np.array_equal(batch.documents[:, 1:], np.repeat(batch.documents[:, 1:2], size, 1))
        assert (np.diff(batch.tokens[:, 1:]) == 1).all()
        for row, domain in enumerate(batch.domains.tolist()):
            source = corpus.source("abc"[domain], "train")
            text = source.document(int(batch.documents[row, 1])).tolist()
            assert batch.tokens[row, 1] in text
            assert batch.tokens[row, -1] in text
        seen.add(size)
    assert seen == set(LENGTHS)


@pytest.mark.parametrize(("world_size", "batch_tokens"), [(1, T), (2, T), (3, T), (6, T), (8, 256)])
def test_world_sizes_give_one_global_order_and_resume_anywhere(
    corpus: Corpus, world_size: int, batch_tokens: int
) -> None:
    whole, states, batches = loader(corpus, batch_tokens=batch_tokens), [], []
    for _ in range(50):
        states.append(whole.state())
        batches.append(next(whole))
    ranks = [loader(corpus, rank, world_size, batch_tokens=batch_tokens) for rank in range(world_size)]
    for position, state in enumerate(states):
        saved = from_json(DecompositionState, json.loads(json.dumps(to_json(state))))
        assert saved == state
        for rank in ranks:
            rank.restore(saved)
            assert rank.state() == state
        for batch in batches[position : position + 2]:
            parts = [next(rank) for rank in ranks]
            assert np.array_equal(np.concatenate([p.tokens for p in parts]), batch.tokens)
            assert np.array_equal(np.concatenate([p.documents for p in parts]), batch.documents)


def test_skipping_reads_nothing_and_copies_stand_alone(corpus: Corpus) -> None:
    one, two = loader(corpus), loader(corpus)
    batches = [next(one) for _ in range(30)]
    two.skip(12)
    other = two.copy()
    assert digest([next(two) for _ in range(18)]) == digest(batches[12:])
    assert digest([next(other) for _ in range(18)]) == digest(batches[12:])


@pytest.mark.parametrize(
    "curriculum", [Natural(), GROW, grow_p2(4, 9000), Shares(((0, (4, 3, 2, 1)), (3000, (9, 4, 2, 2))))]
)
def test_domains_and_lengths_hold_together_through_phases_ramps_and_live_changes(
    corpus: Corpus, curriculum: Curriculum
) -> None:
    stream = loader(corpus, curriculum=curriculum)
    quota_D, worst = np.zeros(3), 0.0
    for n in range(120):
        if n == 50:
            stream.change(
                stream.tokens + 500, Mixture.from_shares({"a": 0.2, "b": 0.5, "c": 0.3}), "more of b", ramp=1000
            )
        quota_D += T * stream.schedule.at(stream.tokens).shares
        stream.skip()
        served_D = np.array([stream.realised[d] for d in "abc"])
        worst = max(worst, float(np.abs(served_D - quota_D).max()))
    assert sum(served_D) == stream.tokens == 120 * T
    assert worst <= 2.2 * T < ahead_bound(3, (2, 3, 4, 5), T)
    assert [e.cause for e in stream.events] == ["more of b"]


def test_stated_shares_of_lengths_are_kept_within_a_batch(corpus: Corpus) -> None:
    stream = loader(corpus, curriculum=Shares(((0, (4, 3, 2, 1)),)), schedule=Schedule.constant(FIRST))
    for n in range(1, 100):
        stream.skip()
        served_K = np.array(
            [[row[n].tokens if n in row else 0 for n in LENGTHS] for row in stream.lengths.values()]
        ).sum(0)
        assert np.abs(served_K - n * T * np.array([0.4, 0.3, 0.2, 0.1])).max() < T


def test_natural_repeats_all_lengths_of_a_domain_alike(corpus: Corpus) -> None:
    stream = loader(corpus, curriculum=GROW, schedule=Schedule.constant(FIRST))
    stream.skip(2 * 12_000 // T)
    for domain, lengths in stream.lengths.items():
        assert lengths.keys() <= set(LENGTHS)
        for served in lengths.values():
            held = served.tokens / served.epochs
            assert abs(served.epochs - stream.epochs[domain]) * held <= 2.2 * T
        assert sum(s.tokens for s in lengths.values()) == stream.realised[domain]


def test_live_changes_replay_from_their_log(corpus: Corpus) -> None:
    live, batches = loader(corpus), []
    for n in range(25):
        if n in (4, 9):
            live.change(live.tokens, Mixture.from_shares({"a": n / 10, "b": 0.5, "c": 0.0}), f"step {n}")
        batches.append(next(live))
        if n == 8:
            live.change(live.tokens + 3 * T, FIRST, "ahead of time", ramp=300)
            state = live.state()
    again = loader(corpus, schedule=live.schedule)
    assert digest([next(again) for _ in range(25)]) == digest(batches)
    resumed = loader(corpus, 0, 1)
    resumed.restore(state)
    resumed.change(resumed.tokens, Mixture.from_shares({"a": 0.9, "b": 0.5, "c": 0.0}), "step 9")
    assert digest([next(resumed) for _ in range(16)]) == digest(batches[9:])


def test_ends_too_short_for_a_row_are_told(corpus: Corpus) -> None:
    lengths = np.diff(corpus.source("b", "train").ends, prepend=0)
    assert loader(corpus).dropped["b"] == pytest.approx((lengths % 4).sum() / lengths.sum())


def test_a_state_is_small(tmp_path: Path) -> None:
    names = {f"domain{c}": np.random.default_rng(3).integers(1, 90, 20).tolist() for c in "abcdefgh"}
    eight = corpus_of(tmp_path, names)
    mixture = Mixture.from_array(tuple(names), np.arange(1, 9) / 36)
    stream = loader(eight, schedule=Schedule.constant(mixture))
    stream.skip(200)
    late = replace(stream.state(), batches=10**10, counts=" ".join(["1Z141Z4"] * 32))  # 10^9 rows of each
    assert len(json.dumps(to_json(late)).encode()) < 1024


CAPPED = Schedule.constant(Mixture.from_shares({"a": 0.2, "b": 0.4, "c": 0.4}))


def capped(corpus: Corpus, repetition: Repetition, curriculum: Curriculum = GROW) -> DecompositionLoader:
    return loader(corpus, schedule=CAPPED, curriculum=curriculum, repetition=repetition)


def test_a_cap_stops_before_the_batch_that_would_go_beyond_it(corpus: Corpus) -> None:
    stream = capped(corpus, Repetition({"b": 1.5}))
    with pytest.raises(DataError, match="domain 'b' would go beyond its cap"):
        stream.skip(1000)
    assert 1.5 - T / (stream.served["b"].tokens / stream.epochs["b"]) <= stream.epochs["b"] <= 1.5
    assert 0 < stream.served["b"].repeated < stream.served["b"].tokens
    state = stream.state()
    with pytest.raises(DataError, match="beyond its cap"):
        next(stream)
    assert stream.state() == state
    stream.change(stream.tokens, Mixture.from_shares({"a": 1, "b": 0, "c": 1}), "b has been used up")
    stream.skip(3)


def test_a_refused_batch_leaves_the_state_as_it_was(corpus: Corpus) -> None:
    switch, second = 11, Mixture.from_shares({"a": 0, "b": 0.4, "c": 0.6})  # b meets its cap in its first batch
    schedule = Schedule((Phase(0, Mixture.from_shares({"a": 0.6, "b": 0.4, "c": 0})), Phase(switch * T, second)))

    def start(repetition: Repetition | None) -> DecompositionLoader:
        return loader(corpus, schedule=schedule, curriculum=Natural(), repetition=repetition)

    free = start(None)
    free.skip(switch)
    stopped = start(Repetition({"b": free.epochs["b"] + 1e-4}))
    assert [next(stopped).tokens.size > 0 for _ in range(switch)]
    with pytest.raises(DataError, match="beyond its cap"):
        next(stopped)
    assert stopped.state().deficits == free.state().deficits
    for stream in (stopped, free):
        stream.change(stream.tokens, Mixture.from_shares({"a": 1, "b": 0, "c": 1}), "b has been used up")
    assert digest([next(stopped) for _ in range(6)]) == digest([next(free) for _ in range(6)])


def test_whether_a_change_is_taken_does_not_depend_on_what_was_dealt_ahead(tmp_path: Path) -> None:
    lengths = [12, 24, 28, 20] * 10
    corpus = corpus_of(tmp_path, {"a": lengths, "b": lengths})
    even = Schedule.constant(Mixture.from_shares({"a": 1, "b": 1}))

    def start() -> DecompositionLoader:
        repetition, curriculum = Repetition({"a": 1}, "redistribute"), Shares(((0, (0.3, 0.3, 0.4)),))
        return DecompositionLoader(
            corpus, even, shortest=4, longest=16, batch_tokens=64, seed=0, curriculum=curriculum, repetition=repetition
        )

    ahead, again = start(), start()
    for _ in range(18):
        next(ahead)
    again.restore(ahead.state())
    for one in (ahead, again):
        one.change(one.tokens + 20 * 64, Mixture.from_shares({"a": 1, "b": 0}), "a alone")
    assert ahead.state() == again.state()
    assert ahead.log == again.log
    assert digest([next(ahead) for _ in range(15)]) == digest([next(again) for _ in range(15)])


def test_a_domain_at_its_cap_leaves_the_others_in_proportion_or_is_repeated(corpus: Corpus) -> None:
    stream = capped(corpus, Repetition({"b": 1.0}, "redistribute"), Natural())
    stream.skip(100)
    assert [e.cause for e in stream.log][1:] == [e.cause for e in stream.history().log][1:]
    assert "b has reached its cap" in stream.log[1].cause
    assert stream.log[1].mixture.units[1] == 0
    at, before = stream.log[1].start, stream.served
    assert before["b"].epochs <= 1
    assert before["b"].repeated <= T  # of the length that is ahead of the others
    stream.skip(300)
    more = {d: stream.served[d].tokens - before[d].tokens for d in "abc"}
    assert more["b"] == 0
    assert abs(more["c"] - 2 * more["a"]) <= 6 * T
    again = capped(corpus, Repetition({"b": 1.0}, "repeat"), Natural())
    again.skip(400)
    assert "is repeated" in again.log[1].cause
    assert again.log[1].start == at
    assert again.epochs["b"] > 1
    with pytest.raises(DataError, match="every domain with a weight has reached its cap"):
        capped(corpus, Repetition(0.5, "redistribute")).skip(1000)
    with pytest.raises(UsageError, match="less than one row"):
        capped(corpus, Repetition(1e-6))


@pytest.mark.parametrize("world_size", [2, 3])
def test_caps_act_alike_at_any_world_size_and_after_any_resume(corpus: Corpus, world_size: int) -> None:
    repetition = Repetition({"b": 0.7, "a": 0.4}, "redistribute")
    whole, states, batches = capped(corpus, repetition), [], []
    for _ in range(60):
        states.append(whole.state())
        batches.append(next(whole))
    assert len(whole.state().exhausted) == 2
    for position, state in list(enumerate(states))[::2]:
        rank = loader(corpus, 1, world_size, schedule=CAPPED, repetition=repetition)
        rank.restore(state)
        share = len(batches[position].tokens) // world_size
        assert np.array_equal(next(rank).tokens, batches[position].tokens[share : 2 * share])
        rank.skip(60 - position - 1)
        assert rank.state() == whole.state()


def test_a_history_replays(corpus: Corpus) -> None:
    stream = loader(corpus)
    first = [next(stream) for _ in range(5)]
    stream.change(stream.tokens, SECOND, "more of c", ramp=600)
    first += [next(stream) for _ in range(20)]
    history = stream.history()
    assert [e.cause for e in history.log] == ["planned", "more of c", "planned"]
    assert sum(s.tokens for s in history.domains.values()) == history.tokens == 25 * T
    again = loader(corpus, schedule=history.schedule)
    assert digest([next(again) for _ in range(25)]) == digest(first)


def test_pieces_of_several_shards_are_read_alike(tmp_path: Path) -> None:
    sizes = np.random.default_rng(5).integers(1, 90, 120).tolist()
    one = corpus_of(tmp_path / "one", {"a": sizes})
    source = TokenSource(_shards(tmp_path, sizes), np.dtype(np.uint16))
    two = Corpus(one.path, one.inventory, {("a", "train"): source})
    schedule = Schedule.constant(Mixture.from_shares({"a": 1}))
    streams = [loader(corpus, schedule=schedule, curriculum=Natural()) for corpus in (one, two)]
    assert digest([next(streams[0]) for _ in range(80)]) == digest([next(streams[1]) for _ in range(80)])


def _shards(folder: Path, sizes: list[int]) -> list[IndexedDataset]:
    ends = np.cumsum(sizes).tolist()
    for n in range(2):
        with IndexedWriter(folder / f"part{n}", np.uint16) as writer:
            for size, end in list(zip(sizes, ends, strict=True))[60 * n : 60 * n + 60]:
                writer.add(np.arange(end - size, end))
    return [IndexedDataset(folder / f"part{n}") for n in range(2)]


def test_another_run_is_refused_with_the_difference(corpus: Corpus, tmp_path: Path) -> None:
    state = loader(corpus).state()
    other = corpus_of(tmp_path, {"a": [64] * 9, "b": [64] * 9, "c": [64] * 9})
    with pytest.raises(DataError, match=corpus.fingerprint):
        loader(other).restore(state)
    with pytest.raises(UsageError, match="another seed: 0"):
        loader(corpus, seed=1).restore(state)
    with pytest.raises(UsageError, match="another curriculum: Odds"):
        loader(corpus, curriculum=Natural()).restore(state)
    with pytest.raises(UsageError, match="another phases"):
        loader(corpus, schedule=Schedule.constant(FIRST)).restore(state)


def test_bad_calls_are_refused(corpus: Corpus, tmp_path: Path) -> None:
    def make(**changed: Any) -> DecompositionLoader:
        settings = {"shortest": 4, "longest": 32, "batch_tokens": T, "seed": 0, **changed}
        return DecompositionLoader(corpus, SCHEDULE, **settings)

    with pytest.raises(UsageError, match=r"a length of 24 tokens"):
        make(longest=24)
    with pytest.raises(UsageError, match="a length of 0 tokens"):
        make(shortest=0)
    with pytest.raises(UsageError, match="shortest <= longest"):
        make(shortest=64)
    with pytest.raises(UsageError, match=r"192 tokens for rows of 32 on 4 ranks[\s\S]*batch_tokens=256"):
        make(world_size=4)
    with pytest.raises(UsageError, match=r"0 tokens[\s\S]*batch_tokens=32"):
        make(batch_tokens=0)
    with pytest.raises(UsageError, match="rank 1 of world size 1"):
        make(rank=1)
    with pytest.raises(DataError, match="domain 'b' has no document of 64 tokens"):
        make(shortest=64, longest=64, batch_tokens=64)
    with pytest.raises(UsageError, match="got odds of 4 lengths"):
        make(shortest=8, curriculum=GROW)
    with pytest.raises(UsageError, match="lacks: d"):
        loader(corpus, schedule=Schedule.constant(Mixture.from_shares({"a": 1, "d": 1})))
    with pytest.raises(InfeasibleError, match="shares of lengths"):
        loader(corpus, curriculum=Shares(((0, (1, 1, 1, 1)), (9000, (0, 0, 0, 1)))))
    short = corpus_of(tmp_path, {"a": [3, 2, 1], "b": [64] * 9})
    with pytest.raises(DataError, match="domain 'a' has no document"):
        loader(short, schedule=Schedule.constant(Mixture.from_shares({"a": 1, "b": 1})))


def test_shares_of_lengths_are_checked_where_ramps_and_stages_meet(corpus: Corpus) -> None:
    """Only short documents from 3,000 to 9,000 tokens, long rows from 6,000: each end of the ramp back alone would do."""
    short, late = (
        Mixture.from_shares({"a": 0, "b": 1, "c": 0}),
        ((0, (1.0, 1.0, 0.0, 0.0)), (6000, (1.0, 1.0, 1.0, 1.0))),
    )
    fine = Schedule((Phase(0, FIRST), Phase(3000, short), Phase(5000, FIRST, 500)))
    loader(corpus, schedule=fine, curriculum=Shares(late))
    with pytest.raises(InfeasibleError, match="shares of lengths"):
        loader(
            corpus,
            schedule=Schedule((Phase(0, FIRST), Phase(3000, short), Phase(5500, FIRST, 5000))),
            curriculum=Shares(late),
        )


def test_both_loaders_offer_what_the_front_ends_ask(corpus: Corpus) -> None:
    streams: list[Loads[Any]] = [loader(corpus), Loader(corpus, SCHEDULE, seq_len=16, seed=0, batch=12)]
    for stream in streams:
        stream.skip(3)
        assert stream.tokens == 3 * stream.batch_tokens
        stream.change(stream.tokens, SECOND, "now")
        assert [e.cause for e in stream.events] == ["now"]
        again = stream.copy()
        again.restore(from_json(type(stream.state()), to_json(stream.state())))
        assert np.array_equal(next(again).tokens, next(stream).tokens)


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_of_varying_shape_pass_through_workers(corpus: Corpus, workers: int) -> None:
    """With a live change, a state after it, and another number of workers that goes on from there."""
    stream = loader(corpus)
    batches = TorchBatches(TorchDataset(stream.copy(), ("tokens", "documents")), workers=workers)
    found = list(islice(iter(batches), 5))
    batches.dataset.reweight(SECOND, "tried")
    (event,) = batches.dataset.state_after(5).events
    found += islice(iter(batches), 70)
    saved = json.loads(json.dumps(batches.state_dict()))
    again = TorchBatches(TorchDataset(stream.copy(), ("tokens", "documents")), workers=2 - workers)
    again.load_state_dict(saved)
    found += islice(iter(again), 5)
    stream.change(event.start, SECOND, "tried")
    for tokens, documents in found:
        wanted = next(stream)
        assert np.array_equal(tokens.numpy(), wanted.tokens)
        assert np.array_equal(documents.numpy(), wanted.documents)
    assert event.start < stream.tokens
    assert len({tokens.shape for tokens, _ in found}) > 2


def test_bad_changes_are_refused_and_leave_the_run_as_it_was(corpus: Corpus) -> None:
    stream = loader(corpus)
    stream.skip(3)
    before = stream.state()
    with pytest.raises(UsageError, match=rf"a change at 5 tokens[\s\S]*{3 * T}"):
        stream.change(5, FIRST, "late")
    with pytest.raises(UsageError, match="got a mixture of a, b"):
        stream.change(stream.tokens, Mixture.from_shares({"a": 1, "b": 1}), "other domains")
    stated = loader(corpus, curriculum=Shares(((0, (1, 1, 2, 2)),)), schedule=Schedule.constant(SECOND))
    with pytest.raises(InfeasibleError):
        stated.change(0, Mixture.from_shares({"a": 0, "b": 1, "c": 0}), "only short documents")
    assert stream.state() == before
    assert stated.schedule == Schedule.constant(SECOND)
