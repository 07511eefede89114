"""What attention needs to keep documents of a row apart: position ids, `cu_seqlens`, and labels without padding.

All take document numbers as `Batch.documents` gives them, -1 where padding. A segment is a run of one document within a row;
a row's end ends it, and padding is a segment of its own. For the inputs of a batch, give `documents[:, :-1]`.
Letters: N rows, L tokens of a row.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

IGNORED = -100
"""The label that torch's cross entropy leaves out."""


def begins(documents_NL: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Whether a token is the first of its segment, shape (N, L)."""
    first_NL = np.ones(documents_NL.shape, bool)
    np.not_equal(documents_NL[:, 1:], documents_NL[:, :-1], out=first_NL[:, 1:])
    return first_NL


def positions(documents_NL: NDArray[np.int32]) -> NDArray[np.int32]:
    """Place of each token in its segment, from 0; shape (N, L)."""
    place_L = np.arange(documents_NL.shape[1], dtype=np.int32)
    return place_L - np.maximum.accumulate(np.where(begins(documents_NL), place_L, 0), axis=1, dtype=np.int32)


def cu_seqlens(documents_NL: NDArray[np.int32]) -> NDArray[np.int32]:
    """Where segments begin in the rows laid end to end, and N L at the end; shape (segments + 1).

    As kernels for sequences of varying length take them (flash-attn's `cu_seqlens_q` and `cu_seqlens_k`). The longest segment
    is `np.diff(cu_seqlens).max()`.
    """
    return np.append(np.flatnonzero(begins(documents_NL)), documents_NL.size).astype(np.int32)


def labels(tokens_NL1: NDArray[np.int64], documents_NL1: NDArray[np.int32]) -> NDArray[np.int64]:
    """The targets `tokens[:, 1:]` with `IGNORED` where padding, shape (N, L)."""
    return np.where(documents_NL1[:, 1:] >= 0, tokens_NL1[:, 1:], IGNORED)
