"""Every built-in method under the contract suite."""

from __future__ import annotations

import pytest

from cuvee.methods import Auto, Climb, Halving, Natural, Random, RegMix, Regression, Temperature, Uniform, UniMax
from cuvee.testing.methods import MethodSuite

pytestmark = pytest.mark.slow


class TestNatural(MethodSuite):
    method = Natural()


class TestUniform(MethodSuite):
    method = Uniform()


class TestTemperature(MethodSuite):
    method = Temperature()


class TestUniMax(MethodSuite):
    method = UniMax()


class TestRandom(MethodSuite):
    method = Random(runs=9, blocks=3)


class TestRegression(MethodSuite):
    method = Regression(runs=12, blocks=2, predictor="ridge-log")


class TestRegressionDefault(MethodSuite):
    method = Regression(runs=12, blocks=3, rounds=3)


class TestAuto(MethodSuite):
    method = Auto(runs=12, blocks=3, batch=3, predictor="ridge-log")


class TestRegMix(MethodSuite):
    method = RegMix(runs=12, blocks=3, simulated=2000, best=16, predictor="ridge-log")


class TestClimb(MethodSuite):
    method = Climb(runs=14, blocks=3, sampled=200, predictor="ridge-log")


class TestHalving(MethodSuite):
    method = Halving(runs=15, blocks=3, predictor="ridge-log")


class TestHalvingDefault(MethodSuite):
    method = Halving(runs=18, blocks=3)


class TestAutoDefault(MethodSuite):
    method = Auto(runs=12, blocks=2, batch=4)


class TestAutoWithNGrams(MethodSuite):
    method = Auto(runs=12, blocks=2, batch=4, evidence="ngrams")


class TestRegMixTrees(MethodSuite):
    method = RegMix(runs=12, blocks=2, simulated=2000)
