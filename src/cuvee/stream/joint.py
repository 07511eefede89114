"""Which length a batch has and which domains are in it, so that domain shares and length shares hold together.

All batches have T tokens: of length S, T / S rows. An `Order` deals batches to lengths; for every length `shared_out` deals the
rows of its batches to domains, at the domains' shares among the tokens of that length. It holds the bound of `Order` after
every batch, by the same rule: rows are jobs with a release time and a deadline, and of those released by the end of a batch
the ones with the earliest deadlines are in it. That meets all deadlines if anything does (unit jobs on as many machines as a
batch has rows), and Tijdeman's sequence of single rows, cut into batches, does. Only how many rows a domain has in a batch is
worked out, since a batch is permuted anyway.

The joint deficit E of a cell (domain, length) is its share of all tokens so far less the tokens it has had. With d the length's
deficit in batches, u the domain's share of that length and e its deficit in rows of that length, E = T d u + S e.

Bounds, with b(n) = `order.bound(n)`, D domains, K lengths:

- Table constant: |d| <= b(K) and |e| <= b(D), so that |E| <= T b(K) u + S b(D) for a cell. For a domain, as the d sum to 0,
  |sum of E over lengths| <= T b(K) sum |u - median u| + b(D) sum S, `domain_bound`: under two of the longest rows where all
  domains spread over lengths alike.
- Table changing at will, while cells with a share keep one: no cell is ever ahead by more than T b(K) + S b(D), since a cell
  is served only while e >= 1/(2D-2), and quotas do not fall. So a domain is ahead by at most K T b(K) + b(D) sum S, `ahead_bound`,
  and behind by at most D - 1 times that (all E sum to 0). Both hold after any number of changes: E is carried, not
  rounded into quotas, so that nothing drifts. A cell that loses its share has its deficit moved to the other lengths of its
  domain, a domain that leaves to the others in proportion; domains keep theirs.

Letters: D domains, A of them with a share, K lengths from the shortest to the longest, T tokens of a batch, S tokens of a row,
N batches dealt at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from cuvee.mixture.weights import UNIT, apportion
from cuvee.stream import order
from cuvee.stream.order import Order, bound

Ints = NDArray[np.int64]
Array = NDArray[np.float64]
Units = tuple[int, ...]
_SAFE = 1 << 29
"""Slots, times 2A - 2, below which their jobs fit into 64 bits."""


@dataclass(frozen=True)
class Table:
    """Shares of all tokens for each domain and length, in integers.

    Args:
        lengths: Share of each length in 2^-32, summing to 2^32.
        domains: For each length, the domains' shares of its tokens in 2^-32; empty where the length has none.
    """

    lengths: Units
    domains: tuple[Units, ...]

    @classmethod
    def of(cls, q_DK: Array) -> Self:
        """The table nearest to `q_DK`: lengths by largest remainder, then the domains of each."""
        lengths = tuple(apportion(q_DK.sum(0), UNIT))
        columns = zip(lengths, q_DK.T, strict=True)
        return cls(lengths, tuple(tuple(apportion(q_D, UNIT)) if u else () for u, q_D in columns))

    @cached_property
    def cells(self) -> list[list[int]]:
        """Shares in 2^-64, [length][domain]; 0 where a cell has none."""
        width = max(map(len, self.domains))
        return [
            [v * u for u in units] if units else [0] * width
            for v, units in zip(self.lengths, self.domains, strict=True)
        ]


@dataclass(frozen=True)
class Deficits:
    """The state of a joint order: of lengths in 2^-32 batches, of domains within each length in 2^-32 rows."""

    lengths: Units
    domains: tuple[Units, ...]


@dataclass(frozen=True, eq=False)
class Dealt:
    """Batches that have been assigned.

    Args:
        lengths_N: The length of each batch, by its index.
        rows_ND: Rows of each domain in it.
    """

    lengths_N: Ints
    rows_ND: Ints

    @property
    def size(self) -> int:
        """N."""
        return self.lengths_N.size

    def part(self, start: int, stop: int) -> Dealt:
        """Batches `start` to `stop`."""
        return Dealt(self.lengths_N[start:stop], self.rows_ND[start:stop])

    def counts(self, lengths: int) -> Ints:
        """Rows of each domain and length, shape (D, K)."""
        return np.stack([self.rows_ND[self.lengths_N == k].sum(0) for k in range(lengths)], axis=1)


class JointOrder:
    """Assigns batches to lengths and their rows to domains.

    Args:
        table: The shares to begin with.
        powers: The binary logarithm of each length, rising.
        tokens: Of a batch, a multiple of the longest.
    """

    def __init__(self, table: Table, powers: tuple[int, ...], tokens: int, deficits: Deficits | None = None) -> None:
        assert len(powers) == len(table.lengths), powers
        assert tokens % (1 << powers[-1]) == 0, (tokens, powers)
        self.powers, self.tokens = powers, tokens
        width = max(map(len, table.domains))
        found = deficits or Deficits((0,) * len(powers), ((0,) * width,) * len(powers))
        self._start(table, found)

    def _start(self, table: Table, deficits: Deficits) -> None:
        self.table = table
        self._idle = (0,) * max(map(len, table.domains))
        self._lengths = Order(table.lengths, deficits.lengths)
        self._owed = deficits.domains

    @property
    def deficits(self) -> Deficits:
        """Where it is; with the table all there is to carry."""
        return Deficits(self._lengths.deficits, self._owed)

    def assign(self, batches: int) -> Dealt:
        """Deal the next batches; the same, however many are dealt at once."""
        before = self.deficits
        lengths_N, rows_ND = self._lengths.assign(batches), np.zeros((batches, len(self._idle)), np.int64)
        for k in np.flatnonzero(np.bincount(lengths_N)).tolist():
            mine_N = np.flatnonzero(lengths_N == k)
            rows_ND[mine_N] = shared_out(
                self.table.domains[k], before.domains[k], self.tokens >> self.powers[k], mine_N.size
            )
        dealt = Dealt(lengths_N, rows_ND)
        self._owed = advanced(self.table, before, dealt).domains
        return dealt

    def owed(self) -> list[list[int]]:
        """The joint deficits E in 2^-32 tokens, [length][domain]."""
        found = self.deficits
        rows = zip(self.powers, found.lengths, self.table.domains, found.domains, strict=True)
        return [
            [self.tokens * d * u // UNIT + (e << power) for u, e in zip(units or self._idle, owed, strict=True)]
            for power, d, units, owed in rows
        ]

    def change(self, table: Table) -> None:
        """Go on at another table, joint deficits carried."""
        owed_KD = settled(self.owed(), table.cells)
        lengths = [sum(owed_D) // self.tokens for owed_D in owed_KD]
        _absorb(lengths, table.lengths)
        domains = []
        for power, d, units, owed_D in zip(self.powers, lengths, table.domains, owed_KD, strict=True):
            rows = [o - self.tokens * d * u // UNIT >> power for o, u in zip(owed_D, units, strict=False)]
            if units:
                _absorb(rows, units)
            domains.append(tuple(rows) if units else self._idle)
        self._start(table, Deficits(tuple(lengths), tuple(domains)))


def advanced(table: Table, deficits: Deficits, dealt: Dealt) -> Deficits:
    """The deficits after what was dealt by `table`, from those before."""
    domains = []
    for k, (units, owed) in enumerate(zip(table.domains, deficits.domains, strict=True)):
        had_D = dealt.rows_ND[dealt.lengths_N == k].sum(0).tolist()
        rows = sum(had_D)
        domains.append(
            tuple(e + u * rows - UNIT * had for e, u, had in zip(owed, units, had_D, strict=True)) if rows else owed
        )
    return Deficits(order.advanced(table.lengths, deficits.lengths, dealt.lengths_N), tuple(domains))


def shared_out(units: Units, deficits: Units, rows: int, batches: int) -> Ints:
    """The rows of each domain in each of the next `batches` batches of `rows` rows, at weights `units`; shape (N, D).

    Where more rows are past their deadlines than a batch has, which only a change of weights can bring about, `Order` deals that
    batch, the largest deficit first.
    """
    rows_ND = np.zeros((batches, len(units)), np.int64)
    active = np.flatnonzero(units)
    if active.size == 1:
        rows_ND[:, active] = rows
        return rows_ND
    # times s = 2A - 2, all is whole: the job of row c is released at s (quota - c) >= 1, due at s (quota - c) > s - 1
    scale, most = 2 * active.size - 2, max(abs(e) for e in deficits) // UNIT + 1
    at_once = (_SAFE // scale - most) // rows
    units_A, owed_A = (np.array([values[i] for i in active.tolist()], object) for values in (units, deficits))
    if at_once < 1:  # beyond 64 bits
        return _dealt_singly(units, deficits, rows, batches)
    for first in range(0, batches, at_once):
        n = min(at_once, batches - first)
        had_NA = _earliest_deadlines(units_A.astype(np.int64), owed_A.astype(np.int64), rows, n)
        rows_ND[first : first + n, active] = had_NA
        owed_A = owed_A + units_A * (rows * n) - had_NA.sum(0).astype(object) * UNIT
    return rows_ND


def _earliest_deadlines(units_A: Ints, owed_A: Ints, rows: int, batches: int) -> Ints:
    scale, end_N = 2 * units_A.size - 2, rows * np.arange(1, batches + 1)
    quota_NA = scale * (owed_A + units_A * end_N[:, None])
    released_NA = (quota_NA - UNIT) // (scale * UNIT) + 1
    due_NA = -((UNIT * (scale - 1) - quota_NA) // (scale * UNIT))
    # at most one job of a domain is released and not yet due: the last released
    deadline_NA = (scale * (UNIT * (released_NA - 1) - owed_A) + UNIT * (scale - 1)) // (scale * units_A)
    had_A, found_NA = np.zeros(units_A.size, np.int64), np.empty_like(released_NA)
    for n, end in enumerate(end_N.tolist()):
        next_A = np.maximum(had_A, due_NA[n])
        more = end - int(next_A.sum())
        if more < 0:
            owed = tuple((owed_A + units_A * (end - rows) - UNIT * had_A).tolist())
            next_A = had_A + _dealt_singly(tuple(units_A.tolist()), owed, rows, 1)[0]
        elif more:
            free = np.flatnonzero(released_NA[n] > next_A)
            next_A[free[np.argsort(deadline_NA[n, free], kind="stable")[:more]]] += 1
        found_NA[n] = next_A - had_A
        had_A = next_A
    return found_NA


def _dealt_singly(units: Units, deficits: Units, rows: int, batches: int) -> Ints:
    dealer = Order(units, deficits)
    return np.stack([np.bincount(dealer.assign(rows), minlength=len(units)) for _ in range(batches)])


def settled(owed_KD: list[list[int]], cells_KD: list[list[int]]) -> list[list[int]]:
    """Deficits moved out of cells without a share: to the other lengths of the domain, or to all cells if it has no share."""
    lengths, domains = len(owed_KD), len(owed_KD[0])
    moved_KD, pot = [list(row) for row in owed_KD], 0
    for i in range(domains):
        cells = [cells_KD[k][i] for k in range(lengths)]
        lost = sum(moved_KD[k][i] for k in range(lengths) if not cells[k])
        parts = _spread(lost, cells)
        for k in range(lengths):
            moved_KD[k][i] = moved_KD[k][i] + parts[k] if cells[k] else 0
        pot += 0 if any(cells) else lost
    for n, part in enumerate(_spread(pot, [c for row in cells_KD for c in row])):
        moved_KD[n // domains][n % domains] += part
    return moved_KD


def _spread(amount: int, weights: list[int]) -> list[int]:
    """`amount` in proportion to the weights, in integers; nothing if they are all 0."""
    total = sum(weights)
    if not total or not amount:
        return [0] * len(weights)
    parts = [amount * w // total for w in weights]
    parts[weights.index(max(weights))] += amount - sum(parts)
    return parts


def _absorb(values: list[int], units: Units) -> None:
    """Make the values sum to 0, which rounding has left a few units off, at the largest of `units`."""
    values[units.index(max(units))] -= sum(values)


def domain_bound(table: Table, powers: tuple[int, ...], tokens: int) -> float:
    """The most tokens by which any domain may be off its share after any batch, at a constant table and from a fresh start."""
    active = [k for k, u in enumerate(table.lengths) if u]
    shares = np.stack([np.array(table.domains[k], np.float64) for k in active]) / UNIT
    within = sum(bound(sum(u > 0 for u in table.domains[k])) * (1 << powers[k]) for k in active)
    spread_D = np.abs(shares - np.median(shares, axis=0)).sum(0)
    return float(tokens * bound(len(active)) * spread_D.max() + within)


def ahead_bound(domains: int, powers: tuple[int, ...], tokens: int) -> float:
    """The most tokens by which a domain may be ahead of its share after any batch, whatever the changes among the same cells."""
    return len(powers) * tokens * bound(len(powers)) + bound(domains) * sum(1 << p for p in powers)
