"""A file of the user's as a target of a real corpus with a real tokenizer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cuvee.base.errors import DataError
from cuvee.corpus.prepare import prepare
from cuvee.interop import targets
from cuvee.interop.targets import load_target
from cuvee.shards.corpus import Corpus


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    root = tmp_path_factory.mktemp("targets")
    for name in ("ants", "bees"):
        lines = [json.dumps({"text": f"{name} number {i} go to the {i * 7 % 31} hill. " * 6}) for i in range(120)]
        (root / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return prepare([root], out=root / "corpus", vocab=300, min_held_out_bytes=100)


def sums(path: Path, count: int) -> Path:
    rows = [{"question": f"What is {i} plus {i * 3}?", "answer": str(4 * i)} for i in range(count)]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def test_two_halves_of_a_file(corpus: Corpus, tmp_path: Path) -> None:
    found = load_target("sums", sums(tmp_path / "sums.jsonl", 60), corpus, seq_len=32)
    assert found.measure.kind == "continuation"
    assert found.measure.unit == "bits/byte"
    assert (found.measure.search, found.measure.verify) == (found.search.sha, found.verify.sha)
    assert found.search.sha != found.verify.sha
    assert found.examples == found.scored == 60
    assert found.measure.tokens >= found.search.counts_WL.size
    again = load_target("sums", tmp_path / "sums.jsonl", corpus, seq_len=32)
    assert again.measure == found.measure
    other = load_target("sums", tmp_path / "sums.jsonl", corpus, seq_len=32, seed=1)
    assert other.measure != found.measure, "the seed decides which half is which"


def test_large_files_are_thinned_evenly(corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = sums(tmp_path / "sums.jsonl", 200)
    whole = load_target("sums", path, corpus, seq_len=32)
    monkeypatch.setattr(targets, "MOST", whole.search.counts_WL.size // 3)
    thin = load_target("sums", path, corpus, seq_len=32)
    assert thin.examples == 200
    assert 200 // 5 <= thin.scored <= 200 // 3 + 2, "one in three or four"
    assert thin.search.counts_WL.size <= whole.search.counts_WL.size // 3 + 32


def test_too_few_examples(corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="20 on each side"):
        load_target("sums", sums(tmp_path / "few.jsonl", 30), corpus, seq_len=32)
