"""A hierarchy over domains (source, topic, quality): designs that vary at every level, groups frozen inside, sums by level.

The domains are the leaves; shares, bounds and distances are always theirs. A group is named by its path, `web/health`.

Letters: D domains.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from cuvee.base.codec import nearest
from cuvee.base.errors import UsageError
from cuvee.mixture.rows import Row
from cuvee.mixture.weights import Array

LEAST = 1e-3
"""Smallest parameter of a Dirichlet distribution: below it draws are corners, and rounding makes them NaN."""


@dataclass(frozen=True)
class Tree:
    """Which groups every domain is in.

    Args:
        paths: Of every domain, in their order, the names of its groups from the outermost in; empty at the top.
        frozen: Groups whose domains keep their natural proportions to one another: one weight for all of them.

    Raises:
        UsageError: a frozen group that there is not.
    """

    paths: tuple[tuple[str, ...], ...]
    frozen: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in self.frozen:
            if name not in self.groups:
                known = ", ".join(self.groups) or "none: no domain is in a group"
                raise UsageError(f"freeze: no group {name!r}", wanted=f"one of {known}", fix=nearest(name, self.groups))

    @classmethod
    def from_names(cls, domains: Sequence[str], separator: str = "/", frozen: tuple[str, ...] = ()) -> Tree:
        """The tree that names such as `web/health/high` spell."""
        return cls(tuple(tuple(name.split(separator)[:-1]) for name in domains), frozen)

    @cached_property
    def groups(self) -> dict[str, tuple[int, ...]]:
        """Path of every group -> positions of the domains in it, outer groups before the inner ones."""
        found: dict[str, list[int]] = {}
        for depth in range(1, 1 + max((len(path) for path in self.paths), default=0)):
            for i, path in enumerate(self.paths):
                if len(path) >= depth:
                    found.setdefault("/".join(path[:depth]), []).append(i)
        return {name: tuple(index) for name, index in found.items()}

    def sums(self, w_D: Array) -> dict[str, float]:
        """Every group's share."""
        return {name: float(w_D[list(index)].sum()) for name, index in self.groups.items()}

    def rows(self, domains: Sequence[str], natural_D: Array) -> tuple[Row, ...]:
        """Frozen groups as linear bounds: each domain but the largest is its natural part of the group."""
        found = []
        for name in self._outermost():
            index = list(self.groups[name])
            part_D = natural_D[index] / natural_D[index].sum()
            for i, part in zip(index, part_D, strict=True):
                if i != index[int(np.argmax(part_D))]:
                    coefficients = tuple((domains[j], float((i == j) - part)) for j in index)
                    found.append(Row(f"{domains[i]} in {name}", coefficients, 0.0, 0.0))
        return tuple(found)

    def draw(self, center_D: Array, natural_D: Array, strength: float, rng: np.random.Generator) -> Array:
        """A mixture drawn level by level: at each, Dirichlet(strength x the centre's shares there); natural inside what is frozen.

        The same strength at every level (Olmix, arXiv:2602.12237, whose leaves are products too). Shape D.
        """
        w_D = np.zeros(len(self.paths))
        self._share(w_D, 1.0, (), list(range(len(self.paths))), (center_D, natural_D), strength, rng)
        return w_D

    def _share(
        self,
        w_D: Array,
        total: float,
        at: tuple[str, ...],
        index: list[int],
        around: tuple[Array, Array],
        strength: float,
        rng: np.random.Generator,
    ) -> None:
        """Spread `total` over the domains at `index`, those of the group `at`."""
        center_D, natural_D = around
        if "/".join(at) in self.frozen:
            w_D[index] = total * natural_D[index] / natural_D[index].sum()
            return
        children: dict[object, list[int]] = {}
        for i in index:
            children.setdefault(self.paths[i][len(at)] if len(self.paths[i]) > len(at) else i, []).append(i)
        prior = np.array([center_D[inside].sum() for inside in children.values()])
        parts = rng.dirichlet(np.maximum(strength * prior / prior.sum(), LEAST)) if prior.sum() > 0 else prior
        for (child, inside), part in zip(children.items(), parts, strict=True):
            if isinstance(child, str):
                self._share(w_D, total * part, (*at, child), inside, around, strength, rng)
            else:
                w_D[inside] = total * part

    def _outermost(self) -> list[str]:
        """Frozen groups that are in no other frozen one."""
        return [name for name in dict.fromkeys(self.frozen) if not any(name.startswith(f"{o}/") for o in self.frozen)]
