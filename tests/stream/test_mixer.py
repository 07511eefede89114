from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from cuvee.base.codec import from_json, to_json
from cuvee.base.errors import DataError, UsageError
from cuvee.mixture.schedule import Phase, Schedule
from cuvee.mixture.weights import Mixture
from cuvee.shards.pools import Pool, draw
from cuvee.stream.batch import Batch
from cuvee.stream.mixer import Mixer
from cuvee.stream.order import bound
from cuvee.stream.packing import Concat
from cuvee.stream.repetition import Repetition
from cuvee.stream.state import MixerState, OrderKind
from cuvee.testing.corpora import synthetic

SHARES = {"a": 0.5, "b": 0.3, "c": 0.2}
L, B = 8, 6


def pool(name: str, tokens: int) -> Pool:
    """Token t of domain a is 1000 + t, of b 2000 + t, ...; documents of 5 tokens."""
    data = np.arange(tokens) + 1000 * (ord(name) - ord("a") + 1)
    return Pool(data, np.array([*range(5, tokens, 5), tokens], np.int64))


POOLS = {"a": pool("a", 500), "b": pool("b", 100), "c": pool("c", 321)}


def mixture(**shares: float) -> Mixture:
    return Mixture.from_shares(shares)


def mixer(
    schedule: Schedule | None = None,
    *,
    seed: int = 0,
    block: int = 0,
    rows: slice | None = None,
    repetition: Repetition | None = None,
    order: OrderKind = "exact",
) -> Mixer:
    schedule = schedule or Schedule.constant(mixture(**SHARES))
    return Mixer(
        POOLS, schedule, seq_len=L, seed=seed, batch=B, block=block, rows=rows, repetition=repetition, order=order
    )


def digest(batches: list[Batch]) -> str:
    hashed = hashlib.blake2b(digest_size=8)
    for batch in batches:
        for array in (batch.tokens, batch.domains, batch.documents):
            hashed.update(np.ascontiguousarray(array, "<i8").tobytes())
    return hashed.hexdigest()


def take(source: Mixer, n: int) -> list[Batch]:
    return [next(source) for _ in range(n)]


def test_the_global_order_is_pinned() -> None:
    assert digest(take(mixer(), 40)) == "2ec61cd53418fc25"


def test_batches_hold_what_they_say() -> None:
    for batch in take(mixer(), 20):
        assert (batch.tokens.dtype, batch.tokens.shape) == (np.dtype("int64"), (B, L + 1))
        assert (batch.documents.dtype, batch.documents.shape) == (np.dtype("int32"), (B, L + 1))
        assert np.array_equal(batch.tokens // 1000 - 1, np.repeat(batch.domains[:, None], L + 1, 1))
        assert np.array_equal(batch.tokens[:, 1:] - batch.tokens[:, :-1], np.ones((B, L)))
        assert np.array_equal(batch.documents, batch.tokens % 1000 // 5)


def test_realised_counts_are_exact_and_epochs_are_counted() -> None:
    mixed, counts = mixer(), np.zeros(3, np.int64)
    for n in range(1, 101):
        counts += np.bincount(next(mixed).domains, minlength=3)
        assert mixed.realised == dict(zip("abc", (counts * L).tolist(), strict=True))
        assert np.abs(counts - n * B * mixture(**SHARES).shares).max() <= bound(3)
    assert mixed.tokens == 100 * B * L == sum(mixed.realised.values())
    assert mixed.epochs == {d: counts[i] / ((POOLS[d].tokens - 1) // L) for i, d in enumerate("abc")}


def test_every_sequence_comes_once_a_pass() -> None:
    mixed = mixer()
    firsts = [
        int(t) for batch in take(mixed, 60) for t, d in zip(batch.tokens[:, 0], batch.domains, strict=True) if d == 1
    ]
    count = (POOLS["b"].tokens - 1) // L
    # in-batch permutations move a pass's edges within a batch, so whole passes are compared by count
    times = np.bincount((np.array(firsts) - 2000) // L, minlength=count)
    assert times.max() - times.min() <= 1


def test_identical_continuation_from_every_position() -> None:
    schedule = Schedule(
        (Phase(0, mixture(**SHARES)), Phase(300, mixture(a=0.1, b=0.0, c=0.9)), Phase(600, mixture(**SHARES)))
    )
    whole, states = mixer(schedule), []
    batches = []
    for _ in range(25):
        states.append(whole.state())
        batches.append(next(whole))
    for position, state in enumerate(states):
        again = mixer(schedule)
        again.restore(from_json(MixerState, json.loads(json.dumps(to_json(state)))))
        assert again.state() == state
        assert digest(take(again, 25 - position)) == digest(batches[position:])
        assert (again.realised, again.epochs) == (whole.realised, whole.epochs)


def test_a_phase_takes_over_at_the_first_batch_that_begins_at_or_after_its_start() -> None:
    size = B * L
    for start, first in ((2 * size, 2), (2 * size + 1, 3), (3 * size, 3)):
        schedule = Schedule((Phase(0, mixture(a=1.0, b=0.0, c=0.0)), Phase(start, mixture(a=0.0, b=1.0, c=0.0))))
        found = [set(b.domains.tolist()) for b in take(mixer(schedule), 5)]
        assert found == [{0}] * first + [{1}] * (5 - first)


def test_live_changes_are_logged_and_replay_from_the_log() -> None:
    live, batches = mixer(), []
    for n in range(12):
        if n in (0, 4, 9):
            live.change(live.tokens, mixture(a=1.0, b=1.0, c=1.0), "x")
            live.change(live.tokens, mixture(a=0.1 * n, b=0.5, c=0.1), "y")
        batches.append(next(live))
        if n == 6:
            state = live.state()
    assert [p.start for p in live.schedule.phases] == [0, 4 * B * L, 9 * B * L]
    assert digest(take(mixer(live.schedule), 12)) == digest(batches)
    again = mixer()
    again.restore(state)
    assert digest(take(again, 2)) == digest(batches[7:9])
    again.change(again.tokens, mixture(a=0.9, b=0.5, c=0.1), "y")
    assert digest(take(again, 3)) == digest(batches[9:])


def test_a_change_between_save_and_next_batch_is_kept() -> None:
    live = mixer()
    take(live, 3)
    live.change(live.tokens, mixture(a=0.0, b=0.0, c=1.0), "x")
    again = mixer()
    again.restore(live.state())
    assert digest(take(again, 4)) == digest(take(live, 4))
    assert again.state() == live.state()


def test_mixtures_of_one_block_read_the_same_items_in_the_same_order() -> None:
    def items(shares: dict[str, float], block: int = 0) -> list[int]:
        mixed = mixer(Schedule.constant(mixture(**shares)), block=block)
        found: list[int] = []
        while len(found) < 40:
            place = {d: mixed.realised[d] // L for d in "abc"}
            batch = next(mixed)
            rows = sorted(batch.tokens[batch.domains == 2, 0].tolist())
            starts = Concat().items("c", POOLS["c"], L, 0, block).places(place["c"] + np.arange(len(rows))).tolist()
            assert rows == sorted(start + 3000 for start in starts)
            found += starts
        return found[:40]

    assert items(SHARES) == items({"a": 0.05, "b": 0.05, "c": 0.9})
    assert items(SHARES) != items(SHARES, block=1)


def test_seeds_and_blocks_differ() -> None:
    found = {digest(take(mixer(seed=seed, block=block), 5)) for seed in range(2) for block in range(2)}
    assert len(found) == 4


def test_rows_are_slices_of_the_global_batch_and_skipping_reads_nothing() -> None:
    whole, part, skipped = mixer(), mixer(rows=slice(2, 5)), mixer()
    skipped.skip(3)
    for n in range(6):
        batch, rows = next(whole), next(part)
        assert np.array_equal(batch.tokens[2:5], rows.tokens)
        assert np.array_equal(batch.domains[2:5], rows.domains)
        if n >= 3:
            assert np.array_equal(next(skipped).tokens, batch.tokens)


def test_the_period_of_the_order_does_not_reach_the_rows() -> None:
    """With two equal domains slots alternate; without the in-batch permutation each row would always be of one domain."""
    mixed = mixer(Schedule.constant(mixture(a=0.5, b=0.5, c=0.0)))
    domains = np.stack([b.domains for b in take(mixed, 400)])
    assert np.abs(domains.mean(0) - 0.5).max() < 0.12


def test_states_of_another_run_are_refused_with_the_difference() -> None:
    state = mixer().state()
    with pytest.raises(UsageError, match=r"another seed: 0\n.*seed 1"):
        mixer(seed=1).restore(state)
    with pytest.raises(UsageError, match="another block"):
        mixer(block=1).restore(state)
    with pytest.raises(UsageError, match=r"another phases"):
        mixer(Schedule.constant(mixture(a=0.5, b=0.2, c=0.3))).restore(state)
    with pytest.raises(UsageError, match="another seq_len: 8"):
        Mixer(POOLS, Schedule.constant(mixture(**SHARES)), seq_len=9, seed=0, batch=B).restore(state)


def test_short_domains_are_refused_if_they_have_a_weight_in_any_phase() -> None:
    pools = {**POOLS, "c": pool("c", L)}
    without = Schedule.constant(mixture(a=0.5, b=0.5, c=0.0))
    fine = Mixer(pools, without, seq_len=L, seed=0, batch=B)
    assert fine.epochs["c"] == 0.0
    with pytest.raises(DataError, match="'c' has 8 tokens"):
        fine.change(0, mixture(**SHARES), "x")
    assert fine.schedule == without
    later = Schedule((without.phases[0], Phase(10_000, mixture(**SHARES))))
    with pytest.raises(DataError, match="'c' has 8 tokens"):
        Mixer(pools, later, seq_len=L, seed=0, batch=B)


def test_an_empty_domain_is_refused() -> None:
    pools = {**POOLS, "a": Pool(np.empty(0, np.int64), np.empty(0, np.int64))}
    with pytest.raises(DataError, match="'a' has 0 tokens"):
        Mixer(pools, Schedule.constant(mixture(**SHARES)), seq_len=L, seed=0, batch=B)


def test_bad_calls_are_refused() -> None:
    schedule = Schedule.constant(mixture(**SHARES))
    with pytest.raises(UsageError, match="lacks: c"):
        Mixer({"a": POOLS["a"], "b": POOLS["b"]}, schedule, seq_len=L, seed=0, batch=B)
    with pytest.raises(UsageError, match="seq_len 0"):
        Mixer(POOLS, schedule, seq_len=0, seed=0, batch=B)
    with pytest.raises(UsageError, match="got a mixture of a, b"):
        mixer().change(0, mixture(a=0.5, b=0.5), "x")


def test_pools_of_a_corpus_stream_like_the_corpus_does(tmp_path: Path) -> None:
    corpus = synthetic(tmp_path, documents=40)
    sources = {d: corpus.source(d, "train") for d in corpus.domains}
    pools = {d: draw(s, s.tokens, 1) for d, s in sources.items()}
    schedule = Schedule.constant(mixture(**SHARES))
    for data in (sources, pools):
        mixed = Mixer(data, schedule, seq_len=32, seed=0, batch=4)
        for batch in take(mixed, 10):
            for row, domain in enumerate(batch.domains.tolist()):
                source = data["abc"[domain]]
                first = int(batch.documents[row, 0])
                inside = batch.tokens[row][batch.documents[row] == first]
                text = source.document(first).tolist()
                assert any(text[k : k + inside.size] == inside.tolist() for k in range(len(text)))
