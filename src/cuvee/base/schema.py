"""JSON Schema (draft 2020-12) of the files that `codec.to_json` writes, from the same dataclasses.

Knows what `codec` knows. A field with a default may be absent: files of earlier versions lack later fields.
"""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import Mapping
from typing import Any

from cuvee.base.files import FORMAT

Schema = dict[str, Any]
_SCALARS: dict[Any, Schema] = {
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"anyOf": [{"type": "number"}, {"enum": ["nan", "inf", "-inf"]}]},
    Any: {},
    type(None): {"type": "null"},
}


def file_schema(cls: type, title: str) -> Schema:
    """The schema of a file that holds one `cls`, with its `format`."""
    defs: dict[str, Schema] = {}
    _of(cls, defs)
    root = defs.pop(cls.__name__)
    root["properties"] = {"format": {"const": FORMAT}, **root["properties"]}
    schema = "https://json-schema.org/draft/2020-12/schema"
    return {"$schema": schema, "title": title, **root, "$defs": dict(sorted(defs.items()))}


def _of(hint: Any, defs: dict[str, Schema]) -> Schema:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return {"anyOf": [_of(a, defs) for a in args]}
    if origin is typing.Literal:
        return {"enum": list(args)}
    if dataclasses.is_dataclass(hint):
        return _dataclass(typing.cast(type, hint), defs)
    if origin is tuple:
        if len(args) == 2 and args[1] is Ellipsis:
            return {"type": "array", "items": _of(args[0], defs)}
        return {"type": "array", "prefixItems": [_of(a, defs) for a in args], "items": False, "minItems": len(args)}
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": _of(args[1], defs)}
    if hint not in _SCALARS:
        raise TypeError(f"{hint!r} has no JSON form here")
    return _SCALARS[hint]


def _dataclass(cls: type, defs: dict[str, Schema]) -> Schema:
    if cls.__name__ not in defs:
        defs[cls.__name__] = {}  # a reference back to it finds the name
        hints, fields = typing.get_type_hints(cls), dataclasses.fields(cls)
        free = (dataclasses.MISSING, dataclasses.MISSING)
        defs[cls.__name__] = {
            "description": " ".join((inspect.getdoc(cls) or "").split("\n\n")[0].split()),
            "type": "object",
            "properties": {f.name: _of(hints[f.name], defs) for f in fields},
            "required": [f.name for f in fields if (f.default, f.default_factory) == free],
            "additionalProperties": False,
        }
    return {"$ref": f"#/$defs/{cls.__name__}"}
