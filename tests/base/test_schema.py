"""The schema against values that the codec writes, and against ones that it would refuse."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import pytest

from cuvee.base.codec import to_json
from cuvee.base.schema import Schema, file_schema
from cuvee.plan.choice import Choice, Simplified
from cuvee.plan.provenance import Provenance
from tests.report import fakes


@dataclass(frozen=True)
class Leaf:
    """A leaf."""

    share: float
    kind: Literal["a", "b"] = "a"


@dataclass(frozen=True)
class Tree:
    """A tree.

    With more to say.
    """

    leaves: tuple[Leaf, ...]
    pair: tuple[int, str]
    named: Mapping[str, Leaf] = field(default_factory=dict)
    note: str | None = None


def errors(schema: Schema, value: Any, root: Schema | None = None) -> list[str]:
    """What a schema of the kind that is made here has against a value: the part of JSON Schema that it uses."""
    root = root or schema
    if "$ref" in schema:
        return errors(root["$defs"][schema["$ref"].rpartition("/")[2]], value, root)
    if "anyOf" in schema:
        tried = [errors(s, value, root) for s in schema["anyOf"]]
        return [] if [] in tried else [f"{value!r} fits none"]
    if "enum" in schema:
        return [] if value in schema["enum"] else [f"{value!r} not in {schema['enum']}"]
    if "const" in schema:
        return [] if value == schema["const"] else [f"{value!r} is not {schema['const']}"]
    kinds = {"string": str, "boolean": bool, "null": type(None), "array": list, "object": dict, "integer": int}
    kind = schema.get("type", "")
    if kind == "number":
        return [] if isinstance(value, int | float) and not isinstance(value, bool) else [f"{value!r} is no number"]
    if kind and (not isinstance(value, kinds[kind]) or (kind == "integer" and isinstance(value, bool))):
        return [f"{value!r} is no {kind}"]
    found = []
    if kind == "array":
        items = schema.get("prefixItems") or [schema["items"]] * len(value)
        found += [] if len(items) == len(value) else ["length"]
        found += [e for s, v in zip(items, value, strict=False) for e in errors(s, v, root)]
    if kind == "object":
        known, others = schema.get("properties", {}), schema["additionalProperties"]
        found += [f"{k} missing" for k in schema.get("required", ()) if k not in value]
        for k, v in value.items():
            found += [f"{k} unknown"] if k not in known and others is False else errors(known.get(k, others), v, root)
    return found


def test_every_shape() -> None:
    schema = file_schema(Tree, "a tree")
    tree = Tree((Leaf(0.5), Leaf(math.inf, "b")), (3, "x"), {"top": Leaf(1.0)})
    plain = json.loads(json.dumps({"format": 1, **to_json(tree)}))
    assert errors(schema, plain) == []
    assert schema["description"] == "A tree."
    assert schema["required"] == ["leaves", "pair"]
    for change, words in (
        ({"leaves": [{"share": "half"}]}, "fits none"),
        ({"leaves": [{"kind": "a"}]}, "share missing"),
        ({"leaves": [{"share": 1, "kind": "c"}]}, "not in"),
        ({"pair": [3]}, "length"),
        ({"pair": [True, "x"]}, "no integer"),
        ({"other": 1}, "other unknown"),
        ({"format": 2}, "is not 1"),
    ):
        assert any(words in e for e in errors(schema, {**plain, **change})), change


def test_what_has_no_json_form_is_refused() -> None:
    @dataclass(frozen=True)
    class Odd:
        """Holds a set."""

        items: bytes

    with pytest.raises(TypeError, match="no JSON form"):
        file_schema(Odd, "odd")


def choices() -> list[Any]:
    """A full choice, and that of a study of format 1 before provenance was kept."""
    evidence = fakes.study()
    assert evidence.choice is not None
    full = replace(
        evidence.choice,
        simplified=Simplified({"prose": 0.001}, 0.001, 2e-5),
        provenance=Provenance("0.6M", 1, 2, 100, "prose", None, (0, 1), 9, 0, "f", "t", 1, {"cuvee": "0.1.0"}),
        citation=("Someone 2024",),
        diagnostics={"rank": math.nan},
    )
    old = Path(__file__).parents[1] / "study/fixtures/format1/choice.json"
    return [json.loads(json.dumps({"format": 1, **to_json(full)})), json.loads(old.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("value", choices())
def test_choices_fit_the_schema_of_choices(value: Any) -> None:
    schema = file_schema(Choice, "choice")
    assert errors(schema, value) == []
    assert errors(schema, {**value, "schedule": None})


def test_it_is_a_schema_to_the_reference_validator() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = file_schema(Choice, "choice")
    jsonschema.Draft202012Validator.check_schema(schema)
    for value in choices():
        jsonschema.Draft202012Validator(schema).validate(value)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema).validate({**choices()[0], "method": 3})
