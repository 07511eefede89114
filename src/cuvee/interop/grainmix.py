"""How grain turns weights into a mixture: what both trainers built on it (MaxText, torchtitan) deliver.

Read and run in grain 0.2.18: the weights are scaled so that the smallest is 100 and cut to integers; elements are then
taken in a fixed interleaving of these integers, without chance. Of two almost equal sources one may be off by a quarter
of a point; with one source much smaller than the others the cut does not matter.
"""

from __future__ import annotations

from collections.abc import Mapping

from cuvee.base.errors import DataError
from cuvee.interop.record import Blend, Handover, Stage

SMALLEST = 100


def proportions(found: Mapping[str, float]) -> dict[str, int]:
    """The integers that grain mixes by.

    Raises:
        DataError: a weight of zero, which grain refuses.
    """
    zeros = [name for name, weight in found.items() if not weight > 0]
    if zeros:
        raise DataError(
            f"the weight of {zeros[0]!r} is {found[zeros[0]]:g}",
            wanted="weights above 0: grain refuses zero",
            fix="leave the source out",
        )
    scale = SMALLEST / min(found.values())
    return {name: int(weight * scale) for name, weight in found.items()}


def scaled(blend: Blend, handed: Handover, stage: Stage) -> Mapping[str, float]:
    """The rounding of a trainer that normalises weights and hands them to grain."""
    total = sum(blend.weights.values())
    return proportions({name: weight / total for name, weight in blend.weights.items()})
