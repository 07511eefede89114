from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cuvee.base.errors import DataError
from cuvee.interop.mixturefile import read_mixture, write_mixture
from cuvee.mixture.schedule import Phase, Schedule
from cuvee.mixture.weights import Mixture


@given(st.lists(st.integers(0, 1000), min_size=2, max_size=5).filter(any), st.integers(1, 10**12))
def test_a_schedule_comes_back_to_the_unit(tmp_path_factory: pytest.TempPathFactory, parts: list[int], at: int) -> None:
    names = [f"ü/{i}" for i in range(len(parts))]
    mixture = Mixture.from_shares(dict(zip(names, map(float, parts), strict=True)))
    schedule = Schedule((Phase(0, mixture), Phase(at, Mixture.from_shares(dict.fromkeys(names, 1.0)))))
    path = tmp_path_factory.mktemp("mixture") / "mixture.json"
    write_mixture(path, schedule, corpus="x", origin="test", tokens=5)
    assert read_mixture(path) == schedule


@pytest.mark.parametrize(
    ("name", "text"),
    [("m.json", '{"a": 3, "b": 1}'), ("m.yaml", "a: 3\nb: 1.0\n"), ("m.csv", "domain,share\na,0.75\nb,0.25\n")],
)
def test_shares_by_people(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert read_mixture(tmp_path / name).phases[0].mixture.as_dict() == {"a": 0.75, "b": 0.25}


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("m.json", "{", "no JSON"),
        ("m.json", "[]", "not an object"),
        ("m.json", '{"a": "x"}', "the weight of 'a'"),
        ("m.json", '{"a": -1, "b": 2}', "the weight of 'a'"),
        ("m.json", '{"a": 0}', "weights"),
        ("m.json", '{"format": 2, "phases": []}', "the format 2"),
        ("m.json", '{"format": 1, "phases": []}', "phases that start"),
        ("m.json", '{"format": 1, "phases": [{}]}', "no mixture"),
        ("m.yaml", "a: [", "no YAML"),
        ("m.csv", "x,y\n1,2\n", "the columns x, y"),
        ("m.csv", "domain,share\na,1\na,2\n", "twice"),
    ],
)
def test_broken_files(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read_mixture(tmp_path / name)
    assert said in str(caught.value), str(caught.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_mixture(tmp_path / "m.json")
