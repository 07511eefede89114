"""CLIMB: three rounds, later ones from the predictor's best, and the choice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cuvee.base.errors import UsageError
from cuvee.base.rng import generator
from cuvee.methods.climb import Climb
from cuvee.plan.problem import Limit
from cuvee.testing.worlds import play, world

QUICK = Climb(runs=42, sampled=300, predictor="ridge-log")


def test_three_rounds_of_four_to_two_to_one() -> None:
    played = play(world("power", 2, domains=4), QUICK)
    assert played.rounds == (24, 12, 6)
    assert {t.plan.block for t in played.trials} == {0, 1, 2, 3}


def test_each_round_is_better_than_the_last() -> None:
    w = world("power", 3, domains=6)
    known: dict[str, object] = {}
    values = []
    for turn in range(3):
        plans = QUICK.propose(w.problem, [known[i] for i in sorted(known)], generator(3, "propose", turn))  # type: ignore[misc]
        values.append(float(np.mean([w.value(p.schedule.at(0).shares) for p in plans])))
        known |= {trial.id: trial for trial in map(w.run, plans)}
    assert values[0] > values[1]
    assert values[0] > values[2]


def test_the_choice_is_the_best_predicted_and_keeps_bounds() -> None:
    w = world("law", 3, domains=5, pointed=True)
    held = replace(w, problem=replace(w.problem, limits=(Limit(w.problem.domains[0], min_share=0.2),)))
    played = play(held, QUICK)
    shares = played.choice.schedule.at(0).shares
    assert held.problem.feasible().contains(shares)
    assert held.value(shares) < 0


def test_all_runs_failed_is_the_end() -> None:
    played = play(replace(world("power", 2, domains=4), failing=1.0), QUICK)
    assert played.rounds == (24,)
    assert "too few" in played.choice.why[0]


@pytest.mark.parametrize("arguments", [{"runs": 8}, {"sampled": 0}, {"predictor": "forest"}])
def test_bad_hyperparameters(arguments: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        Climb(**arguments)  # type: ignore[arg-type]
