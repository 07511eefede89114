"""What a loader of variable length keeps: its state, and batches that have been assigned ahead of their being served.

Letters: D domains, K lengths, N batches ahead, R rows of this rank in them, G groups of rows of one batch and domain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cuvee.base.errors import UsageError
from cuvee.base.files import FORMAT
from cuvee.base.permutation import permute_all
from cuvee.base.rng import key64
from cuvee.stream.joint import Dealt, Deficits, Table, advanced
from cuvee.stream.lengths import Pieces
from cuvee.stream.repetition import Repetition
from cuvee.stream.state import Change, Exhausted, Weights

Ints = NDArray[np.int64]


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
    exhausted: tuple[Exhausted, ...] = ()
    format: int = FORMAT

    @property
    def owed(self) -> Deficits:
        """The deficits as numbers."""
        owed = [_unpacked(text) for text in self.deficits]
        lengths, *domains = ((*values, -sum(values)) for values in owed)
        return Deficits(lengths, tuple(domains))

    @property
    def served(self) -> Ints:
        """The counts as numbers, shape (D, K)."""
        return np.array(_unpacked(self.counts), np.int64).reshape(len(self.domains), -1)


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


def packed_deficits(deficits: Deficits) -> tuple[str, ...]:
    """As a state holds them."""
    return tuple(packed(owed[:-1]) for owed in (deficits.lengths, *deficits.domains))


def _unpacked(text: str) -> tuple[int, ...]:
    return tuple(int(word, 36) for word in text.split())


def first_beyond(
    dealt: Dealt, counts_DK: Ints, powers: tuple[int, ...], limits: Mapping[int, int]
) -> tuple[int, int] | None:
    """(batch, domain) of the first that would take a domain beyond its limit of tokens, from `counts_DK` before; else None."""
    found, power_K = [], np.array(powers)
    for i, limit in limits.items():
        tokens_N = np.cumsum(dealt.rows_ND[:, i] << power_K[dealt.lengths_N])
        batch = int(np.searchsorted(tokens_N, limit - int((counts_DK[i] << power_K).sum()), side="right"))
        if batch < dealt.size:
            found.append((batch, i))
    return min(found, default=None)


def located(ahead: Ahead, pieces: Pieces, powers: tuple[int, ...], seed: int, rank: int, world_size: int) -> Rows:
    """The rows of one rank of batches ahead, and where their pieces are."""
    dealt, (domains, lengths) = ahead.dealt, ahead.counts_DK.shape
    rows_N = dealt.rows_ND.sum(1)
    start_N = np.cumsum(rows_N) - rows_N
    first_ND, at_R = np.empty_like(dealt.rows_ND), np.empty(int(rows_N.sum()), np.int64)
    for k in np.flatnonzero(np.bincount(dealt.lengths_N)).tolist():
        mine_N = np.flatnonzero(dealt.lengths_N == k)
        had_ND = dealt.rows_ND[mine_N]
        first_ND[mine_N] = ahead.counts_DK[:, k] + np.cumsum(had_ND, axis=0) - had_ND
        # permuted, since equal slices for ranks would be whole ranks of one domain
        keys = [key64(seed, "decomposition", ahead.before.batch + n) for n in mine_N.tolist()]
        place_NR = permute_all(keys, int(rows_N[mine_N[0]]))
        at_R[start_N[mine_N, None] + np.arange(place_NR.shape[1])] = place_NR
    had_G = dealt.rows_ND.ravel()
    group_R = np.repeat(np.arange(had_G.size), had_G)
    item_R = np.arange(group_R.size) + np.repeat(first_ND.ravel() - (np.cumsum(had_G) - had_G), had_G)
    if world_size > 1:
        share_R = np.repeat(rows_N // world_size, rows_N)
        mine_R = np.flatnonzero(at_R // share_R == rank)
        group_R, item_R, at_R = group_R[mine_R], item_R[mine_R], at_R[mine_R] - rank * share_R[mine_R]
    batch_R, domain_R = np.divmod(group_R, domains)
    place_R = pieces.places(domain_R * lengths + dealt.lengths_N[batch_R], item_R)
    edges_G1 = np.flatnonzero(np.diff(group_R, prepend=-1, append=-1))
    groups_N1 = np.searchsorted(batch_R[edges_G1[:-1]], np.arange(dealt.size + 1))
    return Rows(groups_N1.tolist(), edges_G1.tolist(), domain_R, at_R, place_R)


def powers_of(shortest: int, longest: int) -> tuple[int, ...]:
    """The binary logarithms of the lengths from the shortest to the longest.

    Raises:
        UsageError: one is no power of two, or they are the wrong way round.
    """
    for size in (shortest, longest):
        if size < 1 or size & (size - 1):
            raise UsageError(
                f"got a length of {size} tokens", wanted="a power of two", fix="256 and 8192, for instance"
            )
    if longest < shortest:
        raise UsageError(
            f"got rows of at most {longest:,} tokens and at least {shortest:,}", wanted="shortest <= longest"
        )
    return tuple(range(shortest.bit_length() - 1, longest.bit_length()))
