"""A batch: tokens to train on, and where documents begin and end in it for those who ask.

Letters: B sequences of a batch, L sequence length.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cuvee.stream import segments


class Documented(Protocol):
    """What knows the documents of one domain's sequences: its `Items`, for instance."""

    def documents(self, place: int, row_L1: NDArray[np.int32]) -> None:
        """Write the document of each token of the sequence at `place`; -1 where padding."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Sequences to train on: `tokens[:, :-1]` are inputs, `tokens[:, 1:]` targets.

    Args:
        tokens: int64, shape (B, L + 1).
        domains: Index of each sequence's domain in the schedule, shape B.
        items_of: Domain index -> its items, for `documents`.
        places: Where each sequence is among them, shape B.
    """

    tokens: NDArray[np.int64]
    domains: NDArray[np.int64]
    items_of: Mapping[int, Documented]
    places: NDArray[np.int64]

    @cached_property
    def documents(self) -> NDArray[np.int32]:
        """The document of its domain that each token belongs to, -1 where padding; int32, shape (B, L + 1). Read when asked."""
        documents = np.empty(self.tokens.shape, np.int32)
        for i, place, row in zip(self.domains.tolist(), self.places.tolist(), documents, strict=True):
            self.items_of[i].documents(place, row)
        return documents

    @cached_property
    def positions(self) -> NDArray[np.int32]:
        """Place of each token in its document within the row, from 0; int32, shape (B, L + 1)."""
        return segments.positions(self.documents)

    @cached_property
    def cu_seqlens(self) -> NDArray[np.int32]:
        """Where documents begin in the B * L inputs laid end to end, from 0 to B * L; int32 (`segments.cu_seqlens`)."""
        return segments.cu_seqlens(self.documents[:, :-1])

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """The targets, -100 where padding; int64, shape (B, L)."""
        return segments.labels(self.tokens, self.documents)
