from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cuvee.base.errors import DataError, UsageError
from cuvee.base.progress import Silent
from cuvee.cli.app import main
from cuvee.corpus import overlap, workers
from cuvee.corpus.examples import read_examples
from cuvee.corpus.leaks import leakage
from cuvee.corpus.prepare import prepare
from cuvee.corpus.report import PrepareReport
from cuvee.corpus.scan import ScanJob
from cuvee.shards.corpus import Corpus
from tests.corpus.writing import jsonl, sentences

pytestmark = pytest.mark.slow

LICENCE = " ".join(f"licence{i}" for i in range(15))
QUESTIONS = sentences(30, 50, words=20)


def source(folder: Path) -> Path:
    """Domain `a`: 20 of 120 documents quote a question. `b`: every one begins with a licence. `c`: 80 near-copies of one."""
    a = [f"{text} {QUESTIONS[i]} end" if i < 20 else text for i, text in enumerate(sentences(120, 1))]
    b = [f"{LICENCE} {text}" for text in sentences(80, 2)]
    c = [*sentences(100, 3), *(f"{QUESTIONS[29]} {sentences(1, 4)[0]} copy{i}" for i in range(15))]
    for name, rows in (("a", a), ("b", b), ("c", c)):
        jsonl(folder / f"{name}.jsonl", [{"text": row} for row in rows])
    return folder


def target(path: Path) -> Path:
    rows = [{"prompt": " ".join(q.split()[:15]), "continuation": " " + " ".join(q.split()[15:])} for q in QUESTIONS]
    return jsonl(path, [*rows, {"prompt": LICENCE, "continuation": " more"}])


def make(folder: Path, name: str, *targets: Path, **more: Any) -> Corpus:
    arguments: dict[str, Any] = {"tokenizer": "bytes", "min_held_out_bytes": 1000, **more}
    return prepare(folder / "in", out=folder / name, decontaminate=targets, **arguments)


def texts(corpus: Corpus, domain: str) -> list[str]:
    found = corpus.source(domain, "train")
    return [bytes(found.document(i)[:-1].tolist()).decode() for i in range(found.documents)]


def test_what_shares_a_run_leaves_train_and_nothing_else_does(tmp_path: Path) -> None:
    source(tmp_path / "in")
    file = target(tmp_path / "t.jsonl")
    before, after = make(tmp_path, "plain"), make(tmp_path, "clean", file)
    report = PrepareReport.load(after.path).decontamination
    assert report is not None
    assert PrepareReport.load(before.path).decontamination is None
    for domain in before.domains:
        kept = [t for t in texts(before, domain) if not any(q in t for q in QUESTIONS)]
        assert texts(after, domain) == kept
        gone = [t for t in texts(before, domain) if t not in kept]
        assert (report.documents[domain], report.bytes[domain]) == (len(gone), sum(map(len, gone)))
        for split in ("search", "verify"):
            old, new = before.domain(domain).split(split), after.domain(domain).split(split)
            assert [s.hash for s in old.shards] == [s.hash for s in new.shards]
    assert report.documents["a"] > 10
    assert report.documents["b"] == 0
    assert report.documents["c"] == 15  # copies of one text are no common phrase
    assert (report.files, report.runs, report.common) == ({str(file): 31}, 30 * 8 + 4, 3)
    assert before.fingerprint != after.fingerprint
    examples = read_examples(file).texts
    assert leakage(examples, before, Silent()).shared > 100
    assert leakage(examples, after, Silent()).shared == 0
    note = after.inventory.notes["decontaminated"]
    assert f"a {report.documents['a']} ({report.bytes['a']:,} bytes)" in note
    assert "244 such runs 3 are in more than 10" in note
    after.check()


def test_what_becomes_rare_by_leaving_out_is_left_out_too(tmp_path: Path) -> None:
    # a phrase of 12 documents is common, until five of them are left out for what they share besides
    phrase, passage = LICENCE, QUESTIONS[0]
    rows = [f"{phrase} {text}" + (f" {passage}" if i < 5 else "") for i, text in enumerate(sentences(12, 8))]
    jsonl(tmp_path / "in" / "a.jsonl", [{"text": row} for row in [*rows, *sentences(200, 9)]])
    file = jsonl(tmp_path / "t.jsonl", [{"text": passage}, {"text": phrase}])
    before = texts(make(tmp_path, "plain", search=0.001, verify=0.001, min_held_out_bytes=300), "a")
    assert sum(phrase in t for t in before) == 12
    corpus = make(tmp_path, "clean", file, search=0.001, verify=0.001, min_held_out_bytes=300)
    assert texts(corpus, "a") == [t for t in before if phrase not in t]
    only = make(
        tmp_path,
        "only",
        jsonl(tmp_path / "u.jsonl", [{"text": phrase}]),
        search=0.001,
        verify=0.001,
        min_held_out_bytes=300,
    )
    assert texts(only, "a") == before


def test_short_examples_count_whole(tmp_path: Path) -> None:
    source(tmp_path / "in")
    (hit,) = [t for t in texts(make(tmp_path, "plain"), "a") if QUESTIONS[3] in t]
    row = {"question": " ".join(hit.split()[5:9]) + "?", "answer": ", ".join(hit.split()[9:12])}
    corpus = make(tmp_path, "clean", jsonl(tmp_path / "t.jsonl", [row, {"question": "w50x1", "answer": "w50x2"}]))
    report = PrepareReport.load(corpus.path).decontamination
    assert report is not None
    assert (report.documents, report.runs) == ({"a": 1, "b": 0, "c": 0}, 1)


def test_workers_names_and_order_of_targets_change_nothing(tmp_path: Path) -> None:
    source(tmp_path / "in")
    one = target(tmp_path / "t.jsonl")
    two = jsonl(tmp_path / "u.jsonl", [{"text": text} for text in sentences(3, 2)])
    corpus = make(tmp_path, "one", one, two)
    (tmp_path / "moved").mkdir()
    moved = one.rename(tmp_path / "moved" / "v.jsonl")
    assert make(tmp_path, "one", two, moved).fingerprint == corpus.fingerprint
    assert make(tmp_path, "two", two, moved, workers=2).fingerprint == corpus.fingerprint
    with pytest.raises(UsageError, match="other options"):
        make(tmp_path, "one", moved)
    with pytest.raises(UsageError, match="other options"):
        make(tmp_path, "one")


def test_other_targets_keep_what_was_read_and_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source(tmp_path / "in")
    one = target(tmp_path / "t.jsonl")
    two = jsonl(tmp_path / "u.jsonl", [{"text": text} for text in sentences(3, 2)])

    class Killed(Exception):
        pass

    def dies(*_: object) -> None:
        raise Killed

    def again(job: ScanJob) -> None:
        raise AssertionError(f"{job.out} was there already")

    monkeypatch.setattr(overlap, "measure", dies)
    with pytest.raises(Killed):
        make(tmp_path, "out", one)
    monkeypatch.undo()
    monkeypatch.setitem(workers.DO, ScanJob, again)
    lines: list[str] = []

    class Lines(Silent):
        def say(self, line: str) -> None:
            lines.append(line)

    corpus = make(tmp_path, "out", two, progress=Lines())
    assert lines == ["the inputs or options changed: made anew are decontaminate, tokenizer, tokenise, overlap"]
    monkeypatch.undo()
    assert corpus.fingerprint == make(tmp_path, "fresh", two).fingerprint


def test_a_domain_that_is_all_target_is_refused(tmp_path: Path) -> None:
    source(tmp_path / "in")
    file = jsonl(tmp_path / "t.jsonl", [{"text": text} for text in sentences(120, 1)])
    with pytest.raises(DataError, match=r"train documents of the domain 'a' share 13 words"):
        make(tmp_path, "out", file)
    with pytest.raises(DataError, match="no such target file"):
        make(tmp_path, "out", tmp_path / "none.txt")


def test_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source(tmp_path / "in")
    file = target(tmp_path / "t.jsonl")
    call = ["prepare", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--tokenizer", "bytes", "--workers", "1"]
    call += ["--min-held-out-bytes", "1000", "--decontaminate", str(file)]
    with pytest.raises(SystemExit, match="0"):
        main(call)
    assert "decontaminated: " in capsys.readouterr().out
    with pytest.raises(SystemExit, match="0"):
        main([*call, "--json"])
    assert json.loads(capsys.readouterr().out)["decontamination"]["documents"]["c"] == 15
