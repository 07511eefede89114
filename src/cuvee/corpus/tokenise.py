"""Stage 6, text to tokens: each job writes one shard, a run of documents of one domain and split."""

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
from cuvee.corpus.split import LEFT_OUT
from cuvee.corpus.tokenizer import encoder
from cuvee.shards.indexed import IndexedWriter, token_dtype
from cuvee.shards.inventory import Shard, TokenizerInfo
from cuvee.shards.splits import SPLITS

SHARDS = "shards"
SHARD_BYTES = 1 << 25
"""Bytes of text after which a new shard begins, so that large domains are tokenised by several processes."""
_BATCH_BYTES = 1 << 19
_PLACES, _CHUNKS = "places.npy", "chunks.json"
PLACE = np.dtype([("chunk", "<i4"), ("offset", "<i8"), ("bytes", "<i8")])


@dataclass(frozen=True)
class TokeniseJob:
    """One shard to write.

    Args:
        plan: The folder with the records of all documents (`PLACE`), of which `start` to `stop` make this shard, and the
            list of chunks that they count along.
        out: The corpus; the shard goes to `path` in it, its record to `record`.
        tokenizer_folder: Where tokenizer.json lies.
    """

    plan: str
    start: int
    stop: int
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


def plan_parts(documents: Documents, side_N: NDArray[np.uint8], plan: Path) -> list[Part]:
    """Sort the documents by domain, split and order of reading, note that in the folder `plan`, cut them into shards."""
    order = np.lexsort((np.arange(documents.count), side_N, documents.domain_N))
    order = order[side_N[order] != LEFT_OUT]
    table = np.zeros(len(order), PLACE)
    table["chunk"] = documents.chunk_of(order)
    table["offset"] = documents.rows_N["offset"][order]
    table["bytes"] = documents.bytes_N[order]
    save_array(plan / _PLACES, table)
    replace(plan / _CHUNKS, dump_json([str(chunk.prefix) for chunk in documents.chunks]))
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
        for batch in _batches(_texts(job)):
            for tokens in encode([data.decode("utf-8") for data in batch]):
                writer.add(tokens)
            size += sum(map(len, batch))
    shard = Shard(job.path, writer.documents, writer.tokens, size, writer.hash)
    replace(Path(job.record), dump_json(to_json(shard)))


def _texts(job: TokeniseJob) -> Iterator[bytes]:
    table: NDArray[Any] = np.load(Path(job.plan, _PLACES), mmap_mode="r")[job.start : job.stop]
    chunks: list[str] = load_json(Path(job.plan, _CHUNKS))
    at, texts = -1, np.zeros(0, np.uint8)
    for chunk, offset, length in table.tolist():
        if chunk != at:
            at, texts = chunk, Chunk(Path(chunks[chunk])).texts()
        yield texts[offset : offset + length].tobytes()


def _batches(texts: Iterator[bytes]) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    size = 0
    for data in texts:
        batch.append(data)
        size += len(data)
        if size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    yield batch


def load_shard(record: Path) -> Shard:
    """The record of a finished job."""
    return from_json(Shard, load_json(record))
