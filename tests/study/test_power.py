from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cuvee.base.codec import to_json
from cuvee.base.errors import UsageError
from cuvee.methods.random import Random
from cuvee.methods.regression import Regression
from cuvee.predict.detect import detectable
from cuvee.shards.corpus import Corpus
from cuvee.study import power
from cuvee.study.pilot import Noise
from cuvee.study.power import Gain, detect
from cuvee.study.study import Study
from tests.study.fakes import Grid, Inline, problem

METHOD = Regression(runs=24, blocks=4)


def share_found(sd: float, gain: float, blocks: int, tries: int = 20_000) -> float:
    """How often a one-sided paired t test at 5 % finds `gain`, by simulation."""
    from scipy import stats

    rng = np.random.default_rng(blocks)
    d_NB = rng.normal(-gain, sd, (tries, blocks))
    t_N = d_NB.mean(1) / (d_NB.std(1, ddof=1) / math.sqrt(blocks))
    return float(np.mean(t_N < stats.t.ppf(0.05, blocks - 1)))


@pytest.mark.parametrize(
    ("text", "gain"),
    [
        ("0.5%", Gain(0.5, "%")),
        (" 2 % ", Gain(2, "%")),
        ("0.004", Gain(0.004, "bits/byte")),
        ("4e-3b", Gain(0.004, "bits/byte")),
        (".01", Gain(0.01, "bits/byte")),
    ],
)
def test_gains_are_read(text: str, gain: Gain) -> None:
    assert Gain.parse(text) == gain


@pytest.mark.parametrize(
    "text", ["", "0", "0%", "-1%", "100%", "0,5%", "nan", "inf", "1e999", "4mb", "%", "0.5%b", "٣"]
)
def test_other_gains_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--detect got") as error:
        Gain.parse(text)
    assert "0.5%" in error.value.wanted


def test_a_percentage_needs_a_positive_loss() -> None:
    assert Gain(0.5, "%").bits(2.0) == pytest.approx(0.01)
    assert Gain(0.004, "bits/byte").bits(-1.0) == 0.004
    with pytest.raises(UsageError, match="percentage means nothing"):
        Gain(0.5, "%").bits(-0.1)


@pytest.mark.parametrize("ratio", [0.25, 0.5, 1.0, 2.0])
def test_the_blocks_needed_find_the_gain_and_one_less_does_not(ratio: float) -> None:
    """Within 3.5 binomial errors of the simulation."""
    blocks = power._fewest_to_find(1.0, ratio)
    assert blocks is not None
    error = 3.5 * math.sqrt(0.8 * 0.2 / 20_000)
    assert share_found(1.0, ratio, blocks) > 0.8 - error
    assert share_found(1.0, ratio, blocks - 1) < 0.8 + error
    at = detectable(1.0, blocks)
    assert share_found(1.0, at, blocks) == pytest.approx(0.8, abs=error)


def test_what_many_blocks_detect_is_known_and_falls() -> None:
    found = [detectable(1.0, blocks) for blocks in range(2, power.MOST_BLOCKS + 1)]
    assert found == sorted(found, reverse=True)
    # for many blocks the normal quantiles: 1.645 + 0.842
    assert found[-1] * math.sqrt(power.MOST_BLOCKS) == pytest.approx(2.4865, abs=0.01)
    assert power._fewest_to_find(1.0, found[-1] * 0.99) is None
    assert power._fewest_to_find(0.0, 0.1) == 2


def test_the_interval_rule_covers() -> None:
    rng = np.random.default_rng(0)
    d_NB = rng.normal(0.0, 1.0, (20_000, 5))
    mean_half = np.mean(np.abs(d_NB.mean(1)) <= power.half_width(1.0, 5) * d_NB.std(1, ddof=1))
    assert mean_half == pytest.approx(0.9, abs=0.01)


def test_before_a_pilot_the_noise_is_not_known(folder: Path, corpus: Corpus) -> None:
    study = Study.preview(folder, problem(corpus), corpus, METHOD)
    cost = study.cost(workers=2, verify_seeds=3, speed="assumed")
    found = detect(study, Gain(0.5, "%"), cost, 3)
    assert (found.noise, found.bits, found.needed, found.cautious) == (None, None, None, None)
    assert found.pilot_runs == 8
    assert found.pilot.tokens == 8 * cost.each.tokens
    assert (found.as_written.search_runs, found.as_written.verify_runs, found.as_written.finds) == (24, 15, None)
    assert "not measured yet" in str(found)
    assert json.loads(json.dumps(to_json(found)))["noise"] is None
    assert not folder.exists(), "asking writes nothing"


def test_a_layout_finds_the_gain_and_is_priced(folder: Path, corpus: Corpus) -> None:
    study = Study.open(folder, problem(corpus), corpus, METHOD)
    noise = study.pilot(runner=Inline())
    cost = study.cost(workers=1, verify_seeds=3, speed="assumed")
    gain = Gain(100 * noise.sd / noise.natural, "%")
    found = detect(study, gain, cost, 3)
    assert found.bits == pytest.approx(noise.sd)
    assert found.as_written.finds == detectable(noise.sd, 3)
    assert found.needed is not None
    assert found.cautious is not None
    assert detectable(noise.sd, found.needed.verify_blocks) <= noise.sd
    assert detectable(noise.sd, found.needed.verify_blocks - 1) > noise.sd
    assert found.cautious.verify_blocks > found.needed.verify_blocks
    assert found.needed.search_blocks >= 4
    assert found.needed.half_width is not None
    assert found.needed.half_width <= noise.sd
    for layout in (found.as_written, found.needed, found.cautious):
        assert layout.verify_runs == 5 * layout.verify_blocks
        assert layout.search_runs == 6 * layout.search_blocks, "as many runs a block as in the study"
        assert layout.bill.tokens == (layout.search_runs + layout.verify_runs) * cost.each.tokens
        assert layout.bill.seconds == pytest.approx((layout.search_runs + layout.verify_runs) * cost.each.seconds)
    assert cost.runs + cost.finished == 24, "what is finished is still in the plan"
    text = str(found)
    assert "as written" in text
    assert f"seeds: {found.needed.verify_blocks}" in text


def test_what_is_out_of_reach_is_said(folder: Path, corpus: Corpus) -> None:
    study = Study.open(folder, problem(corpus), corpus, METHOD)
    noise = study.pilot(runner=Inline())
    cost = study.cost(verify_seeds=3, speed="assumed")
    found = detect(study, Gain(noise.sd / 100, "bits/byte"), cost, 3)
    assert (found.needed, found.cautious) == (None, None)
    assert "out of reach: 200 blocks" in str(found)
    assert "its own --pilot" in str(found)
    measured = Noise(0.001, 0.0008, 0.0015, 0.0012, 4, 2.0)
    assert "noise was measured: 0.0010" in str(replace(found, larger=measured)), "only what was measured is said"


def test_methods_that_repeat_nothing_have_no_pilot(folder: Path, corpus: Corpus) -> None:
    study = Study.open(folder, problem(corpus), corpus, Random(runs=12, blocks=4))
    found = detect(study, Gain(1, "%"), study.cost(speed="assumed"), 4)
    assert found.pilot_runs == 0
    with pytest.raises(UsageError, match="no mixture beside natural in two blocks"):
        study.pilot(runner=Inline())
    assert study.trials() == ()
    study.run(runner=Inline())
    assert study.noise() is None
    study.verify(study.choose(), seeds=3, runner=Inline())
    noise = study.noise()
    assert noise is not None, "its verification measures it"
    assert noise.blocks == 3


def test_a_verification_of_none_finds_nothing(folder: Path, corpus: Corpus) -> None:
    study = Study.open(folder, problem(corpus), corpus, Grid())
    study.pilot(runner=Inline())
    found = detect(study, Gain(0.1, "bits/byte"), study.cost(verify_seeds=0, speed="assumed"), 0)
    assert (found.as_written.verify_runs, found.as_written.finds) == (0, None)
    assert "as written" in str(found)
