from __future__ import annotations

import numpy as np
import pytest

from cuvee.base.errors import UsageError
from cuvee.mixture.closed_form import natural, temperature, uniform, unimax

TOKENS = (8_000, 1_000, 400, 100)


def test_natural_and_uniform() -> None:
    np.testing.assert_allclose(natural(TOKENS), np.array(TOKENS) / 9_500)
    np.testing.assert_allclose(uniform(TOKENS), [0.25] * 4)


def test_temperature_limits() -> None:
    np.testing.assert_allclose(temperature(TOKENS, 1.0), natural(TOKENS))
    np.testing.assert_allclose(temperature(TOKENS, 1e9), uniform(TOKENS), atol=1e-8)
    np.testing.assert_allclose(temperature(TOKENS, 1e-2), [1, 0, 0, 0], atol=1e-12)
    np.testing.assert_allclose(temperature((100, 400), 2.0), [1 / 3, 2 / 3])


def test_unimax_printed_example() -> None:
    """The example that the unimax_sampling package prints: five languages, 250e9 characters, 4 epochs."""
    characters = (179_955_884_499, 184_595_788_282, 42_541_080_893, 10_027_573_389, 549_707_867)
    budgets = unimax(characters, 250_000_000_000, 4) * 250e9
    np.testing.assert_allclose(budgets[[4, 3]], [2_198_831_468, 40_110_293_556], rtol=1e-9)
    np.testing.assert_allclose(budgets[:3], [69.23e9] * 3, rtol=1e-4)


def test_unimax_limits() -> None:
    np.testing.assert_allclose(unimax(TOKENS, 100, 4), uniform(TOKENS))
    np.testing.assert_allclose(unimax(TOKENS, 1e9, 4), natural(TOKENS))


def test_bad_arguments() -> None:
    with pytest.raises(UsageError):
        temperature(TOKENS, 0.0)
    with pytest.raises(UsageError):
        unimax(TOKENS, 10, 0)
    for tokens in ((), (0, 1)):
        with pytest.raises(UsageError):
            natural(tokens)
