"""Which length a batch has and which domains are in it, so that domain shares and length shares hold together.

All batches have T tokens: of length S, T / S rows. An `Order` deals batches to lengths; for every length an `Order` of its own
deals its rows to domains, at the domains' shares among the tokens of that length. The joint deficit E of a cell (domain,
length) is its share of all tokens so far less the tokens it has had. With d the length's deficit in batches, u the domain's
share of that length and e its deficit in that length's order, in rows, E = T d u + S e.

Bounds, with b(n) = `order.bound(n)`, D domains, K lengths:

- Table constant: |d| <= b(K) and |e| <= b(D), so that |E| <= T b(K) u + S b(D) for a cell. For a domain, as the d sum to 0,
  |sum of E over lengths| <= T b(K) sum |u - median u| + b(D) sum S, `domain_bound`: under two of the longest rows where all
  domains spread over lengths alike.
- Table changing at will, while cells with a share keep one: no cell is ever ahead by more than T b(K) + S b(D), since a cell
  is served only while e >= 1/(2D-2), and quotas do not fall. So a domain is ahead by at most K T b(K) + b(D) sum S, `ahead_bound`,
  and behind by at most D - 1 times that (all E sum to 0). Both hold after any number of changes: E is carried, not
  rounded into quotas, so that nothing drifts. A cell that loses its share has its deficit moved to the other lengths of its
  domain, a domain that leaves to the others in proportion; domains keep theirs.

Letters: D domains, K lengths from the shortest to the longest, T tokens of a batch, S tokens of a row, N batches dealt at once,
R rows of all of them.
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
    def shares(self) -> Array:
        """As shares of all tokens, shape (D, K)."""
        width = max(map(len, self.domains))
        columns = [np.array(u, np.float64) if u else np.zeros(width) for u in self.domains]
        return np.stack(columns, axis=1) / UNIT * (np.array(self.lengths, np.float64) / UNIT)

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
        rows_N1: Rows before each batch, and in all.
        domains_R: The domain of each row, in the order they were dealt.
    """

    lengths_N: Ints
    rows_N1: Ints
    domains_R: Ints

    @property
    def size(self) -> int:
        """N."""
        return self.lengths_N.size

    def part(self, start: int, stop: int) -> Dealt:
        """Batches `start` to `stop`."""
        rows_N1 = self.rows_N1[start : stop + 1]
        domains_R = self.domains_R[rows_N1[0] : rows_N1[-1]]
        return Dealt(self.lengths_N[start:stop], rows_N1 - rows_N1[0], domains_R)

    def then(self, other: Dealt) -> Dealt:
        """These batches and then those."""
        return Dealt(
            np.concatenate([self.lengths_N, other.lengths_N]),
            np.concatenate([self.rows_N1[:-1], other.rows_N1 + self.rows_N1[-1]]),
            np.concatenate([self.domains_R, other.domains_R]),
        )

    @property
    def length_R(self) -> Ints:
        """The length of each row's batch."""
        return np.repeat(self.lengths_N, np.diff(self.rows_N1))

    def counts(self, domains: int, lengths: int) -> Ints:
        """Rows of each domain and length, shape (D, K)."""
        cells_R = self.domains_R * lengths + self.length_R
        return np.bincount(cells_R, minlength=domains * lengths).reshape(domains, lengths)


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
        pairs = zip(table.domains, deficits.domains, strict=True)
        self._domains = [Order(units, owed) if units else None for units, owed in pairs]

    @property
    def deficits(self) -> Deficits:
        """Where it is; with the table all there is to carry."""
        return Deficits(self._lengths.deficits, tuple(o.deficits if o else self._idle for o in self._domains))

    def assign(self, batches: int) -> Dealt:
        """Deal the next batches; the same, however many are dealt at once."""
        lengths_N = self._lengths.assign(batches)
        sizes_K = self.tokens >> np.array(self.powers)
        rows_N1 = np.concatenate([[0], np.cumsum(sizes_K[lengths_N])])
        domains_R = np.empty(rows_N1[-1], np.int64)
        for k in np.unique(lengths_N).tolist():
            dealer, rows = self._domains[k], int(sizes_K[k])
            assert dealer is not None
            first = rows_N1[:-1][lengths_N == k]
            domains_R[(first[:, None] + np.arange(rows)).ravel()] = dealer.assign(first.size * rows)
        return Dealt(lengths_N, rows_N1, domains_R)

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
    length_R, domains = dealt.length_R, []
    for k, (units, owed) in enumerate(zip(table.domains, deficits.domains, strict=True)):
        slots = dealt.domains_R[length_R == k]
        domains.append(order.advanced(units, owed, slots) if slots.size else owed)
    return Deficits(order.advanced(table.lengths, deficits.lengths, dealt.lengths_N), tuple(domains))


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
    if pot:
        for k, i, part in _each(_spread(pot, [c for row in cells_KD for c in row]), domains):
            moved_KD[k][i] += part
    return moved_KD


def _each(parts: list[int], domains: int) -> list[tuple[int, int, int]]:
    return [(*divmod(n, domains), part) for n, part in enumerate(parts)]


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
