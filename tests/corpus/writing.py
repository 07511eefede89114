"""Small made-up texts for the tests of this room."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np


def sentences(count: int, seed: int, words: int = 60, vocabulary: int = 3000) -> list[str]:
    """`count` different texts of `words` words from a vocabulary of their own seed."""
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, vocabulary, (count, words))
    return [" ".join(f"w{seed}x{word}" for word in row) for row in drawn.tolist()]


def jsonl(path: Path, rows: list[Any]) -> Path:
    """Write rows as JSON lines, packed if the name says so; a str is written as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows).encode("utf-8")
    # a fixed time inside, so that equal texts make equal files
    path.write_bytes(gzip.compress(lines, mtime=0) if path.suffix == ".gz" else lines)
    return path


def texts(folder: Path, count: int = 60, names: tuple[str, ...] = ("a", "b")) -> Path:
    """A folder with one file of rows a domain."""
    for seed, name in enumerate(names):
        jsonl(folder / f"{name}.jsonl.gz", [{"text": text} for text in sentences(count, seed)])
    return folder
