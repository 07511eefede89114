from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cuvee.base.codec import LATER, SchemaError, canonical, content_id, from_json, to_json


@dataclass(frozen=True)
class Inner:
    name: str
    rate: float = 1.0


@dataclass(frozen=True)
class Outer:
    inner: Inner
    many: tuple[Inner, ...] = ()
    pair: tuple[int, str] = (1, "a")
    table: Mapping[str, float] = dataclasses.field(default_factory=dict)
    mode: Literal["x", "y"] = "x"
    count: int = 0
    cap: float | None = None
    either: Mapping[str, float] | Literal["all"] = "all"


def test_round_trip_survives_json_text() -> None:
    value = Outer(Inner("é", 0.1), (Inner("b"),), (2, "z"), {"C/C++": 0.25}, "y", 7, None, {"a": 1.0})
    assert from_json(Outer, json.loads(json.dumps(to_json(value)))) == value


@given(st.floats(allow_nan=False))
def test_every_float_survives(x: float) -> None:
    assert from_json(Inner, json.loads(json.dumps(to_json(Inner("a", x)), allow_nan=False))).rate == x


def test_nan_survives() -> None:
    assert str(from_json(Inner, to_json(Inner("a", float("nan")))).rate) == "nan"


def test_an_int_in_a_float_field_gives_the_same_id() -> None:
    assert content_id(Inner("a", 4)) == content_id(Inner("a", 4.0))
    assert content_id(Outer(Inner("a"), cap=4)) == content_id(Outer(Inner("a"), cap=4.0))
    assert content_id(Inner("a", 4.0)) != content_id(Inner("a", 4.000000001))


def test_canonical_form_is_pinned() -> None:
    assert (
        canonical({"b": Inner("a", 0.5), "a": (1, None)})
        == '{"a":[1,null],"b":{"name":"a","rate":"0x1.0000000000000p-1"}}'
    )


def test_numbers_as_people_write_them() -> None:
    written = {
        "30M": 30_000_000,
        "3e7": 30_000_000,
        "1_000": 1000,
        "0.6M": 600_000,
        "2.01M": 2_010_000,
        "4.03M": 4_030_000,
    }
    for text, value in written.items():
        assert from_json(Outer, {"inner": {"name": "a"}, "count": text}).count == value


@pytest.mark.parametrize(
    ("data", "path", "said"),
    [
        ({"inner": {"name": "a", "rats": 1}}, ("inner", "rats"), "did you mean 'rate'?"),
        ({}, ("inner",), "add inner:"),
        ({"inner": {"name": 3}}, ("inner", "name"), "wanted: str"),
        ({"inner": {"name": "a"}, "mode": "z"}, ("mode",), "one of x, y"),
        ({"inner": {"name": "a"}, "count": 1.5}, ("count",), "whole number"),
        ({"inner": {"name": "a"}, "count": True}, ("count",), "whole number"),
        ({"inner": {"name": "a"}, "many": [{"name": "b"}, 3]}, ("many", "1"), "mapping"),
        ({"inner": {"name": "a"}, "pair": [1]}, ("pair",), "2 items"),
    ],
)
def test_errors_name_the_place_and_the_next_move(data: object, path: tuple[str, ...], said: str) -> None:
    with pytest.raises(SchemaError) as caught:
        from_json(Outer, data)
    assert caught.value.path == path
    assert said in str(caught.value)


@dataclass(frozen=True)
class Grown:
    old: int
    new: int = field(default=3, metadata=LATER)


def test_a_field_that_came_later_is_not_written_at_its_default() -> None:
    assert to_json(Grown(1)) == {"old": 1}
    assert canonical(Grown(1)) == '{"old":1}'
    assert to_json(Grown(1, 4)) == {"old": 1, "new": 4}
    for value in (Grown(1), Grown(1, 4)):
        assert from_json(Grown, to_json(value)) == value
