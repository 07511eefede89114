from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cuvee.base.errors import DataError
from cuvee.methods.regression import Regression
from cuvee.plan.trial import Plan, Trial
from cuvee.shards.corpus import Corpus
from cuvee.study import judge, pilot
from cuvee.study.study import Study
from tests.study.fakes import Inline, fake_train, problem
from tests.study.test_judge import QUESTION, mixture, trial

pytestmark = pytest.mark.slow

METHOD = Regression(runs=16, blocks=4)


def test_it_makes_natural_and_one_more_mixture_in_every_block(folder: Path, corpus: Corpus) -> None:
    question = problem(corpus)
    study = Study.open(folder, question, corpus, METHOD)
    noise = study.pilot(workers=2, runner=Inline())
    plans = [t.plan for t in study.trials()]
    assert len(plans) == 8
    assert {p.block for p in plans} == {0, 1, 2, 3}
    assert len({p.schedule for p in plans}) == 2
    assert sum(p.schedule.at(0) == question.natural for p in plans) == 4
    assert noise.blocks == 4
    assert noise.sd == pytest.approx(judge.noise(question, study.trials()))
    assert "   4 " in noise.table()


def test_a_study_after_a_pilot_is_the_study_without_one(folder: Path, corpus: Corpus, tmp_path: Path) -> None:
    question, other = problem(corpus), tmp_path / "other"
    study = Study.open(folder, question, corpus, METHOD)
    study.pilot(runner=Inline())
    study.pilot(runner=Inline(train=_never))  # again runs nothing
    for path in (folder, other):
        made = Study.open(path, question, corpus, METHOD)
        made.run(runner=Inline())
        made.choose()
    assert (folder / "choice.json").read_bytes() == (other / "choice.json").read_bytes()
    for name in ("rounds/0000.json", "rounds/0001.json"):
        assert (folder / name).read_bytes() == (other / name).read_bytes()
    assert [t.id for t in Study.load(folder).trials()] == [t.id for t in Study.load(other).trials()]


def test_a_study_with_more_blocks_takes_the_pilot_over(folder: Path, corpus: Corpus, tmp_path: Path) -> None:
    question = problem(corpus)
    Study.open(folder, question, corpus, METHOD).pilot(runner=Inline())
    made: list[str] = []

    def counted(plans: Sequence[Plan], corpus: Corpus, **paths: Path | None) -> tuple[Trial, ...]:
        made.append(plans[0].id(corpus.fingerprint))
        return fake_train(plans, corpus)

    more = Study.open(tmp_path / "more", question, corpus, Regression(runs=24, blocks=6), reuse=[folder])
    more.run(runner=Inline(train=counted))
    assert len(made) == 24 - 8


def test_a_pilot_whose_runs_fail_says_so(folder: Path, corpus: Corpus) -> None:
    def broken(plans: Sequence[Plan], corpus: Corpus, **paths: Path | None) -> tuple[Trial, ...]:
        (made,) = fake_train(plans, corpus)
        return (replace(made, status="diverged", message="loss nan at step 3"),)

    with pytest.raises(DataError, match="8 of 8 runs of the pilot did not end well; the first: diverged: loss nan"):
        Study.open(folder, problem(corpus), corpus, METHOD).pilot(runner=Inline(train=broken))


def test_the_interval_of_the_noise_covers_it() -> None:
    """Chi-square limits of the standard deviation from four blocks: 90 % within, 80 % under the upper limit."""
    rng = np.random.default_rng(0)
    within, under = [], []
    natural, other = QUESTION.natural, mixture(1, 1, 1)
    base = [trial(natural, b, 2.0, 2.0, 2.0) for b in range(4)]
    for _ in range(600):
        found = pilot.measured(
            QUESTION, [*base, *(trial(other, b, d, 2.0, d) for b, d in enumerate(rng.normal(2, 0.1, 4)))]
        )
        assert found is not None
        assert found.low < found.sd < found.cautious < found.high
        within.append(found.low <= 0.1 <= found.high)
        under.append(found.cautious >= 0.1)
    assert np.mean(within) == pytest.approx(0.9, abs=3.5 * math.sqrt(0.09 / 600))
    assert np.mean(under) == pytest.approx(0.8, abs=3.5 * math.sqrt(0.16 / 600))


def test_mixtures_that_share_natural_add_no_freedom() -> None:
    trials = [
        trial(m, b, 2.0 + 0.1 * i * b, 2, 2)
        for i, m in enumerate((QUESTION.natural, mixture(1, 1, 1), mixture(2, 1, 1)))
        for b in range(3)
    ]
    found = pilot.measured(QUESTION, trials)
    assert found is not None
    assert found.blocks == 3
    assert found.natural == pytest.approx(2.0)
    assert pilot.measured(QUESTION, trials[:4]) is None, "one block has both"


def _never(plans: Sequence[Plan], corpus: Corpus, **paths: Path | None) -> tuple[Trial, ...]:
    raise AssertionError("nothing is left to run")
