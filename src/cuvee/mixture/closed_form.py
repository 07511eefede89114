"""Mixtures in closed form: natural, uniform, temperature, UniMax. Pure functions of token counts.

Letters: D domains. `tokens_D` are the training tokens available per domain, `w_D` the shares returned.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cuvee.base.errors import UsageError
from cuvee.mixture.weights import Array


def natural(tokens_D: Sequence[int]) -> Array:
    """Shares as the corpus has them: w_i = n_i / sum n."""
    n_D = _counts(tokens_D)
    return np.asarray(n_D / n_D.sum(), np.float64)


def uniform(tokens_D: Sequence[int]) -> Array:
    """The same share for every domain (called stratified in the literature)."""
    return np.full(len(tokens_D), 1.0 / len(tokens_D))


def temperature(tokens_D: Sequence[int], tau: float) -> Array:
    """w_i in proportion to n_i^(1/tau): natural at tau = 1, uniform as tau grows (multilingual BERT and XLM practice).

    Raises:
        UsageError: tau that is not positive.
    """
    if not tau > 0:
        raise UsageError(f"got temperature {tau}", wanted="tau > 0: 1 is natural, larger is flatter")
    log_D = np.log(_counts(tokens_D)) / tau
    w_D = np.exp(log_D - log_D.max())
    return np.asarray(w_D / w_D.sum(), np.float64)


def unimax(tokens_D: Sequence[int], budget: float, max_epochs: float) -> Array:
    """As uniform as a cap on epochs allows (Chung et al. 2023, UniMax, algorithm 1).

    From the smallest domain up, each takes the smaller of an equal share of what is left of the budget and `max_epochs`
    passes over itself; the shares are what was taken. When even `max_epochs` passes over everything do not fill the
    budget, this is natural.

    Args:
        tokens_D: Tokens available per domain.
        budget: Tokens of the run, R.
        max_epochs: Largest number of passes over any domain.

    Raises:
        UsageError: a budget or a number of epochs that is not positive.
    """
    if not (budget > 0 and max_epochs > 0):
        raise UsageError(f"got budget {budget}, max_epochs {max_epochs}", wanted="both positive")
    n_D = _counts(tokens_D)
    taken_D, left = np.zeros(len(n_D)), float(budget)
    for turn, i in enumerate(np.argsort(n_D, kind="stable")):
        taken_D[i] = min(left / (len(n_D) - turn), max_epochs * n_D[i])
        left -= taken_D[i]
    return np.asarray(taken_D / taken_D.sum(), np.float64)


def _counts(tokens_D: Sequence[int]) -> Array:
    n_D = np.array(tokens_D, np.float64)
    if n_D.size == 0 or not np.all(np.isfinite(n_D)) or n_D.min() <= 0:
        raise UsageError(f"got token counts {list(tokens_D)}", wanted="a positive number of tokens in every domain")
    return n_D
