from __future__ import annotations

from dataclasses import fields, replace

import pytest

from cuvee.base.codec import canonical, content_id, from_json, to_json
from cuvee.base.errors import UsageError
from cuvee.plan.sizes import SIZES, Size
from cuvee.plan.trial import RECIPE, Plan, Start
from tests.proxies.tiny import plan

SIZE = Size("checkpoint", 2, 64, 4, 96, kv_heads=2, rotary_base=50_000.0, epsilon=1e-6, tied=True)
STARTED = replace(plan(), size="checkpoint", start=Start("ab" * 16, SIZE, 300))
FIRST = "schedule size steps seq_len batch learning_rate precision seed block pools targets split eval_points kind requires wants"


def test_a_field_at_its_default_is_not_in_the_id() -> None:
    """As if the plan were still what it was in the first version of format 1."""
    old = {name: getattr(plan(), name) for name in FIRST.split()}
    assert plan().id("corpus") == content_id({"format": 1, "plan": old, "corpus": "corpus", "recipe": RECIPE})
    assert set(old) < {f.name for f in fields(Plan)}


def test_an_integer_rate_is_the_float() -> None:
    assert plan(learning_rate=1).id("corpus") == plan(learning_rate=1.0).id("corpus")


def test_a_start_is_in_the_id() -> None:
    assert STARTED.start is not None
    others = [
        plan(),
        replace(STARTED, start=replace(STARTED.start, sha="cd" * 16)),
        replace(STARTED, start=replace(STARTED.start, vocab_size=301)),
        replace(STARTED, start=replace(STARTED.start, size=replace(SIZE, rotary_base=10_000.0))),
    ]
    assert len({p.id("corpus") for p in [STARTED, *others]}) == 5


def test_a_started_plan_survives_json() -> None:
    assert from_json(Plan, to_json(STARTED)) == STARTED
    assert canonical(from_json(Plan, to_json(STARTED))) == canonical(STARTED)
    old = to_json(plan())
    del old["start"]
    assert from_json(Plan, old) == plan()


def test_the_shape_is_the_starts() -> None:
    assert STARTED.shape is SIZE
    assert plan().shape is SIZES["0.1M"]
    with pytest.raises(UsageError, match=r"(?s)size '0.1M' with a start.*'checkpoint'"):
        replace(plan(), start=STARTED.start)
    with pytest.raises(UsageError, match="no proxy size 'checkpoint'"):
        assert replace(plan(), size="checkpoint").shape


NUMBERS = [
    (100_672, 2_275_200.0),
    (332_448, 4_575_168.0),
    (603_008, 7_058_688.0),
    (1_004_928, 9_666_816.0),
    (3_099_456, 24_347_520.0),
    (10_880_960, 75_361_920.0),
]


def test_the_named_sizes_are_what_they_were() -> None:
    assert [(s.parameters, s.flops_per_token(4096, 128)) for s in SIZES.values()] == NUMBERS
    for s in SIZES.values():
        assert s.parameters == s.layers * (4 * s.dim**2 + 3 * s.dim * s.hidden + 2 * s.dim) + s.dim
        assert s.attention_width == 3 * s.dim
