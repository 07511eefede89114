from __future__ import annotations

from cuvee.base.rng import generator, key64


def test_purposes_and_indexes_do_not_share_a_stream() -> None:
    keys = {key64(s, p, *i) for s in (0, 1) for p in ("a", "b") for i in ((), (0,), (1,), (0, 0))}
    assert len(keys) == 16


def test_pinned() -> None:
    """A stored format: pools, orders and initial weights hang on it."""
    assert key64(0, "pool", 1, 2) == 8308038644617945124
    assert generator(0, "propose", 3).integers(0, 2**63) == 693731177061355284
