"""Stage 5, text to tokens: each job writes one shard, a run of documents of one domain and split."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cuvee.base.codec import from_json, to_json
from cuvee.base.files import dump_json, load_json, replace, slug
from cuvee.corpus.chunks import Chunk, save_array
from cuvee.corpus.documents import Documents
from cuvee.corpus.tokenizer import encoder
from cuvee.shards.indexed import IndexedWriter, token_dtype
from cuvee.shards.inventory import Shard, TokenizerInfo
from cuvee.shards.splits import SPLITS

SHARDS = "shards"
SHARD_BYTES = 1 << 25
"""Bytes of text after which a new shard begins, so that large domains are tokenised by several processes."""
PLACE = np.dtype([("chunk", "<i4"), ("offset", "<i8"), ("bytes", "<i8")])


@dataclass(frozen=True)
class TokeniseJob:
    """One shard to write.

    Args:
        places: A file of `PLACE` records, of which `start` to `stop` are the documents of this shard.
        chunks: Prefixes of the chunks that the records count along.
        out: The corpus; the shard goes to `path` in it, its record to `record`.
        tokenizer_folder: Where tokenizer.json lies.
    """

    places: str
    start: int
    stop: int
    chunks: tuple[str, ...]
    out: str
    path: str
    record: str
    tokenizer: TokenizerInfo
    tokenizer_folder: str


@dataclass(frozen=True)
class Part:
    """The documents `start` to `stop` of the sorted table: one shard of one domain and split."""

    domain: int
    split: int
    start: int
    stop: int
    path: str


def plan_parts(documents: Documents, side_N: NDArray[np.uint8], places: Path) -> list[Part]:
    """Sort the documents by domain, split and order of reading into the file `places`, and cut them into shards."""
    order = np.lexsort((np.arange(documents.count), side_N, documents.domain_N))
    table = np.zeros(documents.count, PLACE)
    table["chunk"] = documents.chunk_of(order)
    table["offset"] = documents.rows_N["offset"][order]
    table["bytes"] = documents.bytes_N[order]
    save_array(places, table)
    key_N = documents.domain_N[order].astype(np.int64) * len(SPLITS) + side_N[order]
    before_N = np.cumsum(table["bytes"]) - table["bytes"]
    parts: list[Part] = []
    for key in np.unique(key_N):
        low, high = (int(i) for i in np.searchsorted(key_N, [key, key + 1]))
        domain, side = divmod(int(key), len(SPLITS))
        base = f"{SHARDS}/{slug(documents.domains[domain])}/{SPLITS[side]}"
        shard_N = (before_N[low:high] - before_N[low]) // SHARD_BYTES
        cuts = [low, *(low + 1 + np.flatnonzero(np.diff(shard_N))).tolist(), high]
        for i, (start, stop) in enumerate(pairwise(cuts)):
            parts.append(Part(domain, side, start, stop, f"{base}-{i:05d}"))
    return parts


def tokenise(job: TokeniseJob) -> None:
    """Write the shard, then its record.

    Raises:
        PartialError: the disk is full.
    """
    encode = encoder(job.tokenizer, Path(job.tokenizer_folder))
    size = 0
    with IndexedWriter(Path(job.out, job.path), token_dtype(job.tokenizer.vocab_size)) as writer:
        for data in _texts(job):
            writer.add(encode(data.decode("utf-8")))
            size += len(data)
    shard = Shard(job.path, writer.documents, writer.tokens, size, writer.hash)
    replace(Path(job.record), dump_json(to_json(shard)))


def _texts(job: TokeniseJob) -> Iterator[bytes]:
    table: NDArray[Any] = np.load(job.places, mmap_mode="r")[job.start : job.stop]
    at, texts = -1, np.zeros(0, np.uint8)
    for chunk, offset, length in table.tolist():
        if chunk != at:
            at, texts = chunk, Chunk(Path(job.chunks[chunk])).texts()
        yield texts[offset : offset + length].tobytes()


def load_shard(record: Path) -> Shard:
    """The record of a finished job."""
    return from_json(Shard, load_json(record))
