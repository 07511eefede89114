from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import cuvee
from cuvee.base.errors import DataError, UsageError
from cuvee.base.processes import environment
from cuvee.corpus.readers import PIECE, WHOLE_FILE
from tests.corpus.writing import jsonl, sentences

TEXTS = ["ä text", "a second <|endoftext|> one", "third"]


def spec(tmp_path: Path, path: Path, **more: Any) -> dict[str, Any]:
    return {"domains": {"x": path}, "cache": tmp_path / "cache", "tokenizer": "bytes", **more}


def read(source: Any) -> list[str]:
    return [bytes(source.document(i)[:-1].astype("u1").tolist()).decode() for i in range(source.documents)]


def shards(tmp_path: Path) -> dict[str, int]:
    return {p.name: p.stat().st_mtime_ns for p in (tmp_path / "cache" / "tokens").glob("*.bin")}


def test_texts_are_tokenised_once(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "t" / "a.jsonl.gz", [{"text": t} for t in TEXTS])
    sources = cuvee.open_sources(spec(tmp_path, path))
    assert read(sources["x"]) == TEXTS
    assert [int(sources["x"].document(i)[-1]) for i in range(3)] == [256] * 3
    assert (sources.vocab_size, sources.eos, sources.samples["x"].ending) == (257, 256, None)
    made = shards(tmp_path)
    assert cuvee.open_sources(spec(tmp_path, path)).fingerprint == sources.fingerprint
    moved = path.rename(tmp_path / "t" / "b.jsonl.gz")
    cuvee.open_sources(spec(tmp_path, moved))
    assert shards(tmp_path) == made
    jsonl(moved, [{"text": t} for t in (*TEXTS, "new")])
    assert read(cuvee.open_sources(spec(tmp_path, moved))["x"]) == [*TEXTS, "new"]
    assert len(shards(tmp_path)) == 2


@pytest.mark.parametrize("how", ["written over", "moved in"])
def test_a_changed_file_of_the_same_size_and_time_is_read_anew(tmp_path: Path, how: str) -> None:
    old, new = (jsonl(tmp_path / f"{name}.jsonl", [{"text": f"{name} text"}]) for name in ("old", "new"))
    for path in (old, new):
        os.utime(path, (10**9, 10**9))
    assert read(cuvee.open_sources(spec(tmp_path, old))["x"]) == ["old text"]
    if how == "moved in":
        new.rename(old)
    else:
        shutil.copy2(new, old)
    assert old.stat().st_mtime == 10**9
    assert read(cuvee.open_sources(spec(tmp_path, old))["x"]) == ["new text"]


def test_another_tokenizer_makes_other_tokens(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(sentences(50, 0), trainer)
    tokenizer.save(str(tmp_path / "tok.json"))
    path = jsonl(tmp_path / "a.jsonl", [{"body": t} for t in sentences(20, 1)])
    entry = {"domains": {"x": {"path": path, "text_field": "body"}}, "cache": tmp_path / "cache"}
    bpe = cuvee.open_sources({**entry, "tokenizer": tmp_path / "tok.json"})
    plain = cuvee.open_sources({**entry, "tokenizer": "bytes"})
    assert (bpe.vocab_size, bpe.eos, bpe.samples["x"].ending) == (300, 0, 0)
    assert bpe["x"].tokens < plain["x"].tokens
    assert len(shards(tmp_path)) == 2


def test_texts_in_parquet_and_plain_files(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": TEXTS}), tmp_path / "a.parquet")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "one.txt").write_text(TEXTS[0], encoding="utf-8")
    (tmp_path / "d" / "two.txt").write_text(TEXTS[1], encoding="utf-8")
    assert read(cuvee.open_sources(spec(tmp_path, tmp_path / "a.parquet"))["x"]) == TEXTS
    assert read(cuvee.open_sources(spec(tmp_path, tmp_path / "d"))["x"]) == TEXTS[:2]


def test_a_plain_text_is_one_document(tmp_path: Path) -> None:
    texts = ["\n\n".join(sentences(count, 0)) for count in (100, 3000)]
    for name, text in zip("ab", texts, strict=True):
        (tmp_path / f"{name}.txt").write_text(text, encoding="utf-8")
    assert len(texts[0]) > 4 * PIECE
    assert read(cuvee.open_sources(spec(tmp_path, tmp_path / "a.txt"))["x"]) == texts[:1]
    long = read(cuvee.open_sources(spec(tmp_path, tmp_path / "b.txt"))["x"])
    assert "".join(long) == texts[1]
    assert all(len(piece) >= WHOLE_FILE for piece in long[:-1])


def test_texts_beside_rows_are_not_data(tmp_path: Path) -> None:
    rows = [{"text": t} for t in TEXTS]
    jsonl(tmp_path / "d" / "dataset_a.jsonl.gz", rows)
    jsonl(tmp_path / "d" / "sub" / "b.json", rows[:1])
    (tmp_path / "d" / "README.md").write_text("# About", encoding="utf-8")
    (tmp_path / "d" / "stats.json").write_text('{"rows": 3}', encoding="utf-8")
    (tmp_path / "note.txt").write_text("a note", encoding="utf-8")
    sources = cuvee.open_sources(spec(tmp_path, tmp_path / "d"))
    assert read(sources["x"]) == [*TEXTS, TEXTS[0]]
    assert "2 of them, beside rows, left out" in sources.facts["x"].evidence
    named = cuvee.open_sources({**spec(tmp_path, tmp_path), "domains": {"x": [tmp_path / "d", tmp_path / "note.txt"]}})
    assert read(named["x"]) == [*TEXTS, TEXTS[0], "a note"]


def test_json_that_is_no_rows_is_refused(tmp_path: Path) -> None:
    rows = [{"body": t} for t in TEXTS]
    path = jsonl(tmp_path / "a.json", rows)
    for held in (path.read_text(), json.dumps(rows), json.dumps(rows[0], indent=1)):
        path.write_text(held, encoding="utf-8")
        with pytest.raises(DataError, match=r"a\.json holds no rows with the field 'text'") as caught:
            cuvee.open_sources(spec(tmp_path, path))
        assert "text_field:" in caught.value.fix
    entry = {"path": jsonl(path, rows), "text_field": "body"}
    assert read(cuvee.open_sources({**spec(tmp_path, path), "domains": {"x": entry}})["x"]) == TEXTS


def test_an_end_of_text_that_is_not_the_tokenizers_is_refused(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", [{"text": t} for t in TEXTS])
    with pytest.raises(UsageError, match="'x' is text, and was given eos: 5") as caught:
        cuvee.open_sources({**spec(tmp_path, path), "domains": {"x": {"path": path, "eos": 5}}})
    assert "256" in caught.value.wanted


def test_texts_need_a_tokenizer(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", [{"text": "x"}])
    with pytest.raises(UsageError, match="'x' is text, and no tokenizer"):
        cuvee.open_sources({"domains": {"x": path}, "cache": tmp_path / "cache"})


def test_bad_rows_are_told_and_a_file_of_them_is_refused(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", [{"text": "good"}, "{broken", {"body": 1}])
    for _ in range(2):  # made, and from the cache
        facts = cuvee.open_sources(spec(tmp_path, path)).facts["x"]
        assert "2 rows left out, the first: a.jsonl:2: not JSON" in facts.evidence
    with pytest.raises(DataError, match=r"nothing in .*b\.jsonl can be used: b\.jsonl:1"):
        cuvee.open_sources(spec(tmp_path, jsonl(tmp_path / "b.jsonl", ["{broken"])))
    (tmp_path / "c.jsonl").write_bytes(b"")
    with pytest.raises(DataError, match=r"c\.jsonl can be used, it is empty"):
        cuvee.open_sources(spec(tmp_path, tmp_path / "c.jsonl"))


def damaged(path: Path, at: int | None = None) -> Path:
    """The file cut to a half, or with 100 bytes lost in the middle."""
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] if at is None else data[:at] + bytes(100) + data[at + 100 :])
    return path


@pytest.mark.slow
def test_files_that_break_off_are_refused_and_not_cached(tmp_path: Path) -> None:
    rows = [{"text": t} for t in sentences(1000, 0)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet", row_group_size=100)
    at = pq.ParquetFile(tmp_path / "a.parquet").metadata.row_group(5).column(0).data_page_offset
    lines = jsonl(tmp_path / "b.jsonl", rows).read_bytes()
    (tmp_path / "b.jsonl.zst").write_bytes(pa.compress(lines, "zstd", asbytes=True))
    (tmp_path / "c.txt.gz").write_bytes(gzip.compress(lines))
    broken = [
        damaged(jsonl(tmp_path / "a.jsonl.gz", rows)),
        damaged(tmp_path / "a.parquet", at),
        damaged(tmp_path / "b.jsonl.zst"),
        damaged(tmp_path / "c.txt.gz"),
    ]
    for path in broken:
        with pytest.raises(DataError, match=rf"{path.name}:\d+: the file is broken") as caught:
            cuvee.open_sources(spec(tmp_path, path))
        assert "restore" in caught.value.fix
    assert not shards(tmp_path)


OPEN = "import sys, cuvee; s = cuvee.open_sources(sys.argv[1]); print(s.fingerprint)"


def opening(tmp_path: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", OPEN, str(tmp_path / "s.yaml")]
    return subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.mark.slow
def test_a_killed_run_goes_on_and_two_at_once_agree(tmp_path: Path) -> None:
    for k in range(6):
        jsonl(tmp_path / "t" / f"{k}.jsonl", [{"text": t} for t in sentences(2000, k)])
    (tmp_path / "s.yaml").write_text("domains: {x: t}\ntokenizer: bytes\ncache: cache\n")
    killed = opening(tmp_path)
    while not list((tmp_path / "cache" / "tokens").glob("*.idx")):
        assert killed.poll() is None
        time.sleep(0.005)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    kept = shards(tmp_path)
    both = [opening(tmp_path) for _ in range(2)]
    found = [p.communicate() for p in both]
    assert [p.returncode for p in both] == [0, 0], found
    assert found[0][0] == found[1][0]
    assert len(kept) < 6
    assert kept.items() <= shards(tmp_path).items()
    assert not list((tmp_path / "cache" / "tokens").glob(".*"))
    fresh = cuvee.open_sources({"domains": {"x": tmp_path / "t"}, "tokenizer": "bytes", "cache": tmp_path / "other"})
    assert fresh.fingerprint == found[0][0].decode().strip()
