"""Reading trainers' files: YAML, JSON and Python configurations, and the weights in them. No code is ever executed."""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from cuvee.base.errors import DataError


def yaml_mapping(name: str, text: str, wanted: str) -> dict[str, Any]:
    """The mapping that a YAML file holds.

    Raises:
        DataError: no YAML, or no mapping.
    """
    import yaml

    try:
        data = yaml.safe_load(text)
        twice = _twice(yaml.compose(text, yaml.SafeLoader))
    except yaml.YAMLError as error:
        raise DataError(f"{name} is no YAML: {error}", wanted=wanted) from error
    if twice:
        raise DataError(f"{name} has the key {twice} twice", wanted="every key once")
    if not isinstance(data, dict):
        raise DataError(f"{name} holds {type(data).__name__}, not a mapping", wanted=wanted)
    return data


def _twice(node: Any) -> str:
    """A key that is there twice in one mapping of a YAML tree; empty when there is none."""
    pairs = node.value if getattr(node, "id", "") == "mapping" else []
    keys = [key.value for key, _ in pairs if isinstance(key.value, str)]
    children = (
        [value for _, value in pairs] if pairs else node.value if isinstance(getattr(node, "value", 0), list) else []
    )
    found = [key for i, key in enumerate(keys) if key in keys[:i]] + [t for c in children if (t := _twice(c))]
    return found[0] if found else ""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(f"a key is there twice among {', '.join(k for k, _ in pairs)[:200]}")
    return found


def dump_yaml(data: Mapping[str, Any]) -> str:
    """YAML in the order of the keys, Unicode as it is."""
    import yaml

    return str(yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=1000, default_flow_style=False))


def json_mapping(name: str, text: str, wanted: str) -> dict[str, Any]:
    """The object that a JSON file holds.

    Raises:
        DataError: no JSON, or no object.
    """
    try:
        data = json.loads(text, object_pairs_hook=_once)
    except ValueError as error:
        raise DataError(f"{name} is no JSON: {error}", wanted=wanted) from error
    if not isinstance(data, dict):
        raise DataError(f"{name} holds {type(data).__name__}, not an object", wanted=wanted)
    return data


def inside(data: Any, path: str, name: str) -> Any:
    """The value at `a.b.c`.

    Raises:
        DataError: it is not there.
    """
    for key in path.split("."):
        if not isinstance(data, dict) or key not in data:
            raise DataError(f"{name} has no {path!r}", wanted=f"the key {path}")
        data = data[key]
    return data


def number(value: object, name: str) -> float:
    """A weight that is finite and at least 0.

    Raises:
        DataError: it is not.
    """
    try:
        found = math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        found = math.nan
    if not (math.isfinite(found) and found >= 0):
        raise DataError(f"the weight of {name!r} is {value!r}", wanted="a number, at least 0")
    return found


def collected(pairs: Iterator[tuple[str, float]], name: str) -> dict[str, float]:
    """Weights by path, summed where a path is there twice.

    Raises:
        DataError: there are none.
    """
    found: dict[str, float] = {}
    for path, weight in pairs:
        found[path] = found.get(path, 0.0) + weight
    if not found:
        raise DataError(f"{name} names no sources", wanted="at least one source with a weight")
    return found


def must_sum_to_one(found: Mapping[str, float], title: str) -> None:
    """Refuse weights that a trainer which does not normalise would refuse.

    Raises:
        DataError: they sum to something else.
    """
    total = math.fsum(found.values())
    if abs(total - 1) > 1e-6:
        raise DataError(
            f"the weights sum to {total:.6g}", wanted="1", fix=f"{title} does not normalise: divide each by {total:.6g}"
        )


def python_tree(name: str, text: str) -> ast.Module:
    """The syntax tree of a Python file, which is read and never run.

    Raises:
        DataError: it is no Python.
    """
    try:
        return ast.parse(text)
    except SyntaxError as error:
        raise DataError(f"{name} is no Python: {error}", wanted="the configuration as a Python file") from error


def called_name(call: ast.Call) -> str:
    """What is called: the last part of a dotted name."""
    function = call.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def calls(tree: ast.AST, called: str) -> Iterator[dict[str, ast.expr]]:
    """Keyword arguments of every call of `called` (the last part of a dotted name), in order."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and called_name(node) == called:
            yield {k.arg: k.value for k in node.keywords if k.arg}


def assigned(tree: ast.Module, variable: str) -> Any:
    """The literal that a top-level variable is set to.

    Raises:
        DataError: it is not set, or not to a literal.
    """
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == variable for t in node.targets):
            return literal(node.value, variable)
    raise DataError(f"the file sets no {variable}", wanted=f"{variable} = a literal, as `cuvee export` writes it")


def literal(node: ast.expr, name: str) -> Any:
    """The value of a literal expression.

    Raises:
        DataError: it is computed, which only running the file could do.
    """
    try:
        return ast.literal_eval(node)
    except ValueError as error:
        raise DataError(f"{name} is computed in the file", wanted="a literal", fix="write the numbers out") from error


def phase_files(handed_stages: int, stem: str, suffix: str) -> list[str]:
    """File names, one a phase."""
    width = max(2, len(str(handed_stages - 1)))
    return [f"{stem}-{number:0{width}d}.{suffix}" for number in range(handed_stages)]
