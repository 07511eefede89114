"""What a loader of variable length keeps: its state, and batches that have been assigned ahead of their being served.

Letters: D domains, K lengths, N batches ahead, R rows of this rank in them, G groups of rows of one batch and domain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cuvee.base.files import FORMAT
from cuvee.stream.joint import Dealt, Deficits, Table, advanced
from cuvee.stream.repetition import Repetition
from cuvee.stream.state import Change, Exhausted, Weights

Ints = NDArray[np.int64]
MOVING = ("corpus", "events", "batches", "deficits", "counts", "exhausted")
"""Fields of a state in which two of one run may differ, or that are compared on their own."""


@dataclass(frozen=True)
class DecompositionState:
    """Where a run is: O(domains x lengths). Says nothing of ranks, so any world size may go on.

    Args:
        lengths: The shortest and the longest.
        events: Live changes.
        deficits: What the lengths are owed, in 2^-32 batches; then for every length what the domains are, in 2^-32 rows.
            Integers to base 36, the last of each left out, which is less the sum of the others.
        counts: Pieces served of each domain and length, a domain at a time; integers to base 36.
        exhausted: Domains that have reached their caps.
    """

    corpus: str
    seed: int
    lengths: tuple[int, int]
    batch_tokens: int
    curriculum: str
    domains: tuple[str, ...]
    phases: tuple[Weights, ...]
    events: tuple[Change, ...]
    batches: int
    deficits: tuple[str, ...]
    counts: str
    repetition: Repetition | None = None
    exhausted: tuple[Exhausted, ...] = field(default=())
    format: int = FORMAT


class Mark(NamedTuple):
    """From the batch of this number on batches are dealt by this table, from these deficits."""

    batch: int
    table: Table
    deficits: Deficits


@dataclass(frozen=True, eq=False)
class Ahead:
    """Batches that have been assigned.

    Args:
        before: The order as the batches before left it.
        marks: How it stood where they begin and wherever the table changed.
        counts_DK: Pieces served before them.
    """

    before: Mark
    marks: tuple[Mark, ...]
    dealt: Dealt
    counts_DK: Ints

    @property
    def end(self) -> int:
        """The number of the first batch after these."""
        return self.before.batch + self.dealt.size

    def at(self, batch: int) -> Mark:
        """The order as the batches before this one left it."""
        first = self.before.batch
        mark = [self.before, *(m for m in self.marks if m.batch < batch)][-1]
        since = self.dealt.part(mark.batch - first, batch - first)
        return Mark(batch, mark.table, advanced(mark.table, mark.deficits, since))


class Rows(NamedTuple):
    """This rank's rows of batches ahead, a batch at a time and in it a domain at a time.

    Args:
        groups_N1: Groups of one batch and domain before each batch, and in all.
        edges_G1: Rows before each group, and in all.
        domain_R: The domain of each row.
        at_R: Which row of its batch it is.
        place_R: Where its piece begins in its domain's source.
    """

    groups_N1: list[int]
    edges_G1: list[int]
    domain_R: Ints
    at_R: Ints
    place_R: Ints


def packed(values: Sequence[int]) -> str:
    """Integers to base 36, which is shorter."""
    return " ".join(np.base_repr(v, 36) for v in values)


def unpacked(text: str) -> tuple[int, ...]:
    """The integers of such a text."""
    return tuple(int(word, 36) for word in text.split())


def whole(values: tuple[int, ...]) -> tuple[int, ...]:
    """With the last, which was left out, such that they sum to 0."""
    return (*values, -sum(values))
