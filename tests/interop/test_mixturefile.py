from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cuvee.base.errors import DataError
from cuvee.interop.mixturefile import read_mixture, write_history, write_mixture
from cuvee.mixture.schedule import Phase, Schedule
from cuvee.mixture.weights import Mixture
from cuvee.stream.loader import Loader
from cuvee.stream.repetition import Repetition
from cuvee.testing.corpora import synthetic


@given(
    st.lists(st.integers(0, 1000), min_size=2, max_size=5).filter(any), st.integers(1, 10**12), st.integers(0, 10**12)
)
def test_a_schedule_comes_back_to_the_unit(
    tmp_path_factory: pytest.TempPathFactory, parts: list[int], at: int, ramp: int
) -> None:
    names = [f"ü/{i}" for i in range(len(parts))]
    mixture = Mixture.from_shares(dict(zip(names, map(float, parts), strict=True)))
    schedule = Schedule((Phase(0, mixture), Phase(at, Mixture.from_shares(dict.fromkeys(names, 1.0)), ramp)))
    path = tmp_path_factory.mktemp("mixture") / "mixture.json"
    write_mixture(path, schedule, corpus="x", origin="test", tokens=5)
    assert read_mixture(path) == schedule
    assert ("ramp" in path.read_text(encoding="utf-8")) == (ramp > 0)


def test_the_history_of_a_run_serves_the_same_batches_again(tmp_path: Path) -> None:
    corpus = synthetic(tmp_path / "corpus", documents=40)

    def fresh(schedule: Schedule) -> Loader:
        caps = Repetition({"a": 0.2}, "redistribute")
        return Loader(corpus, schedule, seq_len=32, seed=0, batch=8, repetition=caps)

    start = Schedule.constant(Mixture.from_shares({"a": 1, "b": 1, "c": 1}))
    run = fresh(start.then(4000, Mixture.from_shares({"a": 3, "b": 1, "c": 2}), ramp=2000))
    run.change(900, Mixture.from_shares({"a": 0, "b": 1, "c": 4}), "c stalls", ramp=700)
    served = [next(run).tokens for _ in range(30)]
    write_history(tmp_path / "mixture.json", run.history(), corpus=corpus.fingerprint)
    again = fresh(read_mixture(tmp_path / "mixture.json"))
    assert all(np.array_equal(next(again).tokens, tokens) for tokens in served)
    said = json.loads((tmp_path / "mixture.json").read_text(encoding="utf-8"))
    assert [e["cause"].partition(" sequences")[0] for e in said["log"]][:2] == ["planned", "c stalls"]
    assert {d: s["tokens"] for d, s in said["served"].items()} == run.realised
    assert said["served"]["a"]["epochs"] == run.epochs["a"] == pytest.approx(0.2, abs=0.01)


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
        ("m.json", '{"format": 1, "phases": [{}]}', "wanted: `start` and `shares`"),
        ("m.json", '{"format": 1, "phases": [{"strat": 0, "shares": {"a": 1}}]}', "start"),
        ("m.json", '{"format": 1, "phases": [{"start": 0, "ramps": 5, "shares": {"a": 1}}]}', "a phase has 'ramps'"),
        ("m.json", '{"format": 1, "unit": "documents", "phases": [{"start": 0, "shares": {"a": 1}}]}', "of documents"),
        ("m.yaml", "a: [", "no YAML"),
        ("m.csv", "x,y\n1,2\n", "the columns x, y"),
        ("m.csv", "domain,share\na,1\na,2\n", "twice"),
        ("m.csv", "domain,share\na,1,5\nb,2,5\n", "'a' has more values"),
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
