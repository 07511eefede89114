"""What cannot be read in place becomes token shards in a cache, once: token lists in Parquet and Arrow, and texts.

One file gives one Megatron shard, named after the file's content, the column and the tokenizer. A shard appears whole, so a killed
run goes on with the files that are missing; several processes wait for the one that is at work.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cuvee.base.codec import content_id, from_json, nearest, to_json
from cuvee.base.errors import DataError
from cuvee.base.files import dump_json, explained, hash_file, load_json, replace
from cuvee.corpus.readers import Bad, Broken, Document, Fields, read
from cuvee.corpus.sources import InputFile, kind_of_file
from cuvee.corpus.tokenizer import encoder
from cuvee.shards.blobs import Blob, LocalBlob
from cuvee.shards.indexed import IndexedDataset, IndexedWriter, index_path
from cuvee.shards.inventory import TokenizerInfo
from cuvee.shards.mds import COLUMNS

_VERSION = 2
"""Raise it when the same file gives other tokens."""
_BATCH = 256
_COPY = 1 << 24


@dataclass(frozen=True)
class Unpacked:
    """What became of a file; lies beside its shard.

    Args:
        skipped: Rows that held no tokens or no text.
        first: The first of them, with the reason.
    """

    documents: int
    skipped: int
    first: str
    format: int = 1


@dataclass(frozen=True)
class TokenLists:
    """Rows of tokens in a Parquet or Arrow file. `column` None: the one of `COLUMNS` that is there."""

    column: str | None
    dtype: str

    def rows(self, path: Path) -> Iterator[NDArray[Any] | Bad]:
        """The tokens of every row, in order."""
        number = 0
        for array in _lists(path, self.column):
            values = array.values.to_numpy(zero_copy_only=False)
            ends = array.offsets.to_numpy()
            empty = array.is_null().to_numpy(zero_copy_only=False)
            for i in range(len(array)):
                number += 1
                row = values[ends[i] : ends[i + 1]]
                yield row if row.size and not empty[i] else Bad(number, "no tokens in this row")


@dataclass(frozen=True)
class Texts:
    """Texts to tokenise; `folder` is where tokenizer.json lies, and no part of the identity."""

    text_field: str
    tokenizer: TokenizerInfo
    folder: str
    dtype: str

    def rows(self, path: Path) -> Iterator[NDArray[Any] | Bad]:
        """The tokens of every document with the end of text after them, in order.

        Raises:
            DataError: the file is no text, or broken.
        """
        encode, waiting = encoder(self.tokenizer, Path(self.folder)), list[str]()
        kind = kind_of_file(path, self.text_field)
        if kind is None:
            raise DataError(f"{path} is no text", wanted="JSONL, Parquet or UTF-8 text", fix="leave it out of path:")
        file = InputFile(str(path), path.name, "", kind, "file" if kind == "text" else "row", 0, 0)
        for item in read(file, Fields(self.text_field, None)):
            if isinstance(item, Document):
                waiting.append(item.text)
            elif isinstance(item, Broken):
                raise DataError(
                    f"{path}:{item.line}: {item.reason}",
                    wanted="a file that can be read to its end: what is cached stands for all of it",
                    fix="restore the file, or leave it out",
                )
            else:
                yield item
            if len(waiting) == _BATCH:
                yield from encode(waiting)
                waiting.clear()
        if waiting:
            yield from encode(waiting)


def unpack(path: Path, how: TokenLists | Texts, cache: Path) -> tuple[IndexedDataset, Unpacked]:
    """The shard of a file, made unless it is in the cache.

    Raises:
        DataError: nothing in the file can be used, or it is broken.
        PartialError: the disk is full; what was finished is kept.
    """
    folder = cache / "tokens"
    identity = [how.text_field, how.tokenizer.sha] if isinstance(how, Texts) else [how.column]
    key = content_id([_VERSION, type(how).__name__, _content(path, cache), how.dtype, path.suffixes[-2:], *identity])
    prefix, note = folder / key, folder / f"{key}.json"
    if not index_path(prefix).exists():
        with _alone(folder, key):
            if not index_path(prefix).exists():
                _write(path, how, prefix, note)
    return IndexedDataset(prefix), from_json(Unpacked, load_json(note))


def _write(path: Path, how: TokenLists | Texts, prefix: Path, note: Path) -> None:
    skipped, first = 0, ""
    with IndexedWriter(prefix, np.dtype(how.dtype)) as writer:
        for row in how.rows(path):
            if isinstance(row, Bad):
                skipped, first = skipped + 1, first or f"{path.name}:{row.line}: {row.reason}"
            else:
                writer.add(row)
        if not writer.documents:
            raise DataError(
                f"nothing in {path} can be used" + (f": {first}" if first else ", it is empty"),
                wanted="rows with tokens" if isinstance(how, TokenLists) else "texts",
                fix="check column: or text_field:, or leave the file out",
            )
        # before the shard, so that a shard that is there has its note
        replace(note, dump_json(to_json(Unpacked(writer.documents, skipped, first))))


@contextmanager
def _alone(folder: Path, key: str) -> Iterator[None]:
    """Wait for other processes that make the same shard, and remove what a killed one left."""
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / f"{key}.lock", "w")  # noqa: SIM115 closed below
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for left in folder.glob(f".{key}.*.tmp"):
                left.unlink(missing_ok=True)
        except OSError:
            pass  # a file system without locks: the work may be done twice, and is published whole in any case
        yield


def _content(path: Path, cache: Path) -> str:
    """The hash of a file's bytes, remembered for as long as its size, its times and its place on the disk stay.

    The time of writing alone is what a copy may bring along (`cp -p`, rsync, archives); the time of the last change is not.
    """
    stat, where = path.stat(), os.path.realpath(path)
    memory = cache / "hashes" / f"{content_id([where])}.json"
    mark = [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]
    if memory.is_file():
        known = load_json(memory)
        if known.get("mark") == mark:
            return str(known["hash"])
    found = hash_file(path)
    replace(memory, dump_json({"format": 1, "path": where, "mark": mark, "hash": found}))
    return found


@contextmanager
def local_copy(blob: Blob, cache: Path) -> Iterator[Path]:
    """A path at which the bytes of `blob` can be read: its own, or a copy for as long as the context lasts."""
    if isinstance(blob, LocalBlob):
        yield blob.path
        return
    folder = cache / "copies" / uuid.uuid4().hex
    try:
        with explained(folder):
            folder.mkdir(parents=True)
            path = folder / blob.name.rsplit("/", 1)[-1]
            with open(path, "wb") as file:
                for start in range(0, blob.size, _COPY):
                    file.write(blob.read(start, min(start + _COPY, blob.size)).data)
        yield path
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def column_of(path: Path, column: str | None, text_field: str) -> Literal["tokens", "text"]:
    """Whether a table holds token lists or texts.

    Raises:
        DataError: neither, or the column asked for is no list of whole numbers.
    """
    import pyarrow as pa

    schema = _schema(path)
    wanted = (column,) if column else COLUMNS
    for name in wanted:
        if name in schema.names:
            kind = schema.field(name).type
            is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
            if is_list and pa.types.is_integer(kind.value_type):
                return "tokens"
            raise DataError(
                f"{path}: the column {name!r} is {kind}", wanted="a list of whole numbers", fix="name another: column:"
            )
    if column is None and text_field.partition(".")[0] in schema.names:
        return "text"
    raise DataError(
        f"{path} has the columns {', '.join(schema.names[:12])}",
        wanted=f"{' or '.join(wanted)} with lists of token ids" + ("" if column else f", or {text_field!r} with text"),
        fix=(nearest(column, schema.names) if column else "") or "name it with column: (or text_field:)",
    )


def _schema(path: Path) -> Any:
    import pyarrow.parquet as pq

    with _broken(path):
        if path.suffix == ".parquet":
            with pq.ParquetFile(path) as table:
                return table.schema_arrow
        with _arrow(path) as reader:
            return reader.schema


def _lists(path: Path, column: str | None) -> Iterator[Any]:
    """The column of tokens, in batches, as Arrow lists."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = _schema(path).names
    name = next(n for n in ((column,) if column else COLUMNS) if n in names)
    with _broken(path):
        if path.suffix == ".parquet":
            with pq.ParquetFile(path) as table:
                batches = table.iter_batches(batch_size=4096, columns=[name])
                yield from (_as_list(batch.column(0), pa) for batch in batches)
            return
        with _arrow(path) as reader:
            if hasattr(reader, "num_record_batches"):
                batches = (reader.get_batch(i) for i in range(reader.num_record_batches))
            else:
                batches = iter(reader)
            yield from (_as_list(batch.column(batch.schema.get_field_index(name)), pa) for batch in batches)


def _as_list(array: Any, pa: Any) -> Any:
    return array.cast(pa.large_list(array.type.value_type))


def _arrow(path: Path) -> Any:
    """A reader of an Arrow file, which may be written as a stream."""
    import pyarrow as pa

    source = pa.memory_map(str(path))
    try:
        return pa.ipc.open_file(source)
    except pa.ArrowInvalid:
        source.seek(0)
        return pa.ipc.open_stream(source)


@contextmanager
def _broken(path: Path) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"cannot read {path}: {error}", wanted="a whole Parquet or Arrow file", fix="restore it, or leave it out"
        ) from error
