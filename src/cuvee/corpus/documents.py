"""All documents of a corpus in the making, as arrays: where each text lies, its domain, what it stays with.

About 40 bytes a document; the texts themselves stay on disk.

Letters: N documents, in the order in which they were read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cuvee.base.errors import DataError
from cuvee.corpus.chunks import ROW, Chunk, chunks_of
from cuvee.corpus.scan import ScanResult, load_result
from cuvee.corpus.words import I64, U64


@dataclass(frozen=True)
class Documents:
    """The table of all documents.

    Args:
        chunks: Where the texts lie.
        first: Number of the first document of each chunk, and the number of documents at the end.
        domains: Names in sorted order; `domain_N` counts along them.
        rows_N: As in `chunks.ROW`, but with `domain` counted along `domains`.
    """

    chunks: tuple[Chunk, ...]
    first: tuple[int, ...]
    domains: tuple[str, ...]
    rows_N: NDArray[Any]

    @property
    def count(self) -> int:
        """N."""
        return len(self.rows_N)

    @property
    def domain_N(self) -> NDArray[np.int32]:
        """Domain of each document."""
        return np.asarray(self.rows_N["domain"], np.int32)

    @property
    def bytes_N(self) -> I64:
        """Bytes of text of each document."""
        return np.asarray(self.rows_N["bytes"], np.int64)

    @property
    def hash_N(self) -> U64:
        """Hash of the text of each document."""
        return np.asarray(self.rows_N["hash"], np.uint64)

    @property
    def group_N(self) -> U64:
        """Equal where documents are parts of one source file; 0 for none."""
        return np.asarray(self.rows_N["group"], np.uint64)

    def chunk_of(self, numbers: I64) -> I64:
        """The chunk that holds each of the documents with these numbers."""
        return np.searchsorted(np.array(self.first), numbers, side="right") - 1

    def bands(self, band: int) -> U64:
        """One MinHash band of all documents, shape N."""
        return np.concatenate([chunk.bands(band) for chunk in self.chunks])

    def text(self, number: int) -> str:
        """The text of one document."""
        chunk = int(self.chunk_of(np.array([number]))[0])
        row = self.rows_N[number]
        return bytes(self.chunks[chunk].texts()[row["offset"] : row["offset"] + row["bytes"]]).decode("utf-8")


def gather(folders: Sequence[Path], expected: Sequence[str]) -> tuple[Documents, tuple[ScanResult, ...]]:
    """The documents that finished scan jobs left in `folders`.

    Args:
        folders: One a job, in order.
        expected: Domains that files promised; each must have a document.

    Raises:
        DataError: no documents at all, or none in a domain; says what was wrong with its lines.
    """
    results = tuple(load_result(folder) for folder in folders)
    domains = tuple(sorted({name for result in results for name in result.domains}))
    missing = sorted(set(expected) - set(domains))
    if missing or not domains:
        bad = [str(line) for result in results for line in result.shown][:3]
        raise DataError(
            f"no usable documents{' in the domain ' + ', '.join(map(repr, missing)) if missing else ''}"
            + "".join(f"\n  {line}" for line in bad),
            wanted="at least one document with text in every domain",
            fix="check the files and the name of the text field, or leave the domain out",
        )
    number = {name: i for i, name in enumerate(domains)}
    chunks: list[Chunk] = []
    tables: list[NDArray[Any]] = [np.zeros(0, ROW)]
    for folder, result in zip(folders, results, strict=True):
        to_global = np.array([number[name] for name in result.domains], np.int32)
        for chunk in chunks_of(folder, result.chunks):
            rows = chunk.rows()
            rows["domain"] = to_global[rows["domain"]]
            chunks.append(chunk)
            tables.append(rows)
    first = np.cumsum([len(table) for table in tables])
    return Documents(tuple(chunks), tuple(int(f) for f in first), domains, np.concatenate(tables)), results
