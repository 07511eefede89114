from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from cuvee.base.errors import DataError, InfeasibleError, PartialError, UsageError
from cuvee.corpus.prepare import prepare
from cuvee.interop import materialise as module
from cuvee.interop import shardwriters
from cuvee.interop.materialise import Form, Manifest, materialise
from cuvee.mixture.schedule import Phase, Schedule
from cuvee.mixture.weights import Mixture
from cuvee.shards.corpus import Corpus
from cuvee.shards.indexed import IndexedDataset
from cuvee.testing.corpora import synthetic

TOKENS = 40_000
TWO = Schedule(
    (
        Phase(0, Mixture.from_shares({"a": 0.7, "b": 0.3, "c": 0})),
        Phase(25_000, Mixture.from_shares({"a": 0.1, "b": 0.2, "c": 0.7})),
    )
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return synthetic(tmp_path_factory.mktemp("materialise") / "corpus", documents=60)


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """A corpus with a tokenizer: real text goes in, text comes out."""
    root = tmp_path_factory.mktemp("texts")
    for name in TWO.domains:
        words = [f"{name} tells story {i} über {' '.join(str(i * j % 97) for j in range(90))}" for i in range(80)]
        rows = "".join(json.dumps({"text": w}) + "\n" for w in words)
        (root / f"{name}.jsonl").write_text(rows, encoding="utf-8")
    return prepare(
        [root / f"{d}.jsonl" for d in TWO.domains], out=root / "corpus", tokenizer="bytes", min_held_out_bytes=100
    )


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def asked() -> dict[str, int]:
    first, second = TWO.phases[0].mixture.tokens(25_000), TWO.phases[1].mixture.tokens(15_000)
    return {d: x + y for d, x, y in zip(TWO.domains, first, second, strict=True)}


def test_token_shards_hold_exactly_what_was_asked_for(corpus: Corpus, tmp_path: Path) -> None:
    made = materialise(TWO, corpus, out=tmp_path, tokens=TOKENS, form="megatron", shard_tokens=5_000)
    found = dict.fromkeys(TWO.domains, 0)
    for shard in made.shards:
        data = IndexedDataset(tmp_path / shard.path)
        assert (data.tokens, data.documents) == (shard.tokens, shard.documents)
        found[shard.domain] += data.tokens
    assert found == asked()
    assert {t.domain: t.written for t in made.domains} == asked()
    assert len(made.shards) > 6
    assert all(t.epochs == t.written / corpus.train_tokens[t.domain] for t in made.domains)
    assert "written" in str(made)


def test_every_document_once_before_any_twice(corpus: Corpus, tmp_path: Path) -> None:
    n = corpus.train_tokens["a"]
    only = Schedule.constant(Mixture.from_shares({"a": 1, "b": 0, "c": 0}))
    made = materialise(only, corpus, out=tmp_path, tokens=2 * n, form="megatron")
    (shard,) = made.shards
    data = IndexedDataset(tmp_path / shard.path)
    train = corpus.source("a", "train")
    whole = sorted(train.document(i).tobytes() for i in range(train.documents))
    rows = [data.document(i).tobytes() for i in range(data.documents)]
    assert sorted(rows[: train.documents]) == whole
    assert sorted(rows[train.documents :]) == whole
    assert rows[: train.documents] != rows[train.documents :], "each epoch is newly permuted"


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_rows_of_text(form: Form, texts: Corpus, tmp_path: Path) -> None:
    made = materialise(TWO, texts, out=tmp_path, tokens=TOKENS, form=form, layout="mixed")
    rows: list[dict[str, Any]] = []
    for shard in made.shards:
        path = tmp_path / f"{shard.path}.{form}"
        if form == "jsonl":
            rows += [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        else:
            rows += pq.read_table(path).to_pylist()
    assert len(rows) == sum(s.documents for s in made.shards)
    first = [r["domain"] for r in rows[: made.shards[0].documents]]
    half = first[: len(first) // 2]
    assert abs(half.count("a") / len(half) - first.count("a") / len(first)) < 0.1, "spread evenly"
    assert all(r["text"] for r in rows)


def test_workers_and_interruptions_change_no_byte(
    texts: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(name: str, workers: int = 1) -> Manifest:
        return materialise(TWO, texts, out=tmp_path / name, tokens=TOKENS, shard_tokens=4_000, workers=workers)

    run("one")
    whole = content(tmp_path / "one")
    real, calls = shardwriters.write_shard, list[int]()

    def full(*arguments: Any) -> tuple[int, str]:
        calls.append(1)
        if len(calls) == 4:
            raise PartialError("the disk is full: could not write")
        return real(*arguments)

    monkeypatch.setattr(module, "write_shard", full)
    with pytest.raises(PartialError, match="disk is full"):
        run("two")
    assert not (tmp_path / "two" / "manifest.json").exists()
    run("two")
    assert content(tmp_path / "two") == whole
    assert len(calls) == len(json.loads(whole["manifest.json"])["shards"]) + 1, "finished shards are kept"
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "two").rglob("part-*")}
    run("two")
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "two").rglob("part-*")} == before


def test_a_write_that_fails_for_want_of_space(texts: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(PartialError, match="the disk is full"):
        materialise(TWO, texts, out=tmp_path / "x", tokens=TOKENS)
    monkeypatch.undo()
    assert not list((tmp_path / "x").rglob("part-*"))


@pytest.mark.slow
def test_several_processes_and_kill_9(texts: Corpus, tmp_path: Path) -> None:
    materialise(TWO, texts, out=tmp_path / "one", tokens=TOKENS, shard_tokens=500)
    code = (
        "import sys; from cuvee import Corpus, materialise; from cuvee.interop.mixturefile import read_mixture;"
        "from pathlib import Path; materialise(read_mixture(Path(sys.argv[1])), Corpus.open(sys.argv[2]), out=sys.argv[3],"
        f" tokens={TOKENS}, shard_tokens=500, workers=2)"
    )
    from cuvee.interop.mixturefile import write_mixture

    mixture, out = tmp_path / "mixture.json", tmp_path / "two"
    write_mixture(mixture, TWO, corpus="", origin="")
    command = [sys.executable, "-c", code, str(mixture), str(texts.path), str(out)]
    for _ in range(3):
        process = subprocess.Popen(command, start_new_session=True)
        seen = len(list(out.rglob("part-*")))
        while len(list(out.rglob("part-*"))) <= seen + 3 and process.poll() is None:
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    subprocess.run(command, check=True)
    found = {k: v for k, v in content(out).items() if not k.split("/")[-1].startswith(".")}
    assert found == content(tmp_path / "one")


def test_refusals(corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    materialise(TWO, corpus, out=tmp_path / "x", tokens=TOKENS, form="megatron")
    with pytest.raises(UsageError, match=r"holds another order .*seed: 0"):
        materialise(TWO, corpus, out=tmp_path / "x", tokens=TOKENS, form="megatron", seed=1)
    with pytest.raises(InfeasibleError, match="repeats more"):
        materialise(TWO, corpus, out=tmp_path / "y", tokens=10**9, caps={"a": 2.0})
    with pytest.raises(UsageError, match="shards of 0"):
        materialise(TWO, corpus, out=tmp_path / "y", tokens=TOKENS, shard_tokens=0)

    class Usage:
        free = 1000

    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage)
    with pytest.raises(DataError, match="are free"):
        materialise(TWO, corpus, out=tmp_path / "z", tokens=TOKENS, form="megatron")
    with pytest.raises(DataError, match="no tokenizer"):
        materialise(TWO, corpus, out=tmp_path / "z", tokens=TOKENS)
    assert not list((tmp_path / "z").rglob("part-*"))
