"""The ten domains that the benchmarks with real trainings use, made ready once: texts, held-out math problems, corpus."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from cuvee.base.errors import DataError
from cuvee.base.files import replace
from cuvee.base.progress import Bar
from cuvee.corpus.prepare import prepare
from cuvee.interop.shardwriters import jsonl
from cuvee.shards.corpus import Corpus

PROBLEMS = 400
"""Math problems held out as prompts and answers."""
VOCAB = 1024
GUARDED = ("code_ts", "dialogue", "encyclopedia", "literature", "medical", "scripture", "spanish", "tech_docs")


def ten_domains(corpora: Path, work: Path) -> tuple[Corpus, Path]:
    """The corpus of ten domains without the held-out problems, and the problems' file."""
    files = sorted(corpora.glob("*.jsonl.gz"))
    if not {"math", "code_c", *GUARDED} <= {_domain(f) for f in files}:
        raise DataError(
            f"{corpora} holds {', '.join(map(_domain, files)) or 'no domains'}",
            wanted=f"math, code_c, {', '.join(GUARDED)} as NAME.jsonl.gz",
        )
    texts, problems = work / "texts", work / "problems.jsonl"
    for file in files:
        rows = list(_rows(file))
        if _domain(file) == "math":
            pairs = [text.split("\nAnswer: ", 1) for text in rows[:PROBLEMS]]
            asked = [{"prompt": f"{q}\nAnswer:", "continuation": f" {a}"} for q, a in pairs]
            _write(problems, asked)
            rows = rows[PROBLEMS:]
        _write(texts / f"{_domain(file)}.jsonl", [{"text": text} for text in rows])
    with Bar("prepare", 1) as bar:
        return prepare([texts], out=work / "corpus", vocab=VOCAB, progress=bar), problems


def _domain(file: Path) -> str:
    return file.name.removesuffix(".jsonl.gz")


def _rows(file: Path) -> Iterator[str]:
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)["text"]


def _write(path: Path, rows: Sequence[Mapping[str, str]]) -> None:
    """Only where it says something else: a file that changed would be read again."""
    data = jsonl(rows)
    if not path.exists() or path.read_bytes() != data:
        replace(path, data)


def slug(name: str) -> str:
    """A name as a folder is called."""
    return "-".join("".join(c if c.isalnum() else " " for c in name).split())
