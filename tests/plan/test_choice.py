from __future__ import annotations

from cuvee.mixture.schedule import Schedule
from cuvee.mixture.weights import Mixture
from cuvee.plan.choice import Choice, Estimate

SCHEDULE = Schedule.constant(Mixture.from_shares({"a": 1.0, "objective": 3.0, "c": 0.0}))


def test_the_summary_says_shares_the_gain_of_the_objective_and_why() -> None:
    predicted = (Estimate("objective", -0.02, -0.03, -0.01, 0.97), Estimate("objective", 0.5, 0.4, 0.6, 0.0))
    assert Choice("m", SCHEDULE, predicted, why=("Because.",)).summary().splitlines() == [
        "m: objective 75.0%, a 25.0%",
        "predicted -0.0200 bits/byte against natural (90 % interval -0.0300 to -0.0100, P(better) 0.97)",
        "Because.",
    ]


def test_a_choice_that_predicts_nothing_says_nothing_of_gains() -> None:
    assert Choice("m", SCHEDULE).summary() == "m: objective 75.0%, a 25.0%"
