"""A mixture: shares of tokens over named domains, held as integers over 2^32 that sum to 2^32."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from cuvee.base.errors import UsageError

UNIT = 1 << 32
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Mixture:
    """Weights over domains, in tokens: `units[i] / 2^32` of all tokens come from `domains[i]`.

    Integers, so that equal mixtures are equal, hash alike and give the same order of sequences on every machine.

    Raises:
        UsageError: no domains, a name twice, a negative weight, or units that do not sum to 2^32.
    """

    domains: tuple[str, ...]
    units: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.domains or len(self.domains) != len(self.units):
            raise UsageError(
                f"got {len(self.domains)} domains and {len(self.units)} weights", wanted="as many of each, at least one"
            )
        if len(set(self.domains)) != len(self.domains):
            twice = sorted({d for d in self.domains if self.domains.count(d) > 1})
            raise UsageError(f"domains named twice: {', '.join(twice)}", wanted="every domain once")
        if min(self.units) < 0 or sum(self.units) != UNIT:
            raise UsageError(
                f"got units that sum to {sum(self.units)}, the smallest {min(self.units)}",
                wanted=f"non-negative integers that sum to 2^32 = {UNIT}",
                fix="build mixtures with Mixture.from_shares",
            )

    @classmethod
    def from_shares(cls, shares: Mapping[str, float]) -> Self:
        """The mixture nearest to `shares` (any non-negative scale), by largest remainder.

        Raises:
            UsageError: a weight that is no number, negative or not finite, or all of them zero.
        """
        weights = {domain: _weight(domain, share) for domain, share in shares.items()}
        return cls.from_array(tuple(weights), np.fromiter(weights.values(), np.float64, len(weights)))

    @classmethod
    def from_array(cls, domains: Sequence[str], w_D: Array) -> Self:
        """The mixture nearest to the weights `w_D` (any non-negative scale), by largest remainder.

        Raises:
            UsageError: a weight that is negative or not finite, or all of them zero.
        """
        weights = np.asarray(w_D, np.float64)
        if weights.size == 0 or not np.all(np.isfinite(weights)) or weights.min() < 0 or weights.sum() <= 0:
            raise UsageError(f"got the weights {weights.tolist()}", wanted="finite, non-negative, not all zero")
        return cls(tuple(domains), tuple(apportion(weights, UNIT)))

    @property
    def shares(self) -> Array:
        """Shares of tokens, shape D, summing to 1."""
        return np.array(self.units, np.float64) / UNIT

    def share(self, domain: str) -> float:
        """The share of one domain."""
        return self.units[self.domains.index(domain)] / UNIT

    def as_dict(self) -> dict[str, float]:
        """Domain -> share."""
        return {d: u / UNIT for d, u in zip(self.domains, self.units, strict=True)}

    def tokens(self, total: int) -> tuple[int, ...]:
        """`total` tokens apportioned to the domains, by largest remainder."""
        return tuple(apportion(self.shares, total))


def apportion(weights: Array, total: int) -> list[int]:
    """`total` indivisible units by largest remainder (Hamilton): each within 1 of its share; ties to the first.

    Exact for totals to 2^52.
    """
    quota = np.asarray(weights, np.float64) / np.sum(weights) * total
    floor = np.floor(quota)
    remainder = quota - floor
    missing = total - int(floor.sum())
    order = np.argsort(-remainder, kind="stable")
    counts = floor.astype(np.int64)
    # rounding of the quotas may leave `missing` outside 0..D-1; taking whole turns keeps the sum exact
    for turn in range(abs(missing)):
        counts[order[turn % len(order)] if missing > 0 else order[-1 - turn % len(order)]] += 1 if missing > 0 else -1
    return [int(c) for c in counts]


def _weight(domain: str, share: Any) -> float:
    """Whatever is a number: a tensor of one element too."""
    try:
        found = float("nan") if isinstance(share, str) else float(share)
    except (TypeError, ValueError):
        found = float("nan")
    if not 0 <= found < float("inf"):
        raise UsageError(f"got the weight {share!r} for {domain!r}", wanted="a number from 0 on")
    return found
