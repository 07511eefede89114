"""Noise between blocks, and the gain that a paired test over blocks would find. What a search cannot resolve, and need not."""

from __future__ import annotations

import math

import numpy as np

from cuvee.mixture.weights import Array
from cuvee.predict.table import Table

SIGNIFICANCE = 0.05
"""One-sided level of the test."""
POWER = 0.80


def detectable(sd: float, blocks: int) -> float:
    """The gain in bits/byte that a one-sided paired t test at 5 % over so many blocks finds with 80 % power.

    Args:
        sd: Standard deviation of the paired differences between blocks.
        blocks: B; below 2 no gain is detectable (infinite).
    """
    if blocks < 2 or math.isnan(sd):
        return math.nan if math.isnan(sd) else math.inf
    from scipy import optimize, special

    critical = float(special.stdtrit(blocks - 1, 1 - SIGNIFICANCE))

    def missing(shift: float) -> float:
        return 1 - float(special.nctdtr(blocks - 1, shift, critical)) - POWER

    high = critical + 1  # not much more than needed: far out in the tail nctdtr is NaN for many degrees of freedom
    while missing(high) < 0:
        high *= 2
    shift = optimize.brentq(missing, 0.0, high)
    return float(shift) * sd / math.sqrt(blocks)


def paired_noise(table: Table, a_T: Array) -> float:
    """Standard deviation between blocks of the objective's difference to natural, in bits/byte, pooled over the mixtures
    that ran in two blocks or more; NaN without any."""
    gain_N = table.paired(table.objective(a_T))
    usable_N = np.isfinite(gain_N) & ~table.natural_N
    square, freedom = 0.0, 0
    for mixture in np.unique(table.mixture_N[usable_N]):
        gains = gain_N[usable_N & (table.mixture_N == mixture)]
        square += float(np.sum((gains - gains.mean()) ** 2))
        freedom += len(gains) - 1
    return math.sqrt(square / freedom) if freedom else math.nan
