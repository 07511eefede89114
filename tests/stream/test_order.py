from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cuvee.mixture.weights import UNIT, apportion
from cuvee.stream.order import Order, RandomOrder, advanced, bound, live_bound

Units = tuple[int, ...]


def units(weights: np.ndarray[tuple[int], np.dtype[np.float64]] | list[float]) -> Units:
    return tuple(apportion(np.asarray(weights, np.float64), UNIT))


def letters(order: Order, n: int) -> str:
    return "".join("abcdefgh"[i] for i in order.assign(n))


def worst_deficit(weights: Units, slots: list[int]) -> int:
    """The largest deficit of either sign after any slot, in units, counted without the order's own books."""
    served, worst = [0] * len(weights), 0
    u_D = np.array(weights, dtype=np.int64)
    served_D = np.zeros(len(served), np.int64)
    for n, i in enumerate(slots, 1):
        served_D[i] += 1
        worst = max(worst, int(np.abs(u_D * n - UNIT * served_D).max()))
    return worst


def within_bound(weights: Units, n: int) -> bool:
    scale = 2 * sum(u > 0 for u in weights) - 2
    worst = worst_deficit(weights, Order(weights).assign(n).tolist())
    return worst * scale <= UNIT * (scale - 1) if scale else worst == 0


def tiny(domains: int) -> Units:
    return (*([1] * (domains - 1)), UNIT - domains + 1)


ADVERSARIAL = {
    "one domain": (UNIT,),
    "two equal": units([1, 1]),
    "equal": units([1] * 7),
    "nearly equal": units([1, 1 + 1e-9, 1 - 1e-9, 1, 1]),
    "geometric": units([2.0**-k for k in range(12)]),
    "one dominates": units([0.999, 0.0005, 0.0005]),
    "the smallest weights there are": tiny(9),
    "zeros between": (0, UNIT // 2, 0, UNIT // 4, UNIT // 4, 0),
    "harmonic": units([1 / k for k in range(1, 40)]),
    "largest deficit fails here": units([0.5, 0.25, 0.125, 0.125]),
}


def test_vectors_are_pinned_because_the_order_is_a_stored_format() -> None:
    order = Order(units([0.4, 0.3, 0.2, 0.1]))
    assert letters(order, 40) == "abacbadabcabacbadabcabacbadabcabacbadabc"
    order.change(units([0.1, 0.1, 0.1, 0.7]))
    assert letters(order, 20) == "ddadddbcddddadddbcdd"
    assert order.deficits == (-8, 16, -20, 12)
    eight = Order(units([0.4, 0.2, 0.1, 0.1, 0.08, 0.06, 0.04, 0.02]))
    assert letters(eight, 50) == "abacdabaefabacdabageabacdabafeabacdabahfabagcabade"


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_every_prefix_is_within_the_bound(name: str) -> None:
    assert within_bound(ADVERSARIAL[name], 2000)


@settings(max_examples=40)
@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=12).filter(any))
def test_every_prefix_is_within_the_bound_for_any_weights(weights: list[int]) -> None:
    assert within_bound(units([float(w) for w in weights]), 400)


@pytest.mark.parametrize("alpha", [0.03, 1.0, 100.0])
def test_a_thousand_domains(alpha: float) -> None:
    generator = np.random.default_rng(3)
    assert within_bound(units(np.maximum(generator.dirichlet(np.full(1000, alpha)), 1e-9)), 3000)


def test_domains_without_weight_are_never_served() -> None:
    slots = Order(ADVERSARIAL["zeros between"]).assign(400)
    assert set(slots.tolist()) == {1, 3, 4}


def test_a_plain_reading_of_the_rule_gives_the_same_slots() -> None:
    """Tijdeman's rule slot by slot in fractions, as the module's first paragraphs say it."""
    generator = np.random.default_rng(1)
    for _ in range(8):
        weights = units(generator.dirichlet(np.full(5, 0.5)) + 1e-6)
        share, served = [Fraction(u, UNIT) for u in weights], [0] * 5
        wanted = []
        for n in range(1, 200):
            deficit = [s * n - c for s, c in zip(share, served, strict=True)]
            able = [i for i in range(5) if deficit[i] >= Fraction(1, 8)]
            due = {i: n + (Fraction(7, 8) - deficit[i]) // share[i] + 1 for i in able}
            wanted.append(min(able, key=lambda i: (due[i], i)))
            served[wanted[-1]] += 1
        assert Order(weights).assign(199).tolist() == wanted


@settings(max_examples=40)
@given(st.lists(st.integers(0, 50), min_size=2, max_size=6).filter(any), st.integers(0, 60), st.integers(1, 60))
def test_deficits_are_all_there_is_to_carry(weights: list[int], before: int, after: int) -> None:
    shares = units([float(w) for w in weights])
    order = Order(shares)
    order.assign(before)
    again = Order(shares, order.deficits)
    assert again.assign(after).tolist() == order.assign(after).tolist()
    assert again.deficits == order.deficits
    assert sum(order.deficits) == 0


CHANGES = st.lists(st.tuples(st.lists(st.integers(1, 1000), min_size=5, max_size=5), st.integers(0, 9)), max_size=30)


@settings(max_examples=40)
@given(CHANGES)
def test_live_changes_keep_the_live_bound_of_carried_quotas(changes: list[tuple[list[int], int]]) -> None:
    order, quota, served = Order(units([1] * 5)), np.zeros(5, np.int64), np.zeros(5, np.int64)
    for weights, slots in changes:
        order.change(units([float(w) for w in weights]))
        for _ in range(slots):
            served[order.assign(1)[0]] += 1
            quota += np.array(order.units)
            deficit = (quota - UNIT * served) / UNIT
            assert order.deficits == tuple((quota - UNIT * served).tolist())
            assert -bound(5) - 1e-9 <= deficit.min() <= deficit.max() <= live_bound(5) + 1e-9


@pytest.mark.parametrize("domains", [2, 3, 4, 5, 8, 13])
def test_an_adversary_who_starves_ever_fewer_domains_stays_under_the_live_bound(domains: int) -> None:
    generator, worst = np.random.default_rng(domains), 0.0
    for _ in range(40):
        order = Order(units(generator.dirichlet(np.full(domains, generator.choice([0.3, 1, 50]))) + 1e-9))
        order.assign(int(generator.integers(0, 40)))
        starved = np.argsort(order.deficits)[::-1][: generator.integers(2, domains + 1)].tolist()
        while len(starved) > 1:
            weights = np.full(domains, 1e-7)
            weights[starved] = 1
            order.change(units(weights))
            served = int(order.assign(1)[0])
            starved.remove(served if served in starved else starved[-1])
            worst = max(worst, max(order.deficits) / UNIT)
            assert min(order.deficits) >= -bound(domains) * UNIT - 1
    assert worst <= live_bound(domains)


def test_live_changes_may_exceed_what_largest_deficit_keeps() -> None:
    """Largest deficit first keeps H_3 - 1 = 0.833 under live changes; that is the price of the bound without changes."""
    order = Order(units([4, 1, 15]))
    order.assign(11)
    order.change(units([14, 6, 1e-6]))
    order.assign(1)
    assert 0.849 < max(order.deficits) / UNIT < live_bound(3) == 0.875


def test_bounds() -> None:
    assert [bound(d) for d in (1, 2, 3, 11)] == [0.0, 0.5, 0.75, 0.95]
    assert live_bound(1) == 0.0
    assert live_bound(2) == 0.5
    harmonic = np.cumsum(1 / np.arange(1, 1001))
    for domains in (*range(2, 40), 999, 1000):
        assert live_bound(domains) <= harmonic[(domains + 1) // 2 - 1] - 1 / (2 * domains - 2) + 1e-9


def test_a_domain_that_leaves_settles_what_it_was_owed() -> None:
    order = Order(units([1, 1, 1, 1]))
    order.assign(2)
    order.change((0, 0, UNIT // 4, 3 * UNIT // 4))
    assert order.deficits[:2] == (0, 0)
    assert sum(order.deficits) == 0
    slots = order.assign(100).tolist()
    assert set(slots) == {2, 3}
    assert abs(slots.count(3) - 75) <= 2
    order.change(units([1, 1, 1, 1]))
    assert set(order.assign(8).tolist()) == {0, 1, 2, 3}


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.lists(st.integers(0, 9), min_size=4, max_size=4).filter(any), st.integers(0, 7)), max_size=20)
)
def test_domains_may_come_and_go(changes: list[tuple[list[int], int]]) -> None:
    order = Order(units([1] * 4))
    for weights, slots in changes:
        order.change(units([float(w) for w in weights]))
        assert all(weights[i] for i in order.assign(slots).tolist())
        assert sum(order.deficits) == 0
        assert max(map(abs, order.deficits)) <= 4 * UNIT


def test_long_runs_stay_exact() -> None:
    order = Order((UNIT // 2 + 1, UNIT // 2 - 1), (UNIT // 3, -(UNIT // 3)))
    counts = np.bincount(order.assign(40_000), minlength=2)
    quota = [(UNIT // 2 + 1) * 40_000 + UNIT // 3, (UNIT // 2 - 1) * 40_000 - UNIT // 3]
    assert order.deficits == tuple(q - UNIT * int(c) for q, c in zip(quota, counts, strict=True))


def one_by_one(order: Order, n: int) -> list[int]:
    return [int(order.assign(1)[0]) for _ in range(n)]


LATER = st.tuples(st.lists(st.integers(0, 10**6), min_size=6, max_size=6).filter(any), st.integers(0, 700))


@settings(max_examples=60)
@given(st.lists(LATER, min_size=1, max_size=4))
def test_many_slots_at_once_are_those_one_by_one(changes: list[tuple[list[int], int]]) -> None:
    """Also right after changes, when domains are past their deadlines."""
    fast, slow = Order(units([1] * 6)), Order(units([1] * 6))
    for weights, slots in changes:
        for order in (fast, slow):
            order.change(units([float(w) for w in weights]))
        assert fast.assign(slots).tolist() == one_by_one(slow, slots)
        assert fast.deficits == slow.deficits


@pytest.mark.parametrize("name", [*ADVERSARIAL, "a thousand"])
def test_many_slots_at_once_are_those_one_by_one_for_adversarial_weights(name: str) -> None:
    generator = np.random.default_rng(5)
    weights = ADVERSARIAL.get(name) or units(np.maximum(generator.dirichlet(np.full(1000, 0.3)), 1e-9))
    fast, slow = Order(weights), Order(weights)
    wanted = one_by_one(slow, 5000)
    assert np.concatenate([fast.assign(n) for n in (1, 1000, 7, 1992, 2000)]).tolist() == wanted
    assert fast.deficits == slow.deficits
    assert advanced(weights, (0,) * len(weights), np.array(wanted)) == slow.deficits


@pytest.mark.slow
@pytest.mark.parametrize("domains", [100, 1000])
def test_an_adversary_keeps_a_thousand_domains_within_the_live_bound(domains: int) -> None:
    """Ever fewer domains get nearly all the weight, and of them the one just served leaves the circle."""
    generator = np.random.default_rng(domains)
    order, quota, counts = Order(units([1] * domains)), np.zeros(domains, np.int64), np.zeros(domains, np.int64)
    starved, lowest, highest = np.ones(domains, bool), 0.0, 0.0
    for step in range(100 + 60_000 // domains):
        if starved.sum() < 2 or step == 0:
            starved[:] = generator.random(domains) < generator.choice([0.1, 0.5, 1.0])
            starved[:2] = True
        order.change(units(np.where(starved, 1.0, 1e-5)))
        slots = order.assign(int(generator.integers(1, 3)))
        quota += np.array(order.units) * slots.size
        counts += np.bincount(slots, minlength=domains)
        starved[slots] = False
        deficit = quota - UNIT * counts
        assert order.deficits == tuple(deficit.tolist())
        lowest, highest = min(lowest, deficit.min() / UNIT), max(highest, deficit.max() / UNIT)
    assert -bound(domains) - 1e-9 <= lowest
    assert 1 < highest <= live_bound(domains), "the adversary does exceed a sequence"


def test_random_slots_are_pinned_and_follow_from_their_number() -> None:
    weights = units([0.4, 0.3, 0.2, 0.1])
    order = RandomOrder(weights, 7)
    whole = order.assign(4000)
    assert "".join("abcd"[i] for i in whole[:40]) == "aaadbbabaabaddccbcabcbaabddabdbdaaabbada"
    for slot in (0, 1, 17, 3999):
        assert RandomOrder(weights, 7, slot).assign(1)[0] == whole[slot]
    assert order.deficits == (0, 0, 0, 0)
    order.change((0, UNIT, 0, 0))
    assert set(order.assign(50).tolist()) == {1}
    assert RandomOrder(weights, 8).assign(4000).tolist() != whole.tolist()


def test_random_slots_are_off_by_the_square_root_of_their_number() -> None:
    weights, n = units([0.5, 0.25, 0.125, 0.125]), 10_000
    share_D = np.array(weights) / UNIT
    counts_KD = np.stack([np.bincount(RandomOrder(weights, k).assign(n), minlength=4) for k in range(60)])
    z_KD = (counts_KD - n * share_D) / np.sqrt(n * share_D * (1 - share_D))
    assert np.abs(z_KD.mean(0)).max() < 0.6
    assert 0.75 < z_KD.std() < 1.25
