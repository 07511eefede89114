"""How often the text of a domain may be repeated, and what happens when it has been."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from cuvee.base.codec import nearest
from cuvee.base.errors import DataError, UsageError
from cuvee.mixture.weights import UNIT

Policy = Literal["error", "redistribute", "repeat"]
UNBOUNDED = 1 << 62


@dataclass(frozen=True)
class Repetition:
    """Caps on the passes over domains, and the policy for a domain that has reached its cap.

    Args:
        max_epochs: Most passes over every domain, or domain -> most passes; fractions cut within a pass.
        then: "error" stops before the batch that would go beyond the cap; "redistribute" takes the domain out from the next
            sequence on, its share going to the others in proportion to theirs; "repeat" goes on, and says so in the log.

    Raises:
        UsageError: a cap that is not positive, an unknown policy.
    """

    max_epochs: float | Mapping[str, float]
    then: Policy = "error"

    def __post_init__(self) -> None:
        caps = self.max_epochs.values() if isinstance(self.max_epochs, Mapping) else (self.max_epochs,)
        if not all(cap > 0 for cap in caps):
            raise UsageError(f"got max_epochs {self.max_epochs}", wanted="positive numbers of passes")
        if self.then not in get_args(Policy):
            raise UsageError(f"got the policy {self.then!r}", wanted=f"one of {', '.join(get_args(Policy))}")

    def check(self, domains: tuple[str, ...]) -> None:
        """Refuse caps of unknown domains.

        Raises:
            UsageError: there is one.
        """
        for domain in self.max_epochs if isinstance(self.max_epochs, Mapping) else ():
            if domain not in domains:
                raise UsageError(
                    f"max_epochs names the domain {domain!r}",
                    wanted=f"some of {', '.join(domains)}",
                    fix=nearest(domain, domains),
                )

    def cap(self, domain: str, count: int) -> int:
        """The most items of a domain of `count` a pass; `UNBOUNDED` without a cap."""
        epochs = self.max_epochs.get(domain) if isinstance(self.max_epochs, Mapping) else self.max_epochs
        if epochs is None or epochs * count >= UNBOUNDED:
            return UNBOUNDED
        # as it was meant: 2.3 passes over 100 items are 230, not 229.99...
        return int(Fraction(float(epochs)).limit_denominator(10**9) * count)

    def reached(self, domain: str, cap: str, tokens: int) -> None:
        """A batch after `tokens` tokens would go beyond the cap of a domain; nothing unless the policy is to stop.

        Raises:
            DataError: it is.
        """
        if self.then == "error":
            raise DataError(
                f"domain {domain!r} would go beyond its cap of {cap} in the batch after {tokens:,} tokens",
                wanted="at most the passes over it that max_epochs allows",
                fix='change to a mixture without it, raise max_epochs, or then="redistribute" or "repeat"',
            )


def without(units: tuple[int, ...], out: frozenset[int], domains: tuple[str, ...]) -> tuple[int, ...]:
    """The weights with the domains `out` at zero and the others in proportion, by largest remainder.

    Raises:
        DataError: no weight is left.
    """
    if not any(units[i] for i in out):
        return units
    left = [0 if i in out else u for i, u in enumerate(units)]
    total = sum(left)
    if not total:
        raise DataError(
            f"every domain with a weight has reached its cap: {', '.join(d for d, u in zip(domains, units, strict=True) if u)}",
            wanted="text left for the rest of the run",
            fix='higher max_epochs, then="repeat", or a change to a mixture with other domains',
        )
    scaled = [u * UNIT // total for u in left]
    first = sorted((i for i, u in enumerate(left) if u), key=lambda i: (-(left[i] * UNIT % total), i))
    for i in first[: UNIT - sum(scaled)]:
        scaled[i] += 1
    return tuple(scaled)


def first_reached(
    slots: NDArray[np.int64], counts_D: NDArray[np.int64], caps_D: NDArray[np.int64]
) -> tuple[int, int] | None:
    """(place in `slots`, domain) at which the first domain comes to its cap, from `counts_D` before; None if none does."""
    served_D = np.bincount(slots, minlength=counts_D.size)
    reached = np.flatnonzero((counts_D + served_D >= caps_D) & (served_D > 0)).tolist()
    return min(((int(np.flatnonzero(slots == i)[caps_D[i] - counts_D[i] - 1]), i) for i in reached), default=None)
