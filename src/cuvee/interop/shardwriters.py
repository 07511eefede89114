"""The shards of `materialise` as files: Megatron token shards, JSONL, Parquet. Each is whole or absent."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray

from cuvee.base.errors import DataError
from cuvee.base.files import hash_file, replace
from cuvee.corpus.tokenizer import decoder as batch_decoder
from cuvee.shards.corpus import Corpus
from cuvee.shards.indexed import IndexedWriter, data_path, index_path, token_dtype

Decode = Callable[[NDArray[Any]], str]
Documents = Iterable[tuple[str, NDArray[Any]]]


def decoder(corpus: Corpus) -> Decode:
    """Tokens of a document -> its text, without the token that ends it.

    Raises:
        DataError: the corpus came tokenised and has no tokenizer.
    """
    info = corpus.inventory.tokenizer
    if info.kind != "bytes" and info.path is None:
        raise DataError(
            "the corpus came tokenised and has no tokenizer to make text with",
            wanted="a tokenizer",
            fix="--as megatron",
        )
    decode = batch_decoder(info, corpus.path)
    return lambda tokens: decode([tokens])[0]


def write_shard(
    prefix: Path, form: Literal["megatron", "jsonl", "parquet"], documents: Documents, corpus: Corpus
) -> tuple[int, str]:
    """Write one shard; bytes and hash of what was written.

    Raises:
        PartialError: the disk is full; nothing is left at `prefix`.
    """
    if form == "megatron":
        with IndexedWriter(prefix, token_dtype(corpus.vocab_size)) as writer:
            for _, tokens in documents:
                writer.add(tokens)
        return sum(p.stat().st_size for p in (data_path(prefix), index_path(prefix))), writer.hash
    decode = decoder(corpus)
    path = prefix.with_name(f"{prefix.name}.{form}")
    rows = [{"text": decode(tokens), "domain": domain} for domain, tokens in documents]
    replace(path, jsonl(rows) if form == "jsonl" else _parquet(rows))
    return path.stat().st_size, hash_file(path)


def jsonl(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """A row a line."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode("utf-8")


def _parquet(rows: list[dict[str, str]]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    out = io.BytesIO()
    schema = pa.schema([("text", pa.string()), ("domain", pa.string())])
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), out)
    return out.getvalue()
