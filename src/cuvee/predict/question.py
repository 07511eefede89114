"""What is minimised: the predicted mean of targets, more for what is unsure or far from the base, under bounds and guards.

objective(w) = value(w) - value(base) + aversion error(w) + pull KL(w || base)

The standard error has a kink at the base, where it is 0; it is rounded off within `KINK` so that solvers see a slope. A
solver asks for value and slope of the objective and of every guard at the same mixture, so the last ones are remembered.

Letters: D domains, T targets.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
from scipy.special import stdtr, stdtrit

from cuvee.base.errors import UsageError
from cuvee.mixture.feasible import FeasibleSet
from cuvee.mixture.weights import Array
from cuvee.predict.posterior import Posterior, Smooth

ROOM = 1e-7
"""Constraints count as met within this: rounding of the solver."""
KINK = 1e-4
"""Bits/byte of standard error within which risk aversion is smooth."""
LEAST_BASE = 1e-6
"""A share of the base under this counts as this in KL(w || base), which would be infinite."""
REMEMBERED = 64
V = TypeVar("V")


@dataclass(frozen=True, eq=False)
class GuardRule:
    """The mean of targets with weights `a_T` may rise by `allowed` bits/byte over `base_D`, with `probability`.

    For people it is said relative to a level: a rise of d over the base is (`above` + d) / `level`. `error` is the standard error of
    `allowed`: 0 where the base itself is the level, for then blocks cancel.
    """

    name: str
    a_T: Array
    allowed: float
    probability: float
    above: float = 0.0
    level: float = 1.0
    error: float = 0.0


@dataclass(frozen=True, eq=False)
class Question:
    """What to minimise: the mean of targets with weights `a_T` over `feasible`, against `base_D`, under `guards`.

    Args:
        aversion: Added per standard error of the predicted difference; 0 asks for the best prediction however unsure. Where the
            posterior has no standard error, it counts for nothing.
        pull: Added per nat of KL(w || base), in bits/byte: keeps near the base what the prediction hardly tells apart.

    Raises:
        UsageError: an aversion or a pull that is negative or not finite.
    """

    posterior: Posterior
    feasible: FeasibleSet
    base_D: Array
    a_T: Array
    guards: tuple[GuardRule, ...] = ()
    aversion: float = 0.0
    pull: float = 0.0

    def __post_init__(self) -> None:
        if not (0 <= self.aversion < math.inf and 0 <= self.pull < math.inf):
            raise UsageError(
                f"got aversion {self.aversion}, pull {self.pull}", wanted="finite numbers, 0 or more; 0 leaves them out"
            )

    def value(self, w_D: Array) -> float:
        """The objective: the predicted difference with what aversion and pull add; 0 at the base."""
        value = self._difference(w_D, self.a_T)
        if self.averse:
            value += self.aversion * (math.hypot(self._error(w_D, self.a_T), KINK) - KINK)
        return value + self.pull * divergence(w_D, self.base_D) if self.pull else value

    def slope(self, w_D: Array) -> Array:
        """Its derivatives, shape D."""
        slope_D = self._slope(w_D, self.a_T)
        if self.averse:
            error = self._error(w_D, self.a_T)
            slope_D = slope_D + self.aversion * error / math.hypot(error, KINK) * self._error_slope(w_D, self.a_T)
        return slope_D + self.pull * divergence_slope(w_D, self.base_D) if self.pull else slope_D

    def room(self, rule: GuardRule, w_D: Array) -> float:
        """What the guard leaves at the wanted probability, bits/byte; negative when it does not hold.

        Without an interval (one block) the prediction itself is held against the guard.
        """
        room = rule.allowed - self._difference(w_D, rule.a_T)
        return room - self._factor(rule) * self._uncertainty(rule, w_D) if self._sure else room

    def room_slope(self, rule: GuardRule, w_D: Array) -> Array:
        """Derivatives of `room`, shape D."""
        slope_D = -self._slope(w_D, rule.a_T)
        if not self._sure:
            return slope_D
        error_D = self._error_slope(w_D, rule.a_T)
        if rule.error:
            error_D = error_D * self._error(w_D, rule.a_T) / self._uncertainty(rule, w_D)
        return slope_D - self._factor(rule) * error_D

    def sureness(self, rule: GuardRule, w_D: Array) -> float:
        """The probability that the guard holds, by the same rule as `room`; NaN without an interval."""
        error = self._uncertainty(rule, w_D)
        room = rule.allowed - self._difference(w_D, rule.a_T)
        if error == 0:
            return float(room >= 0)
        return float(stdtr(self.posterior.freedom, room / error)) if self._sure else math.nan

    def holds(self, w_D: Array) -> bool:
        """Whether every guard holds at `w_D`."""
        return all(self.room(rule, w_D) >= -ROOM for rule in self.guards)

    @cached_property
    def averse(self) -> bool:
        """Whether uncertainty counts: some aversion, and a posterior that knows its error."""
        return self.aversion > 0 and math.isfinite(self._error(self.base_D, self.a_T))

    @cached_property
    def smooth(self) -> bool:
        """Whether the prediction has slopes."""
        return isinstance(self.posterior.full, Smooth)

    @cached_property
    def convex(self) -> bool:
        """Whether every local optimum is the global one: objective and guards convex, with no part for what is unsure."""
        fit = self.posterior.full
        if not isinstance(fit, Smooth) or self.averse or (self.guards and self._sure):
            return False
        return all(fit.convex(a_T) for a_T in (self.a_T, *(rule.a_T for rule in self.guards)))

    def _difference(self, w_D: Array, a_T: Array) -> float:
        return float((self._loss(w_D) - self._loss(self.base_D)) @ a_T)

    def _loss(self, w_D: Array) -> Array:
        """Predicted losses, shape T."""
        if w_D is self.base_D:
            return self._base_T
        return self._once("loss", w_D, self.a_T, lambda: self.posterior.mean(w_D[None])[0])

    @cached_property
    def _base_T(self) -> Array:
        return np.asarray(self.posterior.mean(self.base_D[None])[0], np.float64)

    def _slope(self, w_D: Array, a_T: Array) -> Array:
        return self._once("slope", w_D, a_T, lambda: self.posterior.slope(w_D, a_T))

    def _error(self, w_D: Array, a_T: Array) -> float:
        return self._once("error", w_D, a_T, lambda: self.posterior.error(w_D, self.base_D, a_T))

    def _error_slope(self, w_D: Array, a_T: Array) -> Array:
        return self._once("error slope", w_D, a_T, lambda: self.posterior.error_slope(w_D, self.base_D, a_T))

    def _uncertainty(self, rule: GuardRule, w_D: Array) -> float:
        """Standard error of what a guard leaves; NaN without an interval."""
        return math.hypot(self._error(w_D, rule.a_T), rule.error)

    @property
    def _sure(self) -> bool:
        return self.posterior.freedom > 0

    def _factor(self, rule: GuardRule) -> float:
        return float(stdtrit(self.posterior.freedom, rule.probability))

    @cached_property
    def _memory(self) -> dict[tuple[str, bytes, int], object]:
        return {}

    def _once(self, what: str, w_D: Array, a_T: Array, make: Callable[[], V]) -> V:
        """`make()`, or what it gave for the same mixture and mean of targets a little earlier."""
        key = (what, w_D.tobytes(), id(a_T))
        if key not in self._memory:
            if len(self._memory) >= REMEMBERED:
                self._memory.clear()
            self._memory[key] = make()
        return self._memory[key]  # type: ignore[return-value]


def divergence(w_D: Array, base_D: Array) -> float:
    """KL(w || base) in nats; a share of 0 adds nothing."""
    w_D = np.maximum(w_D, 0.0)
    return float(np.sum(w_D * np.log(np.maximum(w_D, 1e-300) / np.maximum(base_D, LEAST_BASE))))


def divergence_slope(w_D: Array, base_D: Array) -> Array:
    """Its derivatives, shape D; at a share of 0, where there is none, those at 1e-9."""
    return np.asarray(np.log(np.maximum(w_D, 1e-9) / np.maximum(base_D, LEAST_BASE)) + 1.0, np.float64)
