"""Strict YAML: typed, duplicate keys refused, every error with file, line and the nearest known key."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from cuvee.base.codec import SchemaError
from cuvee.base.errors import UsageError

T = TypeVar("T")


def load_yaml(path: Path, parse: Callable[[Any], T], wanted: str = "a study file") -> T:
    """What `parse` makes of the data in the file `path`; its `SchemaError`s get the file and the line; `wanted` it is called.

    Raises:
        UsageError: no such file, not YAML, a duplicate or unknown key, a wrong type.
    """
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UsageError(f"no such file: {path}", wanted=wanted, fix="check the path") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}: {error}", wanted="a UTF-8 text file") from error
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise UsageError(f"{path} is not YAML: {error}", fix="mend the line named above") from error
    if node is None:
        raise UsageError(f"{path} is empty", wanted=wanted)
    lines: dict[tuple[str, ...], int] = {}
    data = _construct(node, (), lines, path)
    try:
        return parse(data)
    except SchemaError as error:
        place = error.path
        while place and place not in lines:
            place = place[:-1]
        raise UsageError(f"{path}:{lines.get(place, 1)}: {error.what}", wanted=error.wanted, fix=error.fix) from error


def _construct(node: Any, at: tuple[str, ...], lines: dict[tuple[str, ...], int], path: Path) -> Any:
    import yaml

    lines.setdefault(at, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value)
            if key in result:
                raise UsageError(
                    f"{path}:{key_node.start_mark.line + 1}: {key!r} is given twice", fix="keep one of them"
                )
            lines[(*at, key)] = key_node.start_mark.line + 1
            result[key] = _construct(value_node, (*at, key), lines, path)
        return result
    if isinstance(node, yaml.SequenceNode):
        return [_construct(child, (*at, str(i)), lines, path) for i, child in enumerate(node.value)]
    return yaml.SafeLoader("").construct_object(node, deep=True)
