"""The paired noise of a table."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from cuvee.predict.detect import paired_noise
from tests.predict.tables import make

A_T = np.array([0.5, 0.5])


def test_noise_is_that_of_differences_to_natural_pooled_over_repeated_mixtures() -> None:
    rng = np.random.default_rng(0)
    table = make(lambda w_ND: w_ND[:, :2], runs=600, blocks=100)
    mixture_N = np.tile(np.arange(6), 100)
    block_N = np.repeat(np.arange(100), 6)
    loss_NT = np.repeat(rng.normal(size=(100, 1)), 6, axis=0) + mixture_N[:, None] + 0.02 * rng.normal(size=(600, 2))
    repeated = replace(table, mixture_N=mixture_N, block_N=block_N, loss_NT=loss_NT)
    # the mean of two targets, minus natural's: sqrt(2) x 0.02 / sqrt(2)
    assert paired_noise(repeated, A_T) == pytest.approx(0.02, rel=0.15)


def test_nothing_repeated_or_no_natural_tells_no_noise() -> None:
    table = make(lambda w_ND: w_ND[:, :2], runs=12, blocks=3)
    assert math.isnan(paired_noise(table, A_T))
    without = replace(table, mixture_N=np.ones(12, np.int64))
    assert math.isnan(paired_noise(without, A_T))
