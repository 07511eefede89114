"""Batches whose slots have been assigned ahead of their being served, and how the order stood before each of them.

Letters: D domains, N batches ahead, B sequences of a global batch, R rows of it that are read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Slots = NDArray[np.int64]


class Mark(NamedTuple):
    """From the batch of this number on the order has these weights, and before its first slot these deficits."""

    batch: int
    units: tuple[int, ...]
    deficits: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Ahead:
    """Batches whose slots have been assigned.

    Args:
        slots_NB: Domains in the order they were dealt.
        counts_D: Items of each domain served before the first of them.
        before: The order as the batches before it left it; its batch is the first here.
        marks: Where weights changed, the first at the first batch; none if they do within a batch, which then is the only one.
    """

    slots_NB: Slots
    counts_D: NDArray[np.int64]
    before: Mark
    marks: tuple[Mark, ...]

    @property
    def end(self) -> int:
        """The number of the first batch after these."""
        return self.before.batch + len(self.slots_NB)

    def since(self, batch: int) -> tuple[Mark, Slots]:
        """The last mark before the batch of this number, and the slots from there to it, shape n."""
        first = self.before.batch
        mark = [self.before, *(m for m in self.marks if m.batch < batch)][-1]
        return mark, self.slots_NB[mark.batch - first : batch - first].ravel()


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows that are read of batches ahead, in their permuted order; shape (N, R) both.

    Args:
        places_NR: Where each row is among its domain's items.
    """

    domains_NR: Slots
    places_NR: NDArray[np.int64]
