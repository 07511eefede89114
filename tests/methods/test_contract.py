"""Every built-in method under the contract suite."""

from __future__ import annotations

import pytest

from cuvee.methods import Natural, Random, Regression, Temperature, Uniform, UniMax
from cuvee.testing.methods import MethodSuite


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
    method = Regression(runs=12, blocks=2)


@pytest.mark.slow
class TestRegressionRidge(MethodSuite):
    method = Regression(runs=12, blocks=3, rounds=3, predictor="ridge-log")
