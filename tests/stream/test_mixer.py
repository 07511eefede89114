from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cuvee.base.codec import from_json, to_json
from cuvee.base.errors import DataError, UsageError
from cuvee.mixture.schedule import Phase, Schedule
from cuvee.mixture.weights import UNIT, Mixture, apportion
from cuvee.shards.indexed import Tokens
from cuvee.shards.pools import Pool, draw
from cuvee.stream.batch import Batch
from cuvee.stream.mixer import Mixer
from cuvee.stream.order import bound, live_bound
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
    assert [s.epochs for s in mixed.served.values()] == [counts[i] / count(d) for i, d in enumerate("abc")]


def test_every_sequence_comes_once_a_pass() -> None:
    mixed = mixer()
    firsts = [
        int(t) for batch in take(mixed, 60) for t, d in zip(batch.tokens[:, 0], batch.domains, strict=True) if d == 1
    ]
    count = (POOLS["b"].tokens - 1) // L
    # in-batch permutations move a pass's edges within a batch, so whole passes are compared by count
    times = np.bincount((np.array(firsts) - 2000) // L, minlength=count)
    assert times.max() - times.min() <= 1


RAMPS = (
    Schedule.constant(mixture(**SHARES)).then(300, mixture(a=0.1, b=0.0, c=0.9), ramp=130).then(650, mixture(**SHARES))
)
TWICE = Repetition({"b": 1.5, "c": 0.9}, "redistribute")


@pytest.mark.parametrize("order", ["exact", "random"])
@pytest.mark.parametrize("repetition", [None, TWICE])
def test_identical_continuation_from_every_position(order: OrderKind, repetition: Repetition | None) -> None:
    """Over ramps, live changes and domains that run out; however the batches before were passed."""
    whole = mixer(RAMPS, order=order, repetition=repetition)
    whole.change(500, mixture(a=0.2, b=0.7, c=0.1), "tried", ramp=60)
    states, batches = [whole.state()], []
    for _ in range(28):
        batches.append(next(whole))
        states.append(whole.state())
    if repetition is not None:
        assert [e.domain for e in states[-1].exhausted] == [1, 2]
    for position, state in enumerate(states[:-1]):
        again = mixer(RAMPS, order=order, repetition=repetition)
        again.restore(from_json(MixerState, json.loads(json.dumps(to_json(state)))))
        assert again.state() == state
        assert digest(take(again, 28 - position)) == digest(batches[position:])
        assert (again.state(), again.served) == (whole.state(), whole.served)
        leapt = mixer(RAMPS, order=order, repetition=repetition)
        leapt.restore(states[0])
        leapt.skip(position)
        assert leapt.state() == state
        other = leapt.copy()
        assert digest([next(leapt)]) == digest([batches[position]]) == digest([next(other)])


def test_a_ramp_is_the_schedule_of_its_weights_at_the_start_of_each_batch() -> None:
    hard = Schedule(tuple(Phase(n * B * L, RAMPS.at(n * B * L)) for n in range(20)))
    assert digest(take(mixer(RAMPS), 20)) == digest(take(mixer(hard), 20))


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
    with pytest.raises(UsageError, match="another seq_len: 8"):
        Mixer(POOLS, Schedule.constant(mixture(**SHARES)), seq_len=9, seed=0, batch=B).restore(state)


def test_short_domains_are_refused_if_they_have_a_weight_in_any_phase() -> None:
    pools = {**POOLS, "c": pool("c", L)}
    without = Schedule.constant(mixture(a=0.5, b=0.5, c=0.0))
    fine = Mixer(pools, without, seq_len=L, seed=0, batch=B)
    assert fine.served["c"].epochs == 0.0
    with pytest.raises(DataError, match="'c' has 8 tokens"):
        fine.change(0, mixture(**SHARES), "x")
    assert fine.schedule == without
    later = Schedule((without.phases[0], Phase(10_000, mixture(**SHARES))))
    with pytest.raises(DataError, match="'c' has 8 tokens"):
        Mixer(pools, later, seq_len=L, seed=0, batch=B)


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


def test_prefixes_stay_exact_over_ramps_and_changes() -> None:
    mixed, generator = mixer(RAMPS), np.random.default_rng(2)
    quota, served = np.zeros(3), np.zeros(3, np.int64)
    for n in range(120):
        if n > 20 and n % 3 == 0:
            mixed.change(
                mixed.tokens, Mixture.from_array("abc", generator.dirichlet(np.ones(3)) + 1e-6), "walk", ramp=70
            )
        quota += B * mixed.schedule.at(mixed.tokens).shares
        served += np.bincount(next(mixed).domains, minlength=3)
        if n > 20:  # c leaves and comes back before; what it was owed is settled with the others
            assert np.abs(quota - served).max() <= live_bound(3) + bound(3)


def test_a_change_may_be_made_ahead_and_not_in_the_past() -> None:
    ahead, then = mixer(), mixer()
    ahead.change(5 * B * L - 1, mixture(a=0, b=0, c=1), "later")
    found = take(ahead, 8)
    take(then, 5)
    then.change(then.tokens, mixture(a=0, b=0, c=1), "now")
    assert digest(found[5:]) == digest(take(then, 3))
    before = ahead.state()
    with pytest.raises(UsageError, match=r"have been served\n.*at least 384 tokens"):
        ahead.change(383, mixture(**SHARES), "too late")
    with pytest.raises(UsageError, match="ramps of"):
        mixer().change(0, mixture(**SHARES), "a ramp from nothing", ramp=4)
    assert ahead.state() == before


def test_the_last_of_two_changes_at_one_position_holds() -> None:
    two, one = mixer(), mixer()
    two.change(96, mixture(a=1, b=0, c=0), "first")
    for mixed in (two, one):
        mixed.change(96, mixture(a=0, b=1, c=0), "second")
    assert digest(take(two, 5)) == digest(take(one, 5))
    assert [e.cause for e in two.log] == ["planned", "second"]


def count(domain: str) -> int:
    return (POOLS[domain].tokens - 1) // L


def test_a_domain_that_runs_out_leaves_its_share_to_the_others_in_proportion() -> None:
    mixed = mixer(repetition=Repetition({"b": 2}, "redistribute"))
    take(mixed, 60)
    assert mixed.served["b"].tokens == 2 * count("b") * L, "all of the passes allowed, and not a sequence more"
    assert mixed.served["b"].repeated == count("b") * L
    (_, gone) = mixed.log
    assert gone.cause == f"b has reached its cap of {2 * count('b')} sequences and leaves"
    assert gone.mixture.as_dict() == pytest.approx({"a": 5 / 7, "b": 0, "c": 2 / 7})
    assert 0 < gone.start < mixed.tokens
    before = gone.start // L
    after = {d: mixed.served[d].tokens / L - SHARES[d] * before for d in "ac"}
    assert after == pytest.approx({d: (60 * B - before) * gone.mixture.share(d) for d in "ac"}, abs=2)


def test_it_runs_out_at_the_same_slot_for_any_rows_and_batch_by_batch() -> None:
    repetition = Repetition(0.9, "redistribute")
    whole = mixer(repetition=repetition)
    parts = [mixer(repetition=repetition, rows=slice(r, r + 1)) for r in range(B)]
    for _ in range(12):
        rows = np.concatenate([next(p).tokens for p in parts])
        assert np.array_equal(rows, next(whole).tokens)
    assert len({p.log for p in parts} | {whole.log}) == 1
    with pytest.raises(DataError, match="every domain with a weight has reached its cap: a, b, c"):
        take(whole, 20)
    assert sum(whole.realised.values()) == whole.tokens


def test_the_policy_error_stops_before_the_batch_and_a_change_goes_on() -> None:
    mixed, free = mixer(repetition=Repetition({"b": 1}, "error")), mixer()
    with pytest.raises(DataError, match=f"'b' would go beyond its cap of {count('b')} sequences"):
        take(mixed, 60)
    assert mixed.realised["b"] <= count("b") * L
    assert [e.cause for e in mixed.log] == ["planned"]
    state = mixed.state()
    free.skip(mixed.batches)
    assert free.realised == mixed.realised
    for run in (mixed, free):
        run.change(run.tokens, mixture(a=0.5, b=0, c=0.5), "b is all used")
    assert digest(take(mixed, 4)) == digest(take(free, 4))
    again = mixer(repetition=Repetition({"b": 1}, "error"))
    again.restore(state)
    with pytest.raises(DataError, match="would go beyond"):
        next(again)


@pytest.mark.parametrize("then", ["redistribute", "repeat", "error"])
def test_a_state_does_not_depend_on_how_far_slots_were_assigned_ahead(then: str) -> None:
    # c runs out in the first batch of a phase in which a leaves and d joins: what a is owed goes over to d
    names, switch = ("a", "b", "c", "d"), 5
    first, second = (Mixture.from_array(names, np.array(w)) for w in ([0.47, 0.4, 0.13, 0], [0, 0.3, 0.21, 0.49]))
    schedule = Schedule.constant(first).then(switch * B * L, second)
    pools = {name: pool(name, 4000) for name in names}
    cap = Repetition({"c": (4.5 if then == "error" else 5.5) / ((4000 - 1) // L)}, then)  # type: ignore[arg-type]

    def start() -> Mixer:
        return Mixer(pools, schedule, seq_len=L, seed=0, batch=B, repetition=cap)

    ahead, singly = start(), start()
    for _ in range(switch):
        next(ahead)
        next(singly)
        moved = start()
        moved.restore(singly.state())
        singly = moved
    assert ahead.realised["c"] == 4 * L
    saved = ahead.state()
    assert saved == singly.state()
    if then == "error":
        with pytest.raises(DataError, match="would go beyond"):
            next(ahead)
        assert ahead.state() == saved
        for run in (ahead, singly):
            run.change(run.tokens, Mixture.from_array(names, np.array([0, 0.5, 0, 0.5])), "c is all used")
    assert digest(take(ahead, 10)) == digest(take(singly, 10))


def test_a_batch_that_could_not_be_read_has_taken_no_domain_out(monkeypatch: pytest.MonkeyPatch) -> None:
    repetition = Repetition({"b": 1}, "redistribute")
    free = mixer(repetition=repetition)
    while len(free.log) == 1:
        before = free.state()
        next(free)
    stalled, again = mixer(repetition=repetition), mixer(repetition=repetition)
    stalled.restore(before)
    monkeypatch.setattr(stalled, "_locate", lambda ahead: (_ for _ in ()).throw(OSError("stalled")))
    with pytest.raises(OSError, match="stalled"):
        next(stalled)
    monkeypatch.undo()
    assert stalled.state() == before
    assert [e.cause for e in stalled.log] == ["planned"]
    again.restore(before)
    for run in (stalled, again):
        run.change(run.tokens, mixture(a=0.1, b=0.8, c=0.1), "more of b")
    assert digest(take(stalled, 4)) == digest(take(again, 4))
    assert stalled.log == again.log


def test_the_policy_repeat_changes_nothing_but_says_so() -> None:
    mixed, free = mixer(repetition=Repetition({"b": 1.25}, "repeat")), mixer()
    assert digest(take(mixed, 50)) == digest(take(free, 50))
    (_, gone) = mixed.log
    assert gone.cause == f"b has reached its cap of {int(1.25 * count('b'))} sequences and is repeated"
    assert gone.mixture == mixture(**SHARES)


def test_a_history_can_be_had_when_nothing_is_left_of_a_phase() -> None:
    only = Schedule.constant(mixture(a=1, b=1, c=0)).then(1000 * B * L, mixture(a=0, b=1, c=0))
    early = mixer(only, repetition=Repetition({"b": 1}, "redistribute"))
    early.skip(40)
    assert [e.mixture.shares.tolist() for e in early.history().log] == [[0.5, 0.5, 0], [1, 0, 0]]
    assert early.log[-1].mixture == mixture(a=0, b=1, c=0)  # of which nothing will be there
    last = mixer(Schedule.constant(mixture(a=0, b=1, c=0)), repetition=Repetition({"b": 1}, "redistribute"))
    last.skip(count("b") // B)
    assert last.history().domains["b"].epochs == 1


@pytest.mark.parametrize(
    ("epochs", "items", "cap"), [(2.3, 100, 230), (1.15, 100, 115), (8.2, 100, 820), (1 / 3, 9, 3)]
)
def test_caps_are_as_they_were_written(epochs: float, items: int, cap: int) -> None:
    assert Repetition(epochs).cap("a", items) == cap


def test_a_phase_with_other_domains_may_follow_when_all_of_one_have_run_out() -> None:
    only = Schedule.constant(mixture(a=0, b=1, c=0)).then(2 * B * L, mixture(a=1, b=0, c=0))
    mixed = mixer(only, repetition=Repetition({"b": 1}, "redistribute"))
    take(mixed, 20)
    assert mixed.realised["b"] == count("b") * L == 2 * B * L


def test_caps_that_make_no_sense_are_refused() -> None:
    with pytest.raises(UsageError, match="'d'"):
        mixer(repetition=Repetition({"d": 1}, "error"))
    with pytest.raises(UsageError, match=f"less than one of its {count('b')} sequences"):
        mixer(repetition=Repetition({"b": 0.01}, "error"))
    with pytest.raises(UsageError, match="positive numbers"):
        Repetition(0)
    with pytest.raises(UsageError, match="got the order 'best'"):
        mixer(order="best")  # type: ignore[arg-type]


def test_a_history_says_what_was_served_and_serves_it_again() -> None:
    repetition = Repetition({"b": 1.5}, "redistribute")
    mixed = mixer(RAMPS, repetition=repetition)
    mixed.skip(8)
    mixed.change(mixed.tokens + 100, mixture(a=0.2, b=0.7, c=0.1), "b learns fastest", ramp=90)
    mixed.change(10**9, mixture(**SHARES), "never comes")
    mixed.skip(14)
    history = mixed.history()
    assert [e.cause for e in history.log if "reached" not in e.cause] == [
        "planned",
        "planned",
        "b learns fastest",
        "planned",
    ]
    assert sum("reached" in e.cause for e in history.log) == 1
    assert [p.start for p in history.schedule.phases] == [0, 300, 484, 650]
    assert history.tokens == 22 * B * L == sum(s.tokens for s in history.domains.values())
    again = mixer(history.schedule, repetition=repetition)
    whole = mixer(RAMPS, repetition=repetition)
    whole.restore(replace(mixer(RAMPS, repetition=repetition).state(), events=mixed.state().events))
    assert digest(take(again, 22)) == digest(take(whole, 22))
    assert again.served == mixed.served


def test_documents_are_read_only_when_they_are_asked_for() -> None:
    class Unindexed(Pool):
        @property
        def ends(self) -> NDArray[np.int64]:
            raise AssertionError("read")

        @ends.setter
        def ends(self, value: object) -> None: ...

    pools = {d: object.__new__(Unindexed) for d in POOLS}
    for d, bare in pools.items():
        object.__setattr__(bare, "data", POOLS[d].data)
    mixed = Mixer(pools, Schedule.constant(mixture(**SHARES)), seq_len=L, seed=0, batch=B)
    batch = next(mixed)
    assert np.array_equal(batch.tokens, next(mixer()).tokens)
    with pytest.raises(AssertionError, match="read"):
        _ = batch.documents


def test_position_ids_and_boundaries_follow_the_documents() -> None:
    batch = next(mixer())
    cu = batch.cu_seqlens.tolist()
    documents, positions = batch.documents[:, :-1].ravel(), batch.positions[:, :-1].ravel()
    assert (cu[0], cu[-1]) == (0, B * L)
    for start, stop in pairwise(cu):
        assert len(set(documents[start:stop].tolist())) == 1
        assert positions[start:stop].tolist() == list(range(stop - start))
        assert start // L == (stop - 1) // L
    assert np.array_equal(batch.labels, batch.tokens[:, 1:])


class Endless:
    """A source of any size: token t is t modulo 2^16, nothing in memory."""

    documents = 1

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens

    @property
    def ends(self) -> NDArray[np.int64]:
        raise AssertionError("read")

    def document(self, i: int) -> Tokens:
        raise AssertionError("read")

    def flat(self, start: int, stop: int) -> Tokens:
        assert 0 <= start < stop <= self.tokens
        return (np.arange(start, stop) % (1 << 16)).astype(np.uint16)


def test_ten_trillion_tokens_of_a_thousand_domains() -> None:
    names = [f"d{i}" for i in range(1000)]
    mixtures = [
        Mixture.from_array(names, np.random.default_rng(k).dirichlet(np.full(1000, 0.5)) + 1e-7) for k in (0, 1)
    ]
    sources = {d: Endless(int(s * 4e12) + 10**6) for d, s in mixtures[0].as_dict().items()}
    schedule = Schedule.constant(mixtures[0]).then(5 * 10**12, mixtures[1], ramp=10**12)

    def fresh() -> Mixer:
        return Mixer(sources, schedule, seq_len=2048, seed=1, batch=2048, repetition=Repetition(1e6, "error"))

    mixed = fresh()
    mixed.skip(2)
    begun = mixed.state()
    counts = apportion(mixtures[0].shares, 2048 * 10**6)
    deficits = tuple(u * 2048 * 10**6 - UNIT * c for u, c in zip(mixtures[0].units, counts, strict=True))
    assert sum(deficits) == 0
    far = replace(begun, batches=10**6, counts=tuple(counts), deficits=deficits)
    mixed.restore(far)
    assert 4e12 < mixed.tokens < 5e12
    mixed.skip(3)
    state = mixed.state()
    again = fresh()
    again.restore(state)
    assert np.array_equal(next(mixed).tokens[::400], next(again).tokens[::400])
    end = fresh()
    end.restore(replace(far, batches=10**13 // (2048 * 2048), deficits=(0,) * 1000))
    end.skip(2)
    assert len(json.dumps(to_json(end.state()))) < 2 * len(json.dumps(to_json(begun)))
