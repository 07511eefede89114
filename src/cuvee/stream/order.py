"""Which domain each slot goes to: Tijdeman's rule, in exact integers.

The deficit of a domain before a slot is its share of all slots up to and including that one, less the slots it has had.
With D domains of positive weight, a domain may be served when its deficit is at least 1/(2D-2); of those, the one whose
deadline comes first is served, the deadline being the first slot that it cannot be left without and stay within
1 - 1/(2D-2); ties go to the lowest index. Tijdeman (The chairman assignment problem, 1980) proves that a sequence
within 1 - 1/(2D-2) exists; served slots are unit jobs with release times and deadlines, for which earliest deadline first
finds a feasible sequence if there is one. So with constant weights every prefix is within `bound(D)`, which is optimal.
Plain largest deficit is not: 1.03 at D = 4, 1.4 at D = 510.

When weights change during a run, deficits are carried and deadlines may have been set for other weights. Domains that
are past theirs are served by largest deficit, which gives `live_bound(D)`, for any changes among the same domains. That is
above the H_D - 1 of plain largest deficit (by up to 0.31; 0.875 against 0.833 at D = 3), the price of the tighter bound
without changes.
A domain that leaves (weight 0) is never served again; what it was owed or owes is settled with the others in proportion
to their new weights.

The sequence of slots is a stored format: its test vectors are pinned. Units are 2^-32 of a slot, in Python integers.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from cuvee.mixture.weights import UNIT


def bound(domains: int) -> float:
    """The largest deficit in slots, of either sign, after any slot under constant weights: 1 - 1/(2D-2)."""
    return 1 - 1 / (2 * domains - 2) if domains > 1 else 0.0


def live_bound(domains: int) -> float:
    """The largest positive deficit in slots when weights change at will; at most H_ceil(D/2) - 1/(2D-2), H harmonic numbers.

    0.875 at D = 3, 2.3 at D = 10, 6.8 at D = 1000. Negative deficits stay within b = `bound(D)`, since nothing is served
    below 1/(2D-2). So the k largest average at most b (D-k)/k. After a slot at which at most one domain was past its
    deadline all are within b. At other slots the largest is served, so that the mean of the k largest either did not grow
    or is at most that of k + 1 before, plus 1/(k+1). By induction over slots, and from k = D down to 1, these hold together.
    """
    b, mean = bound(domains), 0.0
    for k in range(domains - 1, 0, -1):
        mean = min(b * (domains - k) / k, max(b, mean + 1 / (k + 1)))
    return mean


class Order:
    """Assigns slots to domains at weights `units / 2^32`.

    Args:
        units: Weights, non-negative, summing to 2^32.
        deficits: Carried deficits in units, summing to 0; the rest of the state of an order.
    """

    def __init__(self, units: tuple[int, ...], deficits: tuple[int, ...] | None = None) -> None:
        self._deficits = [0] * len(units) if deficits is None else list(deficits)
        assert len(self._deficits) == len(units), deficits
        assert sum(self._deficits) == 0, deficits
        self._start(units)

    @property
    def deficits(self) -> tuple[int, ...]:
        """Deficits after the last slot, in units of 2^-32 slots; they sum to 0."""
        carried = zip(self._deficits, self.units, self._served, strict=True)
        return tuple(d + u * self._slot - UNIT * c for d, u, c in carried)

    def change(self, units: tuple[int, ...]) -> None:
        """Go on at other weights, deficits carried."""
        assert len(units) == len(self.units), units
        self._deficits = list(self.deficits)
        self._start(units)

    def _start(self, units: tuple[int, ...]) -> None:
        assert min(units) >= 0, units
        assert sum(units) == UNIT, units
        self.units, self._slot, self._served = units, 0, [0] * len(units)
        active = [i for i, u in enumerate(units) if u]
        self._settle(active)
        # Times are in slots from here on. The job of domain i after c slots served is released at the first t with
        # deficit + u t - 2^32 c >= 2^32 / s, and due at the first t where that is above 2^32 (1 - 1/s), s = 2D - 2.
        self._only = active[0] if len(active) == 1 else None
        self._scale = max(2 * len(active) - 2, 1)
        self._waiting = [self._job(i, 0) for i in active]
        self._ready: list[tuple[int, int]] = []
        heapify(self._waiting)

    def _settle(self, active: list[int]) -> None:
        leaving = [i for i, u in enumerate(self.units) if not u]
        owed = sum(self._deficits[i] for i in leaving)
        parts = [owed * self.units[i] // UNIT for i in active]
        for place, (i, part) in enumerate(zip(active, parts, strict=True)):
            self._deficits[i] += part + (place < owed - sum(parts))
        for i in leaving:
            self._deficits[i] = 0

    def _job(self, i: int, served: int) -> tuple[int, int, int]:
        """(release, deadline, i) of the next slot that domain i is to have."""
        rate = self._scale * self.units[i]
        missing = self._scale * (UNIT * served - self._deficits[i])
        return -(-(missing + UNIT) // rate), (missing + UNIT * (self._scale - 1)) // rate + 1, i

    def assign(self, n: int) -> NDArray[np.int64]:
        """The domain indices of the next `n` slots, shape n."""
        if self._only is not None:
            self._slot += n
            self._served[self._only] += n
            return np.full(n, self._only, np.int64)
        return np.fromiter(islice(iter(self._serve, -1), n), np.int64, n)

    def _serve(self) -> int:
        self._slot = now = self._slot + 1
        waiting, ready = self._waiting, self._ready
        while waiting and waiting[0][0] <= now:
            _, deadline, i = heappop(waiting)
            heappush(ready, (deadline, i))
        # deficits before a slot sum to 2^32, so the largest is at least 2^32/D >= 2^32/(2D-2): somebody is ready
        several_overdue = ready[0][0] <= now and any(job[0] <= now for job in ready[1:3])
        i = self._take_most_overdue(now) if several_overdue else heappop(ready)[1]
        self._served[i] += 1
        heappush(waiting, self._job(i, self._served[i]))
        return i

    def _take_most_overdue(self, now: int) -> int:
        """Several are past their deadline, which only a change of weights can bring about: the largest deficit goes first."""
        overdue = [job for job in self._ready if job[0] <= now]
        deficit = {i: self._deficits[i] + self.units[i] * now - UNIT * self._served[i] for _, i in overdue}
        job = min(overdue, key=lambda job: (-deficit[job[1]], job[1]))
        self._ready.remove(job)
        heapify(self._ready)
        return job[1]
