"""The extension point: the contract of methods, the registry, baselines, and regression over proxy runs.

A method never trains and never sees a live study: it proposes plans from the trials so far and chooses from them, so
every method can be replayed on recorded trials.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cuvee.methods.auto import Auto
    from cuvee.methods.baselines import Natural, Temperature, Uniform, UniMax
    from cuvee.methods.climb import Climb
    from cuvee.methods.contract import Method
    from cuvee.methods.halving import Halving
    from cuvee.methods.mixmin import MixMin
    from cuvee.methods.random import Random
    from cuvee.methods.regmix import RegMix
    from cuvee.methods.regression import Regression

_WHERE = {
    "Climb": "cuvee.methods.climb",
    "RegMix": "cuvee.methods.regmix",
    "Auto": "cuvee.methods.auto",
    "Halving": "cuvee.methods.halving",
    "Method": "cuvee.methods.contract",
    "MixMin": "cuvee.methods.mixmin",
    "Natural": "cuvee.methods.baselines",
    "Random": "cuvee.methods.random",
    "Regression": "cuvee.methods.regression",
    "Temperature": "cuvee.methods.baselines",
    "UniMax": "cuvee.methods.baselines",
    "Uniform": "cuvee.methods.baselines",
}

__all__ = [
    "Auto",
    "Climb",
    "Halving",
    "Method",
    "MixMin",
    "Natural",
    "Random",
    "RegMix",
    "Regression",
    "Temperature",
    "UniMax",
    "Uniform",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'cuvee.methods' has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)
