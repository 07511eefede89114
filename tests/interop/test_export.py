from __future__ import annotations

import json
from pathlib import Path

import pytest

from cuvee.base.errors import DataError, UsageError
from cuvee.interop import megatron
from cuvee.interop.export import export
from cuvee.mixture.schedule import Phase, Schedule
from cuvee.mixture.weights import Mixture
from cuvee.plan.choice import Choice
from cuvee.shards.indexed import IndexedDataset
from cuvee.testing.corpora import synthetic


def test_the_blend_names_real_shards_with_the_shares_of_their_domains(tmp_path: Path) -> None:
    corpus = synthetic(tmp_path / "corpus", documents=60)
    mixture = Mixture.from_shares({"a": 0.7, "b": 0.3, "c": 0.0})
    files = export(Choice("test", Schedule.constant(mixture)), "megatron", corpus, out=tmp_path / "out")
    rows = megatron.parse((tmp_path / "out" / "blend-00.txt").read_text(encoding="utf-8"))
    assert sum(w for w, _ in rows) == pytest.approx(1)
    assert all(w > 0 for w, _ in rows), "Megatron asserts positive weights; c is left out"
    tokens = {prefix: IndexedDataset(Path(prefix)).tokens for _, prefix in rows}
    assert sum(tokens.values()) == corpus.train_tokens["a"] + corpus.train_tokens["b"]
    assert {f.name for f in files} == {"blend-00.txt", "README.md", "mixture.json"}
    value = json.loads((tmp_path / "out" / "mixture.json").read_text(encoding="utf-8"))
    assert value["corpus"] == corpus.fingerprint
    assert value["phases"][0]["units"] == dict(zip(mixture.domains, mixture.units, strict=True))


def test_a_phase_a_file(tmp_path: Path) -> None:
    corpus = synthetic(tmp_path / "corpus", documents=60)
    first, second = Mixture.from_shares({"a": 1, "b": 1, "c": 1}), Mixture.from_shares({"a": 0, "b": 0, "c": 1})
    export(Schedule((Phase(0, first), Phase(1000, second))), "megatron", corpus, out=tmp_path / "out")
    assert len(megatron.parse((tmp_path / "out" / "blend-01.txt").read_text(encoding="utf-8"))) == 1
    assert "From 1,000 tokens" in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")


def test_refusals(tmp_path: Path) -> None:
    corpus = synthetic(tmp_path / "corpus", documents=60)
    schedule = Schedule.constant(Mixture.from_shares({"a": 1, "b": 1, "c": 1}))
    with pytest.raises(UsageError, match="no exporter 'megatrom'") as caught:
        export(schedule, "megatrom", corpus, out=tmp_path / "out")
    assert "did you mean 'megatron'" in str(caught.value)
    with pytest.raises(UsageError, match="the corpus holds"):
        export(Schedule.constant(Mixture.from_shares({"x": 1.0})), "megatron", corpus, out=tmp_path / "out")
    spaced = synthetic(tmp_path / "with space" / "corpus", documents=60)
    with pytest.raises(DataError, match="white space"):
        export(schedule, "megatron", spaced, out=tmp_path / "out")


@pytest.mark.parametrize("text", ["0.6 /a /b 0.4 /c", "0.6 /a 0.4", "/a 0.6"])
def test_a_missing_weight_is_an_error_here(text: str) -> None:
    with pytest.raises(DataError):
        megatron.parse(text)
