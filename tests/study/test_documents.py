"""The document bootstrap against what drawing documents really does."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from cuvee.plan.problem import Target
from cuvee.plan.trial import Curve, Trial
from cuvee.study import judge
from cuvee.study.documents import forgetting_error, ratio_error, text_error
from tests.study.test_judge import QUESTION, mixture, trial


def with_parts(t: Trial, parts: dict[str, tuple[list[float], list[float]]]) -> Trial:
    curves = tuple(
        replace(c, sample_sums=tuple(parts[c.target][0]), sample_sizes=tuple(parts[c.target][1]))
        if c.target in parts
        else c
        for c in t.curves
    )
    return replace(t, curves=curves)


def test_the_error_of_a_ratio_is_what_fresh_documents_show() -> None:
    rng = np.random.default_rng(0)

    def documents(count: int) -> tuple[np.ndarray, np.ndarray]:
        sizes = rng.lognormal(6, 0.5, count)
        return sizes * (-0.02 + rng.normal(0, 0.05, count)), sizes

    ratios = [float(a.sum() / b.sum()) for a, b in (documents(60) for _ in range(3000))]
    errors = [ratio_error(*documents(60)) for _ in range(60)]
    assert float(np.mean(errors)) == pytest.approx(float(np.std(ratios)), rel=0.1)


def test_one_document_says_nothing_of_others() -> None:
    assert ratio_error(np.array([1.0]), np.array([2.0])) == 0.0


def test_targets_are_drawn_apart_and_weighted() -> None:
    rng = np.random.default_rng(1)
    sizes = [1.0] * 50
    ours, natural = trial(mixture(0, 0.5, 0.5), 0, 1, 1, 1), trial(QUESTION.natural, 0, 1, 1, 1)
    a, b, c, d = (rng.normal(1, 0.1, 50).tolist() for _ in range(4))
    pairs = [
        (with_parts(ours, {"a": (a, sizes), "c": (c, sizes)}), with_parts(natural, {"a": (b, sizes), "c": (d, sizes)}))
    ]
    one = text_error([Target("a")], pairs)
    other = text_error([Target("c")], pairs)
    assert one == pytest.approx(float(np.std(np.subtract(a, b), ddof=1)) / math.sqrt(50), rel=0.15)
    assert text_error([Target("a", 3), Target("c", 1)], pairs) == pytest.approx(math.hypot(0.75 * one, 0.25 * other))


def test_the_same_documents_in_all_blocks_average_over_blocks_only() -> None:
    """Noise that differs between blocks averages out in the documents' error; that of the documents themselves stays."""
    rng = np.random.default_rng(2)
    own = rng.normal(0, 0.1, 80)
    sizes = [1.0] * 80

    def pair(block: int) -> tuple[Trial, Trial]:
        ours, natural = trial(mixture(0, 0.5, 0.5), block, 1, 1, 1), trial(QUESTION.natural, block, 1, 1, 1)
        noisy = (own + rng.normal(0, 0.1, 80)).tolist()
        return with_parts(ours, {"a": (noisy, sizes)}), with_parts(natural, {"a": ([0.0] * 80, sizes)})

    few = text_error([Target("a")], [pair(0)])
    many = text_error([Target("a")], [pair(b) for b in range(40)])
    assert few == pytest.approx(math.sqrt(0.02 / 80), rel=0.25)
    assert many == pytest.approx(0.1 / math.sqrt(80), rel=0.25)


def test_forgetting_is_of_the_same_documents_before_and_after() -> None:
    """Documents that are forgotten alike say little of others' luck, those that differ much; natural's runs play no part."""
    rng = np.random.default_rng(4)
    before, sizes = rng.normal(2, 0.5, 60), [1.0] * 60

    def forgot(change: np.ndarray) -> Trial:
        made = with_parts(trial(mixture(0, 0.5, 0.5), 0, 1, 1, 1), {"a": ((before + change).tolist(), sizes)})
        return replace(made, curves=tuple(replace(c, start_sums=tuple(before.tolist())) for c in made.curves))

    assert forgetting_error([Target("a")], [forgot(np.full(60, 0.1))] * 2) == pytest.approx(0.0, abs=1e-12)
    varied = rng.normal(0.1, 0.05, 60)
    assert forgetting_error([Target("a")], [forgot(varied)] * 2) == pytest.approx(
        float(varied.std()) / math.sqrt(60), rel=0.15
    )


def test_trials_without_parts_add_nothing() -> None:
    pairs = [(trial(mixture(0, 0.5, 0.5), 0, 1, 1, 1), trial(QUESTION.natural, 0, 1, 1, 1))]
    assert text_error([Target("a")], pairs) == 0.0


def test_standard_errors_of_an_outside_trainer_count_in_full() -> None:
    """lm-evaluation-harness gives the error by the choice of examples, the same in every block: blocks do not average it."""

    def pair(block: int) -> tuple[Trial, Trial]:
        made = []
        for t in (trial(mixture(0, 0.5, 0.5), block, 1, 1, 1), trial(QUESTION.natural, block, 1, 1, 1)):
            curves = tuple(
                replace(c, errors=(0.5, 0.03 if t.plan.schedule.at(0) == QUESTION.natural else 0.04)) for c in t.curves
            )
            made.append(replace(t, curves=curves))
        return made[0], made[1]

    assert text_error([Target("a")], [pair(b) for b in range(9)]) == pytest.approx(0.05)
    unknown = pair(9)[0]
    unknown = replace(unknown, curves=tuple(replace(c, errors=(math.nan, math.nan)) for c in unknown.curves))
    assert text_error([Target("a")], [pair(0), (unknown, pair(9)[1])]) == pytest.approx(0.05)
    assert text_error([Target("a")], [(unknown, unknown)]) == 0.0


def test_it_widens_intervals() -> None:
    bare = judge.student("x", [-0.1, -0.2, -0.15])
    wide = judge.student("x", [-0.1, -0.2, -0.15], text_error=0.1)
    assert wide.mean == bare.mean
    assert wide.high - wide.low > bare.high - bare.low
    assert wide.p_better < bare.p_better
    assert wide.text_error == 0.1
    # with very many blocks the documents' error is what is left
    rng = np.random.default_rng(3)
    left = judge.student("x", rng.normal(-0.1, 0.01, 400).tolist(), text_error=0.1)
    assert (left.high - left.low) / 2 == pytest.approx(1.65 * 0.1, rel=0.02)


def test_curves_keep_their_parts() -> None:
    curve = Curve("a", (1,), (1.0,), (1.0,), (), (2.0, 4.0), (1.0, 5.0))
    assert sum(curve.sample_sums) / sum(curve.sample_sizes) == curve.bits_per_byte[-1]
