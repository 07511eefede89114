from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from cuvee.base.codec import from_json, to_json
from cuvee.base.errors import DataError, InfeasibleError, UsageError
from cuvee.mixture.feasible import Group
from cuvee.mixture.rows import Row
from cuvee.mixture.weights import Mixture
from cuvee.plan.problem import Guard, Limit, Problem, Proxy, Target, smallest_sound_proxy
from cuvee.plan.sizes import SIZES, batch_tokens, learning_rate, size
from cuvee.plan.trial import Cost, Curve, Plan, Trial

PROBLEM = Problem(
    domains=("a", "b", "c"),
    tokens=(1_000_000, 600_000, 400_000),
    target_tokens=4_000_000,
    objective=(Target("a"),),
    proxy=Proxy(tokens=500_000, size="0.1M", seq_len=128),
    max_epochs=4,
)


def test_pools_repeat_as_often_as_the_target_run() -> None:
    mixture = Mixture.from_shares({"a": 0.2, "b": 0.5, "c": 0.3})
    r, pools = PROBLEM.proxy.trained_tokens, np.array(PROBLEM.pools)
    assert np.allclose(mixture.shares * r / pools, PROBLEM.epochs(mixture), rtol=1e-4)


def test_bounds_are_shares_at_the_target_run() -> None:
    problem = replace(
        PROBLEM,
        limits=(Limit("b", min_share=0.1, max_tokens=1_000_000), Limit("c", max_epochs=1.5)),
        groups=(Group("bc", ("b", "c"), max_share=0.3),),
    )
    feasible = problem.feasible()
    assert feasible.low == (0.0, 0.1, 0.0)
    assert np.allclose(feasible.high, (1.0, 0.25, 0.15))
    w_D = feasible.project(np.array([0.0, 0.5, 0.5]))
    assert math.isclose(w_D[1] + w_D[2], 0.3)


def test_natural_counts_tokens_and_epochs_agree() -> None:
    assert np.allclose(PROBLEM.natural.shares, (0.5, 0.3, 0.2))
    assert np.allclose(PROBLEM.epochs(PROBLEM.natural), 2.0)


def test_a_small_pool_is_refused_with_the_smallest_sound_r_or_capped_at_one_epoch() -> None:
    small = replace(PROBLEM, proxy=Proxy(tokens=500_000, seq_len=128))
    with pytest.raises(InfeasibleError, match="at least") as caught:
        replace(small, tokens=(1_000_000, 600_000, 50_000))
    sound = smallest_sound_proxy((1_000_000, 600_000, 50_000), 4_000_000, 128)
    assert f"{sound:,}" in str(caught.value)
    replace(small, tokens=(1_000_000, 600_000, 50_000), proxy=Proxy(tokens=sound, seq_len=128))
    capped = replace(small, tokens=(1_000_000, 600_000, 50_000), small_pools="cap")
    assert capped.feasible().high[2] == pytest.approx(50_000 / 4_000_000)
    assert capped.pools[2] == 50_000 * capped.proxy.trained_tokens // 4_000_000, "never enlarged"


def test_a_pool_shorter_than_a_sequence_is_refused_under_both_settings() -> None:
    for setting in ("refuse", "cap"):
        with pytest.raises(InfeasibleError, match="shorter than one sequence"):
            replace(PROBLEM, tokens=(1_000_000, 600_000, 900), small_pools=setting)


def test_refusals() -> None:
    with pytest.raises(UsageError, match="no domain or target 'aa'") as caught:
        replace(PROBLEM, objective=(Target("aa"),))
    assert "did you mean" in str(caught.value)
    with pytest.raises(UsageError, match="no targets"):
        replace(PROBLEM, objective=())
    with pytest.raises(UsageError, match="stands for a larger run"):
        replace(PROBLEM, target_tokens=100_000)
    with pytest.raises(InfeasibleError):
        replace(PROBLEM, max_epochs=0.2)
    with pytest.raises(DataError, match="one domain leaves nothing to choose"):
        Problem(("a",), (1_000,), 1_000, (Target("a"),), Proxy(tokens=10))
    with pytest.raises(UsageError, match="tolerance"):
        Guard("g", (Target("a"),), -0.1)
    with pytest.raises(UsageError, match="did you mean"):
        Proxy(tokens=1, size="0.1")


def test_from_corpus_takes_the_smallest_sound_proxy() -> None:
    class Counts:
        @property
        def train_tokens(self) -> dict[str, int]:
            return {"x": 2_000_000, "y": 100_000}

    problem = Problem.from_corpus(Counts(), target_tokens=8_000_000, targets="all-domains")
    assert [t.name for t in problem.objective] == ["x", "y"]
    assert not problem.small_pool_domains()
    assert problem.proxy.tokens == smallest_sound_proxy((2_000_000, 100_000), 8_000_000, 128)


def test_values_survive_json_and_ids_are_content() -> None:
    problem = replace(PROBLEM, guards=(Guard("rest", (Target("b"),), 0.02),), limits=(Limit("c", max_share=0.5),))
    assert from_json(Problem, to_json(problem)) == problem
    plan = problem.plan(problem.natural, 3)
    again = from_json(Plan, to_json(plan))
    assert again == plan
    assert again.id("f") == plan.id("f")
    others = {replace(plan, block=4), replace(plan, learning_rate=1e-3), replace(plan, split="verify"), plan}
    assert len({p.id("f") for p in others}) == 4
    assert plan.id("f") != plan.id("g")


def test_the_id_is_a_stored_format() -> None:
    plan = replace(
        PROBLEM.plan(PROBLEM.natural, 0), learning_rate=1e-3, batch=8, steps=10, eval_points=4, pools=(3, 2, 1)
    )
    assert plan.id("0" * 32) == "442cb92ce52ba68e56e7f989b061fb59"


def test_a_failed_trial_has_no_loss() -> None:
    plan = PROBLEM.plan(PROBLEM.natural, 0)
    trial = Trial(
        "x",
        plan,
        "diverged",
        (Curve("a", (1, 2), (2.0, math.nan), (1.0, math.nan)),),
        (1, 1, 1),
        Cost(1.0, 1.0, 1.0),
        {},
    )
    assert math.isnan(trial.loss("a"))
    assert math.isnan(trial.loss("b"))
    assert str(from_json(Trial, to_json(trial))) == str(trial)


def test_sizes_are_near_their_names() -> None:
    for name, shape in SIZES.items():
        assert shape.parameters == pytest.approx(float(name[:-1]) * 1e6, rel=0.15)
        assert shape.dim % shape.heads == 0
    assert size("1M").name == "1M"


def test_rates_fall_with_size_and_rise_with_tokens() -> None:
    assert learning_rate(10**6, 10**6) < learning_rate(10**5, 10**6) < learning_rate(10**5, 10**7)
    assert batch_tokens(10**6) < batch_tokens(10**7)
    assert replace(PROBLEM.proxy, batch=4).sequences_per_step == 4
    assert PROBLEM.plan(PROBLEM.natural, 0).tokens >= PROBLEM.proxy.tokens


def test_rows_bound_the_shares_are_checked_and_survive_a_file() -> None:
    row = Row("b per c", (("b", 1), ("c", -2)), high=0.0)
    problem = replace(PROBLEM, rows=(row,))
    w_D = problem.feasible().project(np.array([0.0, 1.0, 0.0]))
    assert w_D[1] <= 2 * w_D[2] + 1e-9
    assert from_json(Problem, to_json(problem)) == problem
    with pytest.raises(UsageError, match="no domain or target 'd'"):
        replace(PROBLEM, rows=(Row("x", (("d", 1.0),), high=0.1),))
    with pytest.raises(InfeasibleError, match="row 'b per c'"):
        replace(problem, limits=(Limit("b", min_share=0.5), Limit("c", max_share=0.1)))


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_a_learning_rate_is_a_number_above_zero(rate: float) -> None:
    with pytest.raises(UsageError, match="learning_rate: got"):
        Proxy(tokens=1000, learning_rate=rate)
