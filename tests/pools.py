"""A source of made-up documents for the tests of several rooms."""

from __future__ import annotations

import numpy as np

from cuvee.shards.pools import Pool


def made(lengths: list[int]) -> Pool:
    """Documents of these lengths, whose tokens count up from 0."""
    ends = np.cumsum(lengths, dtype=np.int64)
    return Pool(np.arange(int(ends[-1])), ends)
