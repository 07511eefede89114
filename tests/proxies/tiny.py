"""Runs so small that a test can make dozens."""

from __future__ import annotations

from collections.abc import Callable

from cuvee.mixture.schedule import Schedule
from cuvee.mixture.weights import Mixture
from cuvee.plan.trial import Plan


class Killed(Exception):
    """A run that was broken off."""


def kill_at(*steps: int) -> Callable[[int, int], None]:
    """An `on_step` that breaks the run off after these steps."""

    def on_step(step: int, total: int) -> None:
        if step in steps:
            raise Killed

    return on_step


def plan(
    *shares: float,
    steps: int = 10,
    learning_rate: float = 0.01,
    block: int = 0,
    seed: int = 0,
    eval_points: int = 2,
    pools: tuple[int, ...] = (2000, 2000, 2000),
) -> Plan:
    """A tiny run on `corpus` with these shares of its domains."""
    mixture = Mixture.from_shares(dict(zip(("a", "b", "c"), shares or (1, 1, 1), strict=True)))
    return Plan(
        schedule=Schedule.constant(mixture),
        size="0.1M",
        steps=steps,
        seq_len=16,
        batch=3,
        learning_rate=learning_rate,
        precision="fp32",
        seed=seed,
        block=block,
        pools=pools,
        targets=("a", "c"),
        split="search",
        eval_points=eval_points,
    )
