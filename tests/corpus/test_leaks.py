from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cuvee.base.errors import DataError
from cuvee.base.progress import Silent
from cuvee.corpus.leaks import COMMON, Finder, Leakage, Runs, leakage, refuse_leaks, word_hashes
from cuvee.corpus.prepare import prepare
from cuvee.corpus.tokenizer import decoder
from cuvee.shards.corpus import Corpus
from tests.corpus.writing import jsonl, sentences

LICENCE = " ".join(f"licence{i}" for i in range(15))
NEW = sentences(40, 77)


@pytest.fixture(scope="module", params=["bytes", "bpe"])
def corpus(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    folder = tmp_path_factory.mktemp(request.param)
    jsonl(folder / "in" / "plain.jsonl", [{"text": text} for text in sentences(80, 1)])
    jsonl(folder / "in" / "code.jsonl", [{"text": f"{LICENCE} {text}"} for text in sentences(80, 2)])
    tokenizer: Literal["bytes"] | None = "bytes" if request.param == "bytes" else None
    return prepare(folder / "in", out=folder / "out", tokenizer=tokenizer, vocab=400, min_held_out_bytes=1000)


def train(corpus: Corpus, domain: str) -> list[str]:
    source = corpus.source(domain, "train")
    return decoder(corpus.inventory.tokenizer, corpus.path)([source.document(i) for i in range(source.documents)])


def test_runs_of_long_short_and_too_short_texts() -> None:
    runs = Runs.of(
        ["a b c d e", "a b c d e f", "A, b? C! d e f.", " ".join("abcdefghijklmnopqrst"), "a b c d e f g", ""]
    )
    assert runs.lengths == (6, 7, 13)
    assert np.bincount(runs.example_O, minlength=6).tolist() == [0, 1, 1, 8, 1, 0]
    assert len(runs.known_R) == 10  # case and punctuation are nothing
    assert runs.short == 2
    nothing = Runs.of([])
    assert (nothing.examples, len(nothing.known_R)) == (0, 0)


@given(st.lists(st.text("ab ", max_size=40), max_size=6), st.lists(st.text("ab ", max_size=60), max_size=6))
def test_the_finder_finds_what_a_set_finds(targets: list[str], documents: list[str]) -> None:
    runs = Runs.of(targets)
    words, ends = word_hashes(documents)
    document, run = Finder(runs.known_R, runs.lengths).find(words, ends)
    wanted = set()
    for t in map(str.split, targets):
        size = min(len(t), 13)
        wanted |= {tuple(t[at : at + size]) for at in range(len(t) - size + 1) if size >= 6}
    found = {
        (i, tuple(d.split()[at : at + size]))
        for i, d in enumerate(documents)
        for size in range(6, 14)
        for at in range(len(d.split()) - size + 1)
        if tuple(d.split()[at : at + size]) in wanted
    }
    assert len(document) == len(found) == len(set(zip(document.tolist(), run.tolist(), strict=True)))
    assert sorted(document.tolist()) == sorted(i for i, _ in found)


def test_what_is_new_does_not_leak(corpus: Corpus) -> None:
    found = leakage(NEW, corpus, Silent())
    assert found == Leakage(40, 0, 40 * 48, 0, {"code": 0, "plain": 0})
    refuse_leaks("t.jsonl", found)


def test_copies_are_found_with_their_domain(corpus: Corpus) -> None:
    copied = train(corpus, "plain")[:10]
    half = " ".join([*copied[0].split()[:40], *NEW[0].split()[:20]])  # 28 of 48 runs
    less = " ".join([*copied[0].split()[:30], *NEW[1].split()[:30]])  # 18 of 48
    found = leakage([*copied[:9], half, less, *NEW[:9]], corpus, Silent())
    assert (found.examples, found.leaked, found.shared) == (20, 10, 9 * 48 + 28 + 18)
    assert found.by_domain == {"code": 0, "plain": found.shared_share}
    assert found.which == tuple(range(1, 11))
    with pytest.raises(
        DataError, match=r"10 of 20 examples \(50\.0%\) \(the first: number 1, 2, .*49\.8%.*: plain 49\.8%"
    ) as error:
        refuse_leaks("t.jsonl", found)
    assert "--decontaminate t.jsonl" in error.value.fix
    assert "--allow-leak" in error.value.fix


def test_short_examples(corpus: Corpus) -> None:
    words = train(corpus, "plain")[3].split()
    parts = [words[:5], words[5:11], words[20:28], words[30:42], ["x", *words[20:27]]]
    found = leakage([" ".join(part) for part in parts], corpus, Silent())
    assert (found.examples, found.short, found.leaked, found.shingles, found.shared) == (5, 1, 3, 4, 3)
    assert found.leaked_share == 3 / 4


def test_common_phrases_are_no_shared_runs_but_an_example_of_them_is_leaked(corpus: Corpus) -> None:
    found = leakage([f"{LICENCE} {text}" for text in NEW], corpus, Silent())
    assert (found.leaked, found.shared, found.common) == (0, 0, 40 * 3)
    refuse_leaks("t", found)
    assert leakage([LICENCE], corpus, Silent()) == Leakage(1, 1, 0, 0, {"code": 0, "plain": 0}, common=3, which=(1,))


def test_it_agrees_with_the_overlap_that_prepare_measures(tmp_path: Path) -> None:
    passages = sentences(30, 5, words=20)
    rows = [{"text": f"{text} {passages[i % 30]}"} for i, text in enumerate(sentences(120, 6))]
    jsonl(tmp_path / "in" / "a.jsonl", rows)
    corpus = prepare(tmp_path / "in", out=tmp_path / "out", tokenizer="bytes", min_held_out_bytes=4000)
    source = corpus.source("a", "verify")
    texts = decoder(corpus.inventory.tokenizer, corpus.path)([source.document(i) for i in range(source.documents)])
    found = leakage(texts, corpus, Silent())
    assert 0.05 < found.shared_share == corpus.domain("a").overlap_verify


def test_progress_sums_to_one(corpus: Corpus) -> None:
    class Sum:
        done = 0.0

        def advance(self, amount: float = 1.0, note: str = "") -> None:
            self.done += amount

        def foresee(self, left: str) -> None: ...

        def say(self, line: str) -> None: ...

    progress = Sum()
    leakage(NEW, corpus, progress)
    assert progress.done == pytest.approx(1)


def test_thresholds() -> None:
    refuse_leaks("t", Leakage(200, 2, 1000, 50, {"a": 0.05}))
    refuse_leaks("t", Leakage(0, 0, 0, 0, {}))
    for leaking in (Leakage(200, 3, 1000, 0, {}), Leakage(200, 0, 1000, 51, {}), Leakage(200, 2, 0, 0, {}, short=100)):
        with pytest.raises(DataError, match="t is in the train split"):
            refuse_leaks("t", leaking)
    assert COMMON == 10


def test_a_tokenizer_that_gives_no_words_back_is_refused(corpus: Corpus, tmp_path: Path) -> None:
    if corpus.inventory.tokenizer.kind == "bytes":
        return
    broken = json.loads((corpus.path / "tokenizer.json").read_text(encoding="utf-8")) | {"decoder": None}
    (tmp_path / "tokenizer.json").write_text(json.dumps(broken), encoding="utf-8")
    with pytest.raises(DataError, match="does not give the words"):
        leakage(["Übung macht den Meister, sagt man hier"] * 3, dataclasses.replace(corpus, path=tmp_path), Silent())
