"""Methods by name: built in, `my.module:Mine`, or published under the entry point group `cuvee.methods`."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, cast

from cuvee.base.codec import nearest
from cuvee.base.errors import UsageError
from cuvee.methods.contract import Method

METHODS: dict[str, str] = {
    "auto": "cuvee.methods.auto:Auto",
    "natural": "cuvee.methods.baselines:Natural",
    "uniform": "cuvee.methods.baselines:Uniform",
    "temperature": "cuvee.methods.baselines:Temperature",
    "unimax": "cuvee.methods.baselines:UniMax",
    "climb": "cuvee.methods.climb:Climb",
    "regmix": "cuvee.methods.regmix:RegMix",
    "random": "cuvee.methods.random:Random",
    "regression": "cuvee.methods.regression:Regression",
    "halving": "cuvee.methods.halving:Halving",
    "mixmin": "cuvee.methods.mixmin:MixMin",
}


def load(name: str) -> type[Method]:
    """The class of the method `name`: a built-in, `my.module:Mine`, or a published entry point.

    Raises:
        UsageError: no such method (with the nearest name), a module that does not import, or a class without the contract.
    """
    where = METHODS.get(name) or _published().get(name) or name
    module, _, attribute = where.partition(":")
    if not attribute:
        known = [*METHODS, *_published()]
        raise UsageError(
            f"no method {name!r}", wanted=f"one of {', '.join(known)}, or my.module:Mine", fix=nearest(name, known)
        )
    try:
        found: Any = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise UsageError(
            f"method {name!r}: {error}",
            wanted=f"a module {module!r} that imports and has {attribute!r}",
            fix="run where the module is importable, for example with PYTHONPATH=.",
        ) from error
    missing = [what for what in ("name", "propose", "choose") if not hasattr(found, what)]
    if not isinstance(found, type) or missing:
        raise UsageError(
            f"method {name!r} lacks {', '.join(missing) or 'a class'}", wanted="a class with name, propose, choose"
        )
    return cast(type[Method], found)


def citation(name: str) -> tuple[str, ...]:
    """What the rule of the method `name` is from; empty when it says nothing or is not found here."""
    try:
        return tuple(getattr(load(name), "citation", ()))
    except UsageError:
        return ()


def _published() -> dict[str, str]:
    return {point.name: point.value for point in entry_points(group="cuvee.methods")}
