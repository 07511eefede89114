from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cuvee.base.codec import SchemaError, from_json, to_json
from cuvee.base.errors import UsageError
from cuvee.mixture.edits import Add, Edit, Lift, Merge, Remove, Rename, Revise, Split, describe, lift, weights
from cuvee.mixture.weights import Array
from cuvee.plan.past import Past, PastRun

DOMAINS = ("a", "b", "c", "d")
NATURAL_D = np.array([0.4, 0.3, 0.2, 0.1])


@st.composite
def histories(draw: st.DrawFn) -> list[Edit]:
    """Up to six edits, each about domains that are there."""
    live, edits = list(DOMAINS), list[Edit]()
    added = set[str]()
    for number in range(draw(st.integers(0, 6))):
        old = [d for d in live if d not in added]
        kind = draw(st.sampled_from(("add", "remove", "rename", "split", "merge", "revise")))
        if kind == "add":
            edits.append(Add(f"new{number}"))
            added.add(f"new{number}")
            live.append(f"new{number}")
        elif not old or (kind == "merge" and len(old) < 2):
            continue
        elif kind == "merge":
            parts = tuple(draw(st.permutations(old))[: draw(st.integers(2, len(old)))])
            edits.append(Merge(parts, f"all{number}"))
            live = [*(d for d in live if d not in parts), f"all{number}"]
        else:
            name = draw(st.sampled_from(old))
            share = draw(st.floats(0.01, 0.99))
            live.remove(name)
            if kind == "remove":
                edits.append(Remove(name))
            elif kind == "rename":
                edits.append(Rename(name, f"{name}{number}"))
                live.append(f"{name}{number}")
            elif kind == "split":
                edits.append(Split(name, {name: share, f"{name}x{number}": 1 - share}))
                live += [name, f"{name}x{number}"]
            else:
                edits.append(Revise(name))
                live.append(name)
    return edits


def shares(seed: int, runs: int = 5) -> Array:
    return np.random.default_rng(seed).dirichlet(np.ones(len(DOMAINS)), runs)


@given(histories(), st.integers(0, 99))
def test_lifted_shares_are_shares(edits: list[Edit], seed: int) -> None:
    found = lift(DOMAINS, edits, NATURAL_D)
    lifted_NM = found.shares(shares(seed))
    assert lifted_NM.shape[1] == len(found.columns) == len(set(found.columns))
    np.testing.assert_allclose(lifted_NM.sum(1), 1)
    assert lifted_NM.min() >= 0
    for doubt in found.doubts:
        assert np.all(doubt.exposure(shares(seed)) <= 1 + 1e-12)
        assert set(doubt.domains) <= set(found.columns)


@given(histories(), st.integers(0, 6), st.integers(0, 99))
def test_edits_one_after_the_other_are_all_at_once(edits: list[Edit], cut: int, seed: int) -> None:
    first = lift(DOMAINS, edits[:cut], NATURAL_D)
    # lifted again from where the first left off, the domains that are gone passing through
    start_M = first.shares(NATURAL_D[None])[0]
    second = lift(first.columns, edits[cut:], start_M)
    at_once = lift(DOMAINS, edits, NATURAL_D)
    again = dict(zip(second.columns, second.shares(first.shares(shares(seed))).T, strict=True))
    once = dict(zip(at_once.columns, at_once.shares(shares(seed)).T, strict=True))
    merged = {name: sum(v for k, v in again.items() if k.removesuffix(" (removed)") == name) for name in at_once.after}
    for name in at_once.after:
        np.testing.assert_allclose(merged[name] if name not in again else again[name], once[name], atol=1e-12)


@given(st.integers(0, 99))
def test_splits_and_merges_keep_what_a_law_linear_in_the_parts_says(seed: int) -> None:
    w_ND = shares(seed)
    slopes_D = np.random.default_rng(seed + 1).normal(size=4)
    split = lift(DOMAINS, [Split("a", {"a1": 0.25, "a2": 0.75})], NATURAL_D)
    # parts whose mean by tokens is the whole's
    law = {"a1": slopes_D[0] + 3, "a2": slopes_D[0] - 1, "b": slopes_D[1], "c": slopes_D[2], "d": slopes_D[3]}
    np.testing.assert_allclose(split.shares(w_ND) @ [law[d] for d in split.columns], w_ND @ slopes_D)
    natural_ND = w_ND.copy()
    natural_ND[:, [0, 1]] = (w_ND[:, 0] + w_ND[:, 1])[:, None] * [4 / 7, 3 / 7]
    merged = lift(DOMAINS, [Merge(("a", "b"), "ab")], NATURAL_D)
    law = {"ab": (4 * slopes_D[0] + 3 * slopes_D[1]) / 7, "c": slopes_D[2], "d": slopes_D[3]}
    np.testing.assert_allclose(merged.shares(natural_ND) @ [law[d] for d in merged.columns], natural_ND @ slopes_D)
    np.testing.assert_allclose(merged.doubts[0].exposure(natural_ND), 0, atol=1e-12)
    displaced_N = np.abs(w_ND[:, 0] - 4 / 7 * (w_ND[:, 0] + w_ND[:, 1]))
    np.testing.assert_allclose(merged.doubts[0].exposure(w_ND), displaced_N)


def test_each_edit() -> None:
    found = lift(
        DOMAINS,
        [
            Remove("a"),
            Add("e"),
            Rename("b", "B"),
            Split("c", {"c": 0.5, "c2": 0.5}),
            Revise("d", 3.0),
            Add("a"),
        ],
        NATURAL_D,
    )
    assert found.after == ("B", "c", "c2", "d", "e", "a")
    assert found.gone == ("a (removed)",)
    np.testing.assert_allclose(found.shares(NATURAL_D[None])[0], [0.3, 0.1, 0.1, 0.1, 0, 0, 0.4])
    assert found.same == {"B": "b", "d": "d"}, "what is gone, split or new has no losses of the same text"
    assert [(d.domains, d.noise) for d in found.doubts] == [(("d",), 3.0)]


def test_a_doubt_follows_its_domain() -> None:
    found = lift(DOMAINS, [Revise("a"), Split("a", {"a1": 0.5, "a2": 0.5}), Merge(("a2", "b"), "ab")], NATURAL_D)
    assert found.doubts[0].domains == ("a1", "ab")
    np.testing.assert_allclose(found.doubts[0].exposure(NATURAL_D[None]), 0.4)


def test_weights() -> None:
    np.testing.assert_allclose(weights([np.array([0.0, 0.1, 1.0])], [10.0]), [1, 0.5, 1 / 101])
    assert weights([], []) == 1


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda: Remove("aa"), "no domain 'aa'"),
        (lambda: Add("a"), "there is a domain 'a' already"),
        (lambda: Rename("a", "b"), "there is a domain 'b' already"),
        (lambda: Split("a", {"b": 0.5, "x": 0.5}), "there is a domain 'b' already"),
        (lambda: Split("a", {"x": 0.5, "y": 0.4}), "sum 0.9"),
        (lambda: Split("a", {"x": 1.0}), "at least two parts"),
        (lambda: Split("a", {"x": 1.5, "y": -0.5}), "at least two parts"),
        (lambda: Merge(("a",), "x"), "at least two domains"),
        (lambda: Merge(("a", "a"), "x"), "each once"),
        (lambda: Merge(("a", "z"), "x"), "no domain 'z'"),
        (lambda: Merge(("a", "b"), "c"), "there is a domain 'c' already"),
        (lambda: Revise("a", -1.0), "got noise -1"),
        (lambda: Revise("z"), "no domain 'z'"),
    ],
)
def test_bad_edits_are_named(edit: Callable[[], Edit], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        lift(DOMAINS, [edit()], NATURAL_D)


def test_the_number_of_the_edit_and_what_else_there_is_are_said() -> None:
    with pytest.raises(UsageError, match="edit 2") as caught:
        lift(("math", "code"), [Remove("math"), Remove("cod")], np.array([0.5, 0.5]))
    assert "did you mean 'code'" in str(caught.value)
    with pytest.raises(UsageError, match="no natural share of new"):
        lift(DOMAINS, [Add("new"), Merge(("a", "new"), "a")], NATURAL_D)


def test_edits_are_read_by_their_first_key() -> None:
    data = [
        {"add": "x"},
        {"remove": "a"},
        {"rename": "b", "to": "B"},
        {"split": "c", "into": {"c1": 0.5, "c2": 0.5}},
        {"merge": ["c1", "d"], "into": "cd"},
        {"revise": "B", "noise": 2},
    ]
    edits = from_json(tuple[Edit, ...], data)
    assert [type(e) for e in edits] == [Add, Remove, Rename, Split, Merge, Revise]
    past = Past("old", DOMAINS, ("a",), tuple(NATURAL_D), edits, (PastRun("r", 0, (0.25,) * 4, (1.5,)),))
    assert from_json(Past, to_json(past)) == past
    assert "c split into c1, c2" in past.story()
    assert len({describe(e) for e in past.edits}) == 6
    with pytest.raises(SchemaError, match="did you mean 'remove'"):
        from_json(tuple[Edit, ...], [{"remov": "a"}])
    with pytest.raises(SchemaError, match=r"sum 0\.9"):
        from_json(tuple[Edit, ...], [{"split": "a", "into": {"x": 0.5, "y": 0.4}}])


def test_edits_lead_to_the_domains_of_the_problem() -> None:
    past = Past("old", DOMAINS, ("a",), tuple(NATURAL_D), (Remove("a"),), ())
    past.check(("d", "b", "c"))
    with pytest.raises(UsageError, match="after its edits, old has b, c, d") as caught:
        past.check(("b", "c", "e"))
    assert "{remove: d}" in str(caught.value)
    assert "{add: e}" in str(caught.value)


def test_the_identity() -> None:
    found: Lift = lift(DOMAINS, [], NATURAL_D)
    np.testing.assert_array_equal(found.matrix_MD, np.eye(4))
    assert found.columns == DOMAINS
