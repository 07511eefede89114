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

`RandomOrder` draws instead.

The sequence of slots is a stored format: its test vectors are pinned. Units are 2^-32 of a slot, in Python integers.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from itertools import islice
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cuvee.base.permutation import GOLDEN, mixed
from cuvee.mixture.weights import UNIT

_AHEAD = 128
"""Slots from which on making their jobs at once costs less than one by one."""
_MOST = 1 << 13
"""Slots of deficit up to which jobs fit into 64 bits."""


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


def advanced(units: tuple[int, ...], deficits: tuple[int, ...], slots: NDArray[np.int64]) -> tuple[int, ...]:
    """The deficits after `slots` at the weights `units`, from `deficits` before them; shape D."""
    served = np.bincount(slots, minlength=len(units)).tolist()
    return tuple(d + u * slots.size - UNIT * c for d, u, c in zip(deficits, units, served, strict=True))


class Assigns(Protocol):
    """What deals slots to domains at weights `units / 2^32`."""

    @property
    def units(self) -> tuple[int, ...]:
        """The weights in force."""

    @property
    def deficits(self) -> tuple[int, ...]:
        """What is carried besides the number of the slot, in units of 2^-32 slots; sums to 0."""

    def change(self, units: tuple[int, ...]) -> None:
        """Go on at other weights."""

    def assign(self, n: int) -> NDArray[np.int64]:
        """The domain indices of the next `n` slots, shape n."""


class Order:
    """Tijdeman's rule.

    Args:
        units: Weights, non-negative, summing to 2^32.
        deficits: Carried deficits in units, summing to 0; the rest of the state of an order.
    """

    def __init__(self, units: tuple[int, ...], deficits: tuple[int, ...] | None = None) -> None:
        carried = (0,) * len(units) if deficits is None else deficits
        assert len(carried) == len(units), deficits
        assert sum(carried) == 0, deficits
        self.units = units
        self._waiting: list[tuple[int, int, int]] | None
        self._start(carried)
        self._settle()

    @property
    def deficits(self) -> tuple[int, ...]:
        """Deficits after the last slot, in units of 2^-32 slots; they sum to 0."""
        carried = zip(self._deficits, self.units, self._served, strict=True)
        return tuple(d + u * self._slot - UNIT * c for d, u, c in carried)

    def change(self, units: tuple[int, ...]) -> None:
        """Go on at other weights, deficits carried."""
        assert len(units) == len(self.units), units
        carried, self.units = self.deficits, units
        self._start(carried)
        self._settle()

    def assign(self, n: int) -> NDArray[np.int64]:
        """The domain indices of the next `n` slots, shape n."""
        if len(self._active) == 1:
            self._slot += n
            self._served[self._active[0]] += n
            return np.full(n, self._active[0], np.int64)
        ahead = self._assign_ahead(n) if n >= max(_AHEAD, len(self._active)) else None
        if ahead is not None:
            return ahead
        if self._waiting is None:
            waiting = [self._job(i, self._served[i]) for i in self._active]
            heapify(waiting)
            self._waiting = waiting
        return np.fromiter(islice(iter(self._serve, -1), n), np.int64, n)

    def _start(self, deficits: tuple[int, ...]) -> None:
        """Count slots from here on."""
        assert min(self.units) >= 0, self.units
        assert sum(self.units) == UNIT, self.units
        self._deficits, self._slot, self._served = list(deficits), 0, [0] * len(self.units)
        self._active = [i for i, u in enumerate(self.units) if u]
        # Times are in slots from here on. The job of domain i after c slots served is released at the first t with
        # deficit + u t - 2^32 c >= 2^32 / s, and due at the first t where that is above 2^32 (1 - 1/s), s = 2D - 2.
        self._scale = max(2 * len(self._active) - 2, 1)
        self._waiting = None  # made when a slot is served singly
        self._ready: list[tuple[int, int]] = []

    def _settle(self) -> None:
        leaving = [i for i, u in enumerate(self.units) if not u]
        owed = sum(self._deficits[i] for i in leaving)
        parts = [owed * self.units[i] // UNIT for i in self._active]
        for place, (i, part) in enumerate(zip(self._active, parts, strict=True)):
            self._deficits[i] += part + (place < owed - sum(parts))
        for i in leaving:
            self._deficits[i] = 0

    def _job(self, i: int, served: int) -> tuple[int, int, int]:
        """(release, deadline, i) of the next slot that domain i is to have."""
        rate = self._scale * self.units[i]
        missing = self._scale * (UNIT * served - self._deficits[i])
        return -(-(missing + UNIT) // rate), (missing + UNIT * (self._scale - 1)) // rate + 1, i

    def _assign_ahead(self, n: int) -> NDArray[np.int64] | None:
        """The next `n` slots with all their jobs made at once; None where some domain would be served past its deadline.

        As long as none is, the next job of a domain is released only after its last was served, so that the jobs do not
        depend on the order that is being made.
        """
        deficits = self.deficits
        # in 64 bits: times are below 2^33 slots, deficits below `_MOST`
        if self._scale * (n + _MOST) >= 1 << 29 or max(map(abs, deficits)) >= _MOST * UNIT:
            return None
        scale, active_A = self._scale, np.array(self._active)
        units_A, deficits_A = (np.array(a, np.int64)[active_A] for a in (self.units, deficits))
        jobs_A = np.maximum((scale * (units_A * n + deficits_A) - UNIT) // (scale * UNIT) + 1, 0)
        place_J = np.repeat(np.arange(active_A.size), jobs_A)
        served_J = np.arange(place_J.size) - np.repeat(np.cumsum(jobs_A) - jobs_A, jobs_A)
        rate_J, missing_J = scale * units_A[place_J], scale * (UNIT * served_J - deficits_A[place_J])
        release_J = -(-(missing_J + UNIT) // rate_J)
        # jobs compare by deadline, then by domain
        job_J = ((missing_J + UNIT * (scale - 1)) // rate_J + 1) * active_A.size + place_J
        by_release = np.argsort(release_J, kind="stable")
        jobs = job_J[by_release].tolist()
        released = np.searchsorted(release_J[by_release], np.arange(1, n + 1), side="right").tolist()
        taken = np.array(_earliest_deadline_first(jobs, released), np.int64)
        deadline_n, place_n = np.divmod(taken, active_A.size)
        in_time = np.count_nonzero(job_J < (n + 1) * active_A.size) == np.count_nonzero(deadline_n <= n)
        if not in_time or np.any(deadline_n < np.arange(1, n + 1)):
            return None
        slots = active_A[place_n]
        self._start(advanced(self.units, deficits, slots))
        return slots

    def _serve(self) -> int:
        assert self._waiting is not None
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


def _earliest_deadline_first(jobs: list[int], released: list[int]) -> list[int]:
    """At slot t the least of the first `released[t]` jobs that has not been taken."""
    taken: list[int] = []
    ready: list[int] = []
    at = 0
    for end in released:
        while at < end:
            heappush(ready, jobs[at])
            at += 1
        taken.append(heappop(ready))
    return taken


class RandomOrder:
    """Each slot drawn by itself at the weights: what most loaders do, here to compare with.

    Slot k follows from the 64-bit `key` and k; off its share by the square root of the number of slots.

    Args:
        slot: Slots so far.
    """

    def __init__(self, units: tuple[int, ...], key: int, slot: int = 0) -> None:
        self.units, self._key, self._slot = units, key, slot

    @property
    def deficits(self) -> tuple[int, ...]:
        """None is carried: zeros."""
        return (0,) * len(self.units)

    def change(self, units: tuple[int, ...]) -> None:
        """Go on at other weights."""
        self.units = units

    def assign(self, n: int) -> NDArray[np.int64]:
        """The domain indices of the next `n` slots, shape n."""
        slots = np.arange(self._slot, self._slot + n, dtype=np.uint64)
        self._slot += n
        # SplitMix64 (Steele, Lea and Flood 2014): the finaliser over a Weyl sequence
        drawn = mixed(slots * np.uint64(GOLDEN) + np.uint64(self._key)) >> np.uint64(32)
        return np.searchsorted(np.cumsum(self.units), drawn.astype(np.int64), side="right")
