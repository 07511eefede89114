from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cuvee.base.errors import DataError, PartialError, UsageError
from cuvee.corpus import workers
from cuvee.corpus.prepare import prepare
from cuvee.corpus.report import PrepareReport
from cuvee.corpus.scan import ScanJob
from cuvee.shards.corpus import Corpus
from cuvee.shards.splits import SPLITS
from tests.corpus.writing import jsonl, sentences, texts

SHARED = Path(__file__).parents[3] / "shared" / "corpora"


def small(source: Path, out: Path, **more: Any) -> Corpus:
    arguments: dict[str, Any] = {"out": out, "tokenizer": "bytes", "min_held_out_bytes": 1000, **more}
    return prepare(source, **arguments)


def all_texts(corpus: Corpus, domain: str) -> list[str]:
    found = []
    for split in SPLITS:
        source = corpus.source(domain, split)
        for i in range(source.documents):
            ids = source.document(i)
            assert ids[-1] == 256
            found.append(ids[:-1].astype(np.uint8).tobytes().decode())
    return found


def test_every_document_arrives_once_in_one_split(tmp_path: Path) -> None:
    corpus = small(texts(tmp_path / "in"), tmp_path / "out")
    for seed, domain in enumerate(("a", "b")):
        assert sorted(all_texts(corpus, domain)) == sorted(sentences(60, seed))
        info = corpus.domain(domain)
        assert min(info.search.bytes, info.verify.bytes) >= 1000
        assert max(info.search.bytes, info.verify.bytes) <= 0.15 * sum(info.split(s).bytes for s in SPLITS)
        assert (info.overlap_search, info.overlap_verify) == (0, 0)
    corpus.check()
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["inventory.json", "prepare_report.json", "shards"]


def test_again_returns_the_finished_corpus_and_refuses_another(tmp_path: Path) -> None:
    source, out = texts(tmp_path / "in"), tmp_path / "out"
    first = small(source, out)
    before = (out / "inventory.json").stat().st_mtime_ns
    os.utime(source / "a.jsonl.gz", (1, 1))  # copied anew, the same inside
    assert small(source, out).fingerprint == first.fingerprint
    assert (out / "inventory.json").stat().st_mtime_ns == before
    with pytest.raises(UsageError, match="other options"):
        small(source, out, seed=1)
    jsonl(source / "b.jsonl.gz", [{"text": "changed"}])
    with pytest.raises(UsageError, match=r"b.jsonl.gz has changed"):
        small(source, out)
    assert Corpus.open(out).fingerprint == first.fingerprint


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").touch()
    with pytest.raises(UsageError, match="not empty"):
        small(texts(tmp_path / "in"), tmp_path / "out")


@pytest.mark.slow
def test_workers_places_and_layout_change_nothing(tmp_path: Path) -> None:
    source = texts(tmp_path / "in", 40)
    first = prepare(source, out=tmp_path / "one", vocab=300, min_held_out_bytes=1000)
    second = prepare([str(source)], out=tmp_path / "two", vocab=300, min_held_out_bytes=1000, workers=2)
    assert first.fingerprint == second.fingerprint
    assert first.vocab_size == 300
    shutil.move(source, tmp_path / "moved")
    shutil.move(tmp_path / "two", tmp_path / "elsewhere")
    again = prepare(tmp_path / "moved", out=tmp_path / "elsewhere", vocab=300, min_held_out_bytes=1000)
    assert again.fingerprint == first.fingerprint


def test_duplicates_and_files_stay_on_one_side(tmp_path: Path) -> None:
    base = sentences(80, 0, words=200)
    near = [text.replace(text.split()[100], "changed") for text in base[:40]]
    jsonl(tmp_path / "in" / "a.jsonl", [{"text": text} for text in [*base, *base[:10]]])
    jsonl(tmp_path / "in" / "b.jsonl", [{"text": text} for text in [*near, *sentences(60, 1)]])
    corpus = small(tmp_path / "in", tmp_path / "out", min_held_out_bytes=6000)
    where: dict[str, str] = {}
    for domain in corpus.domains:
        for split in SPLITS:
            source = corpus.source(domain, split)
            for i in range(source.documents):
                text = source.document(i)[:-1].astype(np.uint8).tobytes().decode()
                assert where.setdefault(text, split) == split
    missed = [i for i in range(40) if where[base[i]] != where[near[i]]]
    assert missed == []
    report = PrepareReport.load(tmp_path / "out")
    assert report.duplicates.exact == 10
    assert report.duplicates.near_clusters == report.duplicates.across_domains == 40
    assert sum(len(all_texts(corpus, domain)) for domain in corpus.domains) == 190


def test_overlap_is_measured(tmp_path: Path) -> None:
    shared = " ".join(f"phrase{i}" for i in range(20))
    rows = [{"text": f"{text} {shared}"} for text in sentences(100, 0, words=100, vocabulary=10**9)]
    jsonl(tmp_path / "in" / "a.jsonl", rows)
    corpus = small(tmp_path / "in", tmp_path / "out")
    # of the 108 shingles of a document, 8 lie inside the shared phrase
    assert corpus.domain("a").overlap_search == pytest.approx(8 / 108)
    assert corpus.domain("a").overlap_verify == pytest.approx(8 / 108)


def test_domains_from_a_field_with_awkward_names(tmp_path: Path) -> None:
    names = ["C/C++", "c/c++", "../up", "日本"]
    rows = [{"text": text, "lang": name} for i, name in enumerate(names) for text in sentences(40, i)]
    corpus = small(jsonl(tmp_path / "rows.jsonl", rows), tmp_path / "out", domains="field:lang")
    assert sorted(corpus.domains) == sorted(names)
    for i, name in enumerate(names):
        assert sorted(all_texts(corpus, name)) == sorted(sentences(40, i))
    assert len({d.slug.lower() for d in corpus.inventory.domains}) == 4
    assert {p.parent for p in (tmp_path / "out").rglob("*.bin")} == {
        tmp_path / "out" / "shards" / d.slug for d in corpus.inventory.domains
    }


def test_text_files_by_folder_and_by_file(tmp_path: Path) -> None:
    for i, text in enumerate(sentences(40, 0)):
        path = tmp_path / "in" / "code" / f"{i}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    jsonl(tmp_path / "in" / "web" / "rows.jsonl", [{"text": text} for text in sentences(40, 1)])
    corpus = small(tmp_path / "in", tmp_path / "folders")
    assert corpus.domains == ("code", "web")
    assert sorted(all_texts(corpus, "code")) == sorted(sentences(40, 0))
    (tmp_path / "book.txt").write_text("\n\n".join(sentences(600, 2)) + "\n", encoding="utf-8")
    book = small(tmp_path / "book.txt", tmp_path / "book")
    assert book.domains == ("book",)
    assert book.source("book", "train").documents > 10


def test_bad_lines_are_counted_shown_or_fatal(tmp_path: Path) -> None:
    rows: list[Any] = [{"text": text} for text in sentences(40, 0)]
    jsonl(tmp_path / "in" / "a.jsonl", [*rows[:3], "{broken", *rows[3:], {"text": " "}])
    corpus = small(tmp_path / "in", tmp_path / "out")
    report = PrepareReport.load(tmp_path / "out")
    assert (report.bad_lines, report.empty) == (1, 1)
    assert str(report.shown[0]).startswith("a.jsonl:4: not JSON")
    assert "a.jsonl:4" in corpus.inventory.notes["bad lines"]
    assert sorted(all_texts(corpus, "a")) == sorted(sentences(40, 0))
    with pytest.raises(DataError, match=r"a.jsonl:4: not JSON"):
        small(tmp_path / "in", tmp_path / "strict", on_bad_line="fail")
    assert not (tmp_path / "strict" / "inventory.json").exists()


def test_a_domain_without_documents_is_named(tmp_path: Path) -> None:
    source = texts(tmp_path / "in")
    jsonl(source / "c.jsonl", [{"body": "not the field"}])
    with pytest.raises(DataError, match=r"domain 'c'\n  c.jsonl:1: the field 'text' is missing; the row has body"):
        small(source, tmp_path / "out")


@pytest.mark.parametrize(
    "wrong",
    [{"workers": 0}, {"on_bad_line": "ignore"}, {"vocab": 100, "tokenizer": None}, {"search": 0.5}, {"domains": "x"}],
)
def test_arguments_that_make_no_sense(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        small(texts(tmp_path / "in", 2), tmp_path / "out", **wrong)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_changed_options_keep_the_stages_before_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, out = texts(tmp_path / "in"), tmp_path / "out"
    lines: list[str] = []
    full_disk_after(monkeypatch, 20)
    with pytest.raises(PartialError):
        small(source, out)
    monkeypatch.undo()

    class Lines:
        def advance(self, amount: float = 1.0, note: str = "") -> None: ...

        def say(self, line: str) -> None:
            lines.append(line)

    def again(job: ScanJob) -> None:
        raise AssertionError(f"{job.out} was there already")

    monkeypatch.setitem(workers.DO, ScanJob, again)
    corpus = small(source, out, seed=5, progress=Lines())
    assert lines == ["the inputs or options changed: made anew are split, tokenizer, tokenise, overlap"]
    monkeypatch.undo()
    assert corpus.fingerprint == small(source, tmp_path / "other", seed=5).fingerprint


def full_disk_after(monkeypatch: pytest.MonkeyPatch, calls: int) -> None:
    """Make the disk full after `calls` files have reached it."""
    count = 0
    real = os.fsync

    def fsync(handle: int) -> None:
        nonlocal count
        count += 1
        if count > calls:
            raise OSError(28, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)


def outcome_with_room_for(calls: int, monkeypatch: pytest.MonkeyPatch, source: Path, out: Path) -> str:
    with monkeypatch.context() as patch:
        full_disk_after(patch, calls)
        try:
            small(source, out)
        except PartialError as error:
            return str(error)
    return ""


@pytest.mark.slow
@pytest.mark.parametrize("calls", [0, 12, 25])
def test_a_full_disk_is_explained_and_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: int) -> None:
    source, out = texts(tmp_path / "in", 30), tmp_path / "out"
    assert "disk is full" in outcome_with_room_for(calls, monkeypatch, source, out)
    assert not (out / "inventory.json").exists()
    assert small(source, out).fingerprint == small(source, tmp_path / "whole").fingerprint


@pytest.mark.slow
def test_a_full_disk_at_every_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = texts(tmp_path / "in", 30)
    whole = small(source, tmp_path / "whole").fingerprint
    for calls in range(200):
        out = tmp_path / f"out{calls}"
        said = outcome_with_room_for(calls, monkeypatch, source, out)
        if (out / "inventory.json").exists():
            assert Corpus.open(out).fingerprint == whole
        assert small(source, out).fingerprint == whole
        if not said:
            assert calls > 30
            return
        assert "disk is full" in said
    raise AssertionError("it never got to the end")


def test_progress_adds_up_to_one(tmp_path: Path) -> None:
    class Sum:
        done = 0.0

        def advance(self, amount: float = 1.0, note: str = "") -> None:
            self.done += amount

        def say(self, line: str) -> None: ...

    progress = Sum()
    small(texts(tmp_path / "in"), tmp_path / "out", progress=progress)
    assert progress.done == pytest.approx(1)


@pytest.mark.slow
def test_killed_at_any_moment_it_resumes_to_the_same_corpus(tmp_path: Path) -> None:
    source = texts(tmp_path / "in", 800, tuple("abcdef"))
    whole = prepare(source, out=tmp_path / "whole", vocab=1000, min_held_out_bytes=5000, workers=2)
    script = (
        "import sys; from cuvee.corpus.prepare import prepare;"
        "print(prepare(sys.argv[1], out=sys.argv[2], vocab=1000, min_held_out_bytes=5000, workers=2).fingerprint)"
    )
    rng = np.random.default_rng(0)
    kills = 0
    while kills < 8:
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(source), str(tmp_path / "out")], stdout=subprocess.PIPE
        )
        while process.poll() is None and not (tmp_path / "out" / ".prepare" / "lock").exists():
            time.sleep(0.01)
        try:
            process.wait(timeout=rng.uniform(0.0, 1.5))
            shutil.rmtree(tmp_path / "out")  # it was done before the blow: once more from the start
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
        assert process.stdout is not None
        process.stdout.close()
    done = subprocess.run(
        [sys.executable, "-c", script, str(source), str(tmp_path / "out")], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == whole.fingerprint
    Corpus.open(tmp_path / "out").check()
    assert not list((tmp_path / "out").rglob("*.tmp"))


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.is_dir(), reason="the ten real domains are not here")
def test_the_ten_real_domains(tmp_path: Path) -> None:
    corpus = prepare(SHARED, out=tmp_path / "corpus", workers=2)
    assert len(corpus.domains) == 10
    for domain in corpus.inventory.domains:
        assert min(domain.search.bytes, domain.verify.bytes) >= 60_000
        assert max(domain.overlap_search, domain.overlap_verify) < 0.25
    # a plain hash split leaks 25 % here
    assert max(corpus.domain("tech_docs").overlap_search, corpus.domain("tech_docs").overlap_verify) < 0.01
    assert json.loads((tmp_path / "corpus" / "inventory.json").read_text(encoding="utf-8"))["format"] == 1
