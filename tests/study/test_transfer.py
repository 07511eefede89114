"""The same mixtures at two sizes: which are run again, how agreement is measured, how sure it is."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cuvee.base.errors import UsageError
from cuvee.plan.problem import Proxy
from cuvee.plan.trial import Trial
from cuvee.shards.corpus import Corpus
from cuvee.study import judge, transfer
from cuvee.study.layout import Lineup, Planned
from cuvee.study.status import status
from cuvee.study.store import Store
from cuvee.study.study import Study
from tests.study.fakes import Grid, Inline, problem
from tests.study.test_judge import QUESTION, mixture, trial

pytestmark = pytest.mark.slow

LARGE = Proxy(tokens=8192, size="0.3M", seq_len=16, batch=16, eval_points=1)


@pytest.fixture
def study(folder: Path, corpus: Corpus) -> Study:
    made = Study.open(folder, problem(corpus), corpus, Grid(per_round=4, rounds=1, blocks=3))
    made.run(runner=Inline())
    return made


def test_mixtures_are_taken_from_all_blocks_and_each_once() -> None:
    shared = mixture(0.2, 0.2, 0.6)
    first = [QUESTION.plan(QUESTION.natural, b) for b in range(3)] + [QUESTION.plan(shared, b) for b in range(3)]
    own = [QUESTION.plan(mixture(i / 20, 0.5 - i / 20, 0.5), i % 3) for i in range(9)]
    pairs = transfer.plans(QUESTION, [*first, *own], Proxy(tokens=40_000, size="0.6M", seq_len=16), 7)
    small, large = [a for a, _ in pairs], [b for _, b in pairs]
    tasted = [p for p in small if p.schedule.at(0) != QUESTION.natural]
    assert len(tasted) == 7
    assert len({p.schedule for p in tasted}) == 7
    assert sorted({p.block for p in tasted}) == [0, 1, 2]
    assert [p.block for p in small if p.schedule.at(0) == QUESTION.natural] == [0, 1, 2]
    for a, b in pairs:
        assert (a.schedule, a.block, a.split) == (b.schedule, b.block, "search")
        assert b.tokens > a.tokens
        assert all(big > few for big, few in zip(b.pools, a.pools, strict=True)), "pools are matched to the larger runs"
    assert len(large) == 10


def run(m: int, block: int, loss: float) -> Trial:
    return trial(mixture(m / 40, 0.5 - m / 40, 0.5), block, loss, 1.0, 0.0)


def lineup(small: list[Trial], large: list[Trial]) -> Lineup:
    arms = {"small": small, "large": large}
    return Lineup(math.nan, {name: tuple(Planned(t.id, t.plan) for t in arm) for name, arm in arms.items()})


def test_agreement_is_of_differences_within_blocks() -> None:
    """Blocks with offsets of their own must not be taken for agreement or the lack of it."""
    small: list[Trial] = []
    large: list[Trial] = []
    for block, (lift_small, lift_large) in enumerate([(0.0, 5.0), (3.0, 0.0)]):
        for t, lift in ((small, lift_small), (large, lift_large)):
            t.append(trial(QUESTION.natural, block, 2 + lift, 1.0, 0.0))
        for i in range(4):
            m = 1 + 2 * i + block
            small.append(run(m, block, 2 + lift_small - 0.1 * m))
            large.append(run(m, block, 2 + lift_large - 0.05 * m))
    large = [replace(t, id=f"L{t.id}") for t in large]
    found = transfer.check(QUESTION, lineup(small, large), [*small, *large], LARGE)
    assert len(found.pairs) == 8
    assert found.spearman == pytest.approx(1.0)
    assert found.sign == 1.0
    # losses as they are, offsets and all, would not agree
    assert (
        transfer.agreement(
            [judge.value(QUESTION.objective, t) for t in small], [judge.value(QUESTION.objective, t) for t in large]
        )[0]
        < 0.5
    )


def test_runs_that_failed_are_named_and_left_out() -> None:
    small = [trial(QUESTION.natural, 0, 2, 1, 0), run(1, 0, 1.9), run(2, 0, 1.8)]
    large = [replace(t, id=f"L{t.id}") for t in small]
    large[2] = replace(large[2], status="diverged")
    found = transfer.check(QUESTION, lineup(small, large), [*small, *large], LARGE)
    assert len(found.pairs) == 1
    assert found.missing == (large[2].id,)
    assert math.isnan(found.spearman), "one mixture has no order"


def test_the_interval_covers_at_about_its_rate() -> None:
    rng = np.random.default_rng(0)
    truth = 6 / math.pi * math.asin(0.8 / 2)  # Spearman's correlation of a normal pair with correlation 0.8
    inside = 0
    for _ in range(400):
        x = rng.normal(size=16)
        y = 0.8 * x + 0.6 * rng.normal(size=16)
        _, low, high = transfer.agreement(x.tolist(), y.tolist())
        inside += low <= truth <= high
    assert 0.85 <= inside / 400 <= 0.95


def test_a_study_checks_transfer_and_keeps_it(study: Study, corpus: Corpus) -> None:
    found = study.check_transfer(LARGE, mixtures=4, runner=Inline())
    assert len(found.pairs) == 4
    assert study.transfer() == found
    assert {t.plan.size for t in study.transfer_trials()} == {"0.3M"}
    assert len(study.transfer_trials()) == 4 + 3
    assert found.spearman > 0.5, "the formula's order does not depend on size"
    again = study.check_transfer(LARGE, mixtures=4, runner=Inline())
    assert again == found
    assert any(s.name == "transfer check 0" and s.left == 0 for s in status(Store(study.path)).stages)


@pytest.mark.parametrize(
    ("at", "message"),
    [
        (replace(LARGE, seq_len=32), "sequences of 32"),
        (replace(LARGE, size="0.1M", tokens=4096), "as large as the proxies"),
        (replace(LARGE, tokens=1024), "1,024 tokens"),
    ],
)
def test_larger_runs_must_be_larger(study: Study, at: Proxy, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        study.check_transfer(at, runner=Inline())


def test_too_few_mixtures_are_refused(study: Study) -> None:
    with pytest.raises(UsageError, match="got 3 mixtures"):
        study.check_transfer(LARGE, mixtures=3, runner=Inline())


def test_a_larger_verification_has_blocks_and_pools_of_its_own(study: Study) -> None:
    choice = study.choose()
    small = study.verify(choice, seeds=2, runner=Inline())
    large = study.verify(choice, seeds=3, runner=Inline(), at=LARGE)
    assert study.verification() == small
    assert study.verification("large") == large
    assert large.proxy == LARGE
    assert large.arm("choice").blocks == (2000, 2001, 2002)
    assert [a.name for a in large.arms] == [a.name for a in small.arms]
    plans = [t.plan for t in study.verification_trials("large")]
    assert {p.size for p in plans} == {"0.3M"}
    assert {p.split for p in plans} == {"verify"}
    expected = replace(study.problem, proxy=LARGE).pools
    assert {p.pools for p in plans} == {expected}
    assert len({p.tokens for p in plans}) == 1, "the same tokens in all arms"


def test_the_scales_are_kept_apart(study: Study) -> None:
    study.verify(study.choose(), seeds=2, runner=Inline(), at=LARGE)
    assert study.verification() is None
    assert Study.load(study.path).verification("large") is not None
