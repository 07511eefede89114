"""Frozen dataclasses to JSON and back, strictly; canonical JSON and its hash for ids.

Own code because the rooms that run on a bare GPU machine may import only numpy and torch, and because ids need every
float as `float.hex` whatever was typed (4 and 4.0 are the same plan). Understands dataclasses, `tuple[X, ...]`,
`Mapping[str, X]`, `X | None`, `Literal`, str, bool, int and float. Non-finite floats are the strings "nan", "inf", "-inf".
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import math
import re
import types
import typing
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import cache
from typing import Any, TypeVar

from cuvee.base.errors import UsageError

T = TypeVar("T")
LATER: Mapping[str, bool] = types.MappingProxyType({"later": True})
"""Metadata of a field that came after files had been written: left out at its default, so that their ids and forms stay."""
_SUFFIX = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9, "g": 10**9, "t": 10**12}
_NUMBER = re.compile(r"^\s*([+-]?[0-9][0-9_]*(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)\s*([kKmMbBgGtT]?)\s*$")


class SchemaError(UsageError):
    """A value that does not fit its type; `path` are the keys that lead to it."""

    def __init__(self, what: str, path: tuple[str, ...], *, wanted: str = "", fix: str = "") -> None:
        self.path = path
        super().__init__(f"{'.'.join(path) or 'value'}: {what}", wanted=wanted, fix=fix)


@cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _json_float(value: float) -> Any:
    return value if math.isfinite(value) else repr(value)


def to_json(value: Any) -> Any:
    """`value` as plain JSON types; the inverse of `from_json`."""
    return _encode(value, _json_float)


def _encode(value: Any, number: Callable[[float], Any]) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        hints = _hints(type(value))
        return {
            field.name: _encode(_as_float(getattr(value, field.name), hints[field.name]), number)
            for field in dataclasses.fields(value)
            if not ("later" in field.metadata and getattr(value, field.name) == field.default)
        }
    if isinstance(value, Mapping):
        return {str(key): _encode(item, number) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_encode(item, number) for item in value]
    if isinstance(value, float):
        return number(value)
    if value is None or isinstance(value, str | bool | int):
        return value
    raise TypeError(f"{type(value).__name__} has no JSON form here: {value!r}")


def _as_float(value: Any, hint: Any) -> Any:
    """An int in a float field as a float, so that 4 and 4.0 give one id."""
    floats = hint is float or float in typing.get_args(hint)
    return float(value) if floats and isinstance(value, int) and not isinstance(value, bool) else value


def canonical(value: Any) -> str:
    """Canonical JSON: sorted keys, no spaces, integers as they are, every float as `float.hex`."""
    return json.dumps(_encode(value, float.hex), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def content_id(value: Any) -> str:
    """blake2b-128 of the canonical JSON, 32 hex digits."""
    return hashlib.blake2b(canonical(value).encode("utf-8"), digest_size=16).hexdigest()


def from_json(cls: type[T], data: Any, path: tuple[str, ...] = ()) -> T:
    """The value of type `cls` that `data` describes.

    Raises:
        SchemaError: an unknown key (with the nearest known one), a missing key or a value of the wrong type.
    """
    return typing.cast(T, _decode(cls, data, path))


def _decode(hint: Any, data: Any, path: tuple[str, ...]) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if data is None and type(None) in args:
            return None
        return _decode_union([a for a in args if a is not type(None)], data, path)
    if origin is typing.Literal:
        if data in args:
            return data
        raise SchemaError(
            f"got {data!r}", path, wanted=f"one of {', '.join(map(str, args))}", fix=nearest(str(data), map(str, args))
        )
    if dataclasses.is_dataclass(hint):
        return _decode_dataclass(typing.cast(type, hint), data, path)
    if origin is tuple:
        if not isinstance(data, list | tuple):
            raise SchemaError(f"got {data!r}", path, wanted="a list")
        inner = [args[0]] * len(data) if len(args) == 2 and args[1] is Ellipsis else list(args)
        if len(inner) != len(data):
            raise SchemaError(f"got {len(data)} items", path, wanted=f"{len(inner)} items")
        return tuple(_decode(h, item, (*path, str(i))) for i, (h, item) in enumerate(zip(inner, data, strict=True)))
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
        if not isinstance(data, Mapping):
            raise SchemaError(f"got {data!r}", path, wanted="a mapping of names to values")
        return {str(key): _decode(args[1], item, (*path, str(key))) for key, item in data.items()}
    return _decode_scalar(hint, data, path)


def _decode_union(hints: list[Any], data: Any, path: tuple[str, ...]) -> Any:
    if isinstance(data, Mapping) and all(dataclasses.is_dataclass(hint) for hint in hints):
        return _decode_variant(hints, data, path)
    errors = []
    for hint in hints:
        try:
            return _decode(hint, data, path)
        except SchemaError as error:
            errors.append(error)
    if all(error.path == path for error in errors):
        wanted = " or ".join(error.wanted for error in errors)
        raise SchemaError(f"got {data!r}", path, wanted=wanted, fix=errors[-1].fix)
    raise errors[-1]


def _decode_variant(hints: list[Any], data: Mapping[Any, Any], path: tuple[str, ...]) -> Any:
    """The dataclass whose first field is among the keys: what tells variants apart."""
    firsts = {dataclasses.fields(hint)[0].name: hint for hint in hints}
    found = [name for name in firsts if name in data]
    if len(found) != 1:
        got = ", ".join(map(str, data)) or "nothing"
        raise SchemaError(
            f"got {got}", path, wanted=f"exactly one of {', '.join(firsts)}", fix=nearest(got.split(", ")[0], firsts)
        )
    return _decode(firsts[found[0]], data, path)


def _decode_dataclass(cls: type, data: Any, path: tuple[str, ...]) -> Any:
    if not isinstance(data, Mapping):
        raise SchemaError(f"got {data!r}", path, wanted=f"a mapping with the keys of {cls.__name__}")
    hints = _hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}
    for key in data:
        if key not in fields:
            raise SchemaError(
                "unknown key", (*path, str(key)), wanted=f"one of {', '.join(fields)}", fix=nearest(str(key), fields)
            )
    values = {}
    for name, field in fields.items():
        if name in data:
            values[name] = _decode(hints[name], data[name], (*path, name))
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise SchemaError("missing", (*path, name), wanted=f"the key {name!r}", fix=f"add {name}:")
    try:
        return cls(**values)
    except SchemaError:
        raise
    except UsageError as error:
        raise SchemaError(error.what, path, wanted=error.wanted, fix=error.fix) from error


def _decode_scalar(hint: Any, data: Any, path: tuple[str, ...]) -> Any:
    if hint is Any:
        return data
    if hint is str and isinstance(data, str):
        return data
    if hint is bool and isinstance(data, bool):
        return data
    if hint in (int, float) and not isinstance(data, bool):
        number = _number(data)
        if number is not None and (hint is float or float(number).is_integer()):
            return hint(number)
    raise SchemaError(f"got {data!r}", path, wanted={int: "a whole number", float: "a number"}.get(hint, hint.__name__))


def _number(data: Any) -> int | float | None:
    """Numbers as written by people too: 30_000_000, 3e7, 30M."""
    if isinstance(data, int | float):
        return data
    if data in ("nan", "inf", "-inf"):
        return float(data)
    match = _NUMBER.match(data) if isinstance(data, str) else None
    if match is None:
        return None
    digits, scale = match[1].replace("_", ""), _SUFFIX[match[2].lower()]
    exact = Decimal(digits) * scale  # 2.01 * 10**6 in floats is no whole number
    return int(exact) if exact == exact.to_integral_value() else float(exact)


def nearest(word: str, known: typing.Iterable[str]) -> str:
    """A did-you-mean sentence, or an empty string when nothing is near."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else ""
