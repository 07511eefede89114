"""The schema against values that the codec writes, and against ones that it would refuse, by the reference validator."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import jsonschema
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


def errors(schema: Schema, value: Any) -> list[str]:
    """What the reference validator has against a value."""
    return [e.message for e in jsonschema.Draft202012Validator(schema).iter_errors(value)]


def test_every_shape() -> None:
    schema = file_schema(Tree, "a tree")
    tree = Tree((Leaf(0.5), Leaf(math.inf, "b")), (3, "x"), {"top": Leaf(1.0)})
    plain = json.loads(json.dumps({"format": 1, **to_json(tree)}))
    assert errors(schema, plain) == []
    assert schema["description"] == "A tree."
    assert schema["required"] == ["leaves", "pair"]
    for change, words in (
        ({"leaves": [{"share": "half"}]}, "not valid under any"),
        ({"leaves": [{"kind": "a"}]}, "'share' is a required property"),
        ({"leaves": [{"share": 1, "kind": "c"}]}, "is not one of"),
        ({"pair": [3]}, "is too short"),
        ({"pair": [True, "x"]}, "is not of type 'integer'"),
        ({"other": 1}, "'other' was unexpected"),
        ({"format": 2}, "1 was expected"),
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
    jsonschema.Draft202012Validator.check_schema(schema)
    assert errors(schema, value) == []
    assert errors(schema, {**value, "schedule": None})
