"""`open_sources`: domains of shards that are already tokenised, opened where they lie, checked, ready for the loader."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from cuvee.base.codec import SchemaError, from_json
from cuvee.base.errors import DataError, UsageError
from cuvee.base.progress import Progress, Silent
from cuvee.base.yamlfile import load_yaml
from cuvee.corpus.detect import Format, Found, check_raw, detect, raw_layout
from cuvee.corpus.packed import BytesBlob, UnpackedBlob
from cuvee.corpus.places import Places, is_remote
from cuvee.corpus.remote import Access
from cuvee.corpus.sources import kind_of_file
from cuvee.corpus.tokenizer import TokenizerWish, use
from cuvee.corpus.unpack import Texts, TokenLists, column_of, local_copy, unpack
from cuvee.shards.blobs import Blob
from cuvee.shards.feed import DomainFacts, Sources
from cuvee.shards.indexed import IndexedDataset, token_dtype
from cuvee.shards.inventory import TokenizerInfo
from cuvee.shards.mds import COLUMNS, MdsShard, MdsShardInfo
from cuvee.shards.raw import RawShard
from cuvee.shards.sources import Shard, TokenSource

_THREADS = 16


@dataclass(frozen=True)
class DomainEntry:
    """A domain of a sources file.

    Args:
        path: Files, folders, patterns with *, Megatron prefixes; here or in a store (`s3://...`). Several are read in this order.
        format: megatron, raw, mds, parquet, arrow or text; found out when left out.
        dtype: Of raw tokens, and of MDS columns of plain bytes; found out when left out.
        eos: Id that ends documents, if this domain has another than the rest. Texts end with the tokenizer's.
        column: That holds the tokens, in MDS, Parquet and Arrow; `tokens` or `input_ids` when left out.
        text_field: That holds the text, in JSONL and Parquet of texts.
    """

    path: tuple[str, ...]
    format: Format | None = None
    dtype: str | None = None
    eos: int | None = None
    column: str | None = None
    text_field: str = "text"

    def __post_init__(self) -> None:
        if not self.path:
            raise UsageError("got no path", wanted="at least one file, folder or pattern")
        if self.dtype is not None and self.dtype not in ("uint8", "uint16", "uint32", "int32", "int64"):
            raise UsageError(f"got dtype {self.dtype!r}", wanted="uint8, uint16, uint32, int32 or int64")


@dataclass(frozen=True)
class SourcesFile:
    """A sources file: the domains, and what they have in common.

    Args:
        domains: Name -> a path, a list of paths, or the keys of `DomainEntry`.
        vocab_size: Of the tokenizer; token ids are checked against it.
        eos: Id that ends documents; raw arrays are cut into documents by it.
        tokenizer: A tokenizer.json, or `bytes`: gives vocab_size and eos, and is needed for texts.
        cache: Folder for blocks of remote objects, unpacked shards and tokenised texts; ~/.cache/cuvee when left out.
        cache_bytes: Most that blocks and unpacked shards may take there.
        timeout: Seconds after which a read from a store counts as stalled.
        attempts: Times that it is tried.
        block: Bytes fetched at once.
    """

    domains: Mapping[str, DomainEntry] = field(default_factory=dict)
    vocab_size: int | None = None
    eos: int | None = None
    tokenizer: str | None = None
    cache: str | None = None
    cache_bytes: int = Access.cache_bytes
    timeout: float = Access.timeout
    attempts: int = Access.attempts
    block: int = Access.block


def open_sources(spec: Mapping[str, Any] | Path | str, *, progress: Progress | None = None) -> Sources:
    """Open tokenised shards of any supported format where they lie, here or in an object store.

    Megatron `.bin/.idx`, raw arrays and uncompressed MDS are read in place; the rest goes into a cache first, once.

    Args:
        spec: A sources file (YAML), or a mapping with its keys. Relative paths count from its folder, or from the working folder.
        progress: Hears of files that are being unpacked or tokenised.

    Raises:
        UsageError: unknown keys or values, a domain of texts without a tokenizer, a package that a store needs.
        DataError: files that are missing, damaged, empty, of several formats or of different dtypes; token ids
            outside the vocabulary; domains that end their documents with different ids; a store that does not answer.
        PartialError: the disk is full.
    """
    if isinstance(spec, Mapping):
        return _Opening(_parse(spec), Path(), progress or Silent()).run()
    path = Path(spec)
    return _Opening(load_yaml(path, _parse, "a sources file"), path.absolute().parent, progress or Silent()).run()


def _parse(data: Any) -> SourcesFile:
    """The sources file in plain data; a domain may be only a path or a list of them."""
    if not isinstance(data, Mapping) or not isinstance(data.get("domains"), Mapping) or not data["domains"]:
        raise SchemaError(
            "no domains", ("domains",), wanted="domains: with a name and a path each", fix="domains: {web: /data/web}"
        )
    domains = {}
    for name, entry in data["domains"].items():
        keys = dict(entry) if isinstance(entry, Mapping) else {"path": entry}
        paths = keys.get("path")
        if isinstance(paths, str | os.PathLike):
            keys["path"] = [paths]
        if isinstance(keys.get("path"), list | tuple):
            keys["path"] = [os.fspath(p) if isinstance(p, os.PathLike) else p for p in keys["path"]]
        domains[str(name)] = keys
    plain = {k: os.fspath(v) if isinstance(v, os.PathLike) else v for k, v in data.items()}
    return from_json(SourcesFile, {**plain, "domains": domains})


@dataclass
class _Opening:
    """One call of `open_sources` at work."""

    spec: SourcesFile
    base: Path
    progress: Progress

    def run(self) -> Sources:
        spec = self.spec.domains
        far = any(is_remote(path) for entry in spec.values() for path in entry.path)
        threads = _THREADS if far else 1  # a store answers many questions at once, each after a while
        _ = self.tokenizer  # opened here and not in every thread
        with ThreadPoolExecutor(threads) as pool:
            opened = dict(zip(spec, (pool.map if far else map)(self._domain, spec, spec.values()), strict=True))
        sources = {name: source for name, (source, _) in opened.items()}
        facts = {name: told for name, (_, told) in opened.items()}
        return Sources(sources, facts, vocab_size=self.vocab_size, eos=self.eos, threads=threads)

    @cached_property
    def cache(self) -> Path:
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        return self.base / Path(self.spec.cache).expanduser() if self.spec.cache else Path(home) / "cuvee"

    @cached_property
    def access(self) -> Access:
        spec = self.spec
        return Access(self.cache, spec.cache_bytes, min(spec.block, spec.cache_bytes), spec.timeout, spec.attempts)

    @cached_property
    def places(self) -> Places:
        return Places(self.base, self.access)

    @cached_property
    def tokenizer(self) -> tuple[TokenizerInfo, Path] | None:
        if self.spec.tokenizer is None:
            return None
        given = self.spec.tokenizer
        wish = TokenizerWish.of("bytes" if given == "bytes" else self.base / Path(given).expanduser(), 0)
        folder = self.cache / "tokenizers" / (wish.content or "bytes")
        return use(wish, folder), folder

    @cached_property
    def vocab_size(self) -> int | None:
        return self.spec.vocab_size or (self.tokenizer[0].vocab_size if self.tokenizer else None)

    @cached_property
    def eos(self) -> int | None:
        return self.spec.eos if self.spec.eos is not None else (self.tokenizer[0].eos if self.tokenizer else None)

    def _domain(self, name: str, entry: DomainEntry) -> tuple[TokenSource, DomainFacts]:
        below = [self.places.all(path, name) for path in entry.path]
        found = detect(name, tuple(dict.fromkeys(chain(*below))), self.places, entry.format)
        if found.format == "text":
            found = self._rows_or_texts(name, entry, found, below)
        shards, evidence = self._shards(name, entry, found)
        self._check_width(name, entry, shards)
        return TokenSource(shards, shards[0].dtype), DomainFacts(found.format, evidence, entry.eos is not None)

    def _rows_or_texts(self, name: str, entry: DomainEntry, found: Found, below: list[list[str]]) -> Found:
        """A domain of texts without those that lie beside rows below one of its paths: what `prepare` passes over."""
        rows = {file for file in found.files if self._is_rows(file, entry.text_field)}
        kept = dict.fromkeys(f for files in below for f in files if f in rows or rows.isdisjoint(files))
        chosen = tuple(file for file in found.files if file in kept)
        for file in chosen:
            if file not in rows and _is_json(file):
                raise DataError(
                    f"domain {name!r}: {file} holds no rows with the field {entry.text_field!r}",
                    wanted="a JSON object a line, each with that field",
                    fix="name the field with text_field:, write an array of rows as .jsonl, or leave out what is no data",
                )
        left = len(found.files) - len(chosen)
        return Found("text", chosen, found.evidence + (f"; {left} of them, beside rows, left out" if left else ""))

    def _is_rows(self, file: str, text_field: str) -> bool:
        """Whether a file holds a row a line; only of .json that is not in the name."""
        if not _is_json(file):
            return kind_of_file(Path(file), text_field) == "jsonl"
        with local_copy(self.places.blob(file), self.cache) as path:
            return kind_of_file(path, text_field) == "jsonl"

    def _check_width(self, name: str, entry: DomainEntry, shards: list[Shard]) -> None:
        """Tokens of a vocabulary above 65,536 are not written as uint16: such a domain has another tokenizer."""
        most = self.vocab_size or 0
        if entry.dtype is None and shards[0].dtype.itemsize < 4 and most > 1 << 8 * shards[0].dtype.itemsize:
            raise DataError(
                f"domain {name!r} holds {shards[0].dtype} tokens ({shards[0].name})",
                wanted=f"a type that holds the {most:,} ids of the vocabulary",
                fix=f"it was made with another tokenizer; if it was not, say so with dtype: {shards[0].dtype}",
            )

    def _shards(self, name: str, entry: DomainEntry, found: Found) -> tuple[list[Shard], str]:
        """The shards of a domain, and the evidence for how they are read."""
        blobs = self.places.blob
        dtype = np.dtype(entry.dtype) if entry.dtype else None
        if found.format == "megatron":
            shards: list[Shard] = [
                IndexedDataset.of(blobs(f.removesuffix(".bin") + ".idx"), blobs(f)) for f in found.files
            ]
            if dtype is not None and shards[0].dtype.itemsize != dtype.itemsize:
                raise DataError(
                    f"{shards[0].name} holds {shards[0].dtype} tokens, as its index says", wanted=f"{dtype}, as given"
                )
            return shards, found.evidence
        if found.format == "raw":
            return self._raw(entry, found, dtype)
        if found.format == "mds":
            seen = set[str]()
            return [s for f in found.files for s in self._mds(f, entry.column, dtype, seen)], found.evidence
        return self._unpacked(name, entry, found)

    def _raw(self, entry: DomainEntry, found: Found, dtype: np.dtype[Any] | None) -> tuple[list[Shard], str]:
        eos, shards = entry.eos if entry.eos is not None else self.eos, list[Shard]()
        blobs = [self.places.blob(file) for file in found.files]
        for file, blob in zip(found.files, blobs, strict=True):
            if not blob.size:
                raise DataError(f"{file} is empty", wanted="tokens", fix="restore it, or leave it out")
        # the ids of the largest file say most
        kind, _, how = raw_layout(max(blobs, key=lambda blob: blob.size), dtype, self.vocab_size)
        for file, blob in zip(found.files, blobs, strict=True):
            header, index = raw_layout(blob, kind, self.vocab_size)[1], f"{file}.index"
            ends = self.places.blob(index) if file.endswith(".ds") and self.places.exists(index) else None
            shards.append(RawShard(blob, kind, eos, header=header, ends_blob=ends))
            if dtype is None and not header:
                check_raw(blob, kind, self.vocab_size)
        return shards, f"{found.evidence}; {how}"

    def _mds(self, index: str, column: str | None, dtype: np.dtype[Any] | None, seen: set[str]) -> list[MdsShard]:
        """The shards of an index but those `seen` in another, as in one that merges the indexes of folders below it."""
        blob, folder = self.places.blob(index), index.removesuffix("index.json")
        infos = [i for i in MdsShardInfo.all(json.loads(blob.read(0, blob.size).tobytes()), index) if i.samples]
        if not infos:
            raise DataError(f"{index} lists no samples", wanted="tokens", fix="restore it, or leave it out")
        shards = []
        for info in infos:
            if folder + info.raw[0] in seen:
                continue
            seen.add(folder + info.raw[0])
            plain: Blob
            if info.packed is None or self.places.exists(folder + info.raw[0]):
                plain = self.places.blob(folder + info.raw[0])
            else:
                packed = self.places.blob(folder + info.packed[0])
                plain = UnpackedBlob(packed, info.packed[1], info.raw[1], info.compression or "", self.access)
            if dtype is None and self._is_bytes(info, column):
                dtype = self._bytes_dtype(plain, info, column)
            shards.append(MdsShard(plain, info, column, dtype))
        return shards

    def _is_bytes(self, info: MdsShardInfo, column: str | None) -> bool:
        names = (column,) if column else COLUMNS
        return any(info.encodings[info.names.index(n)] == "bytes" for n in names if n in info.names)

    def _bytes_dtype(self, plain: Blob, info: MdsShardInfo, column: str | None) -> np.dtype[Any]:
        shard = MdsShard(plain, info, column, np.dtype("uint8"))
        stop = int(np.searchsorted(shard.ends, 1 << 16)) + 1
        rows = [shard.document(i) for i in range(min(stop, shard.documents))]
        return raw_layout(BytesBlob(shard.name, np.concatenate(rows)), None, self.vocab_size)[0]

    def _unpacked(self, name: str, entry: DomainEntry, found: Found) -> tuple[list[Shard], str]:
        shards, skipped, first, evidence = list[Shard](), 0, "", found.evidence
        for i, file in enumerate(found.files):
            with local_copy(self.places.blob(file), self.cache) as path:
                kind = "text" if found.format == "text" else column_of(path, entry.column, entry.text_field)
                how = self._texts(name, entry) if kind == "text" else self._lists(entry)
                self.progress.say(f"{name}: {file} ({i + 1} of {len(found.files)})")
                shard, note = unpack(path, how, self.cache)
            shards.append(shard)
            skipped, first = skipped + note.skipped, first or note.first
        return shards, evidence + (f"; {skipped:,} rows left out, the first: {first}" if skipped else "")

    def _lists(self, entry: DomainEntry) -> TokenLists:
        return TokenLists(entry.column, str(token_dtype(self.vocab_size)) if self.vocab_size else "int32")

    def _texts(self, name: str, entry: DomainEntry) -> Texts:
        if self.tokenizer is None:
            raise UsageError(
                f"domain {name!r} is text, and no tokenizer is given",
                wanted="tokenizer: with a tokenizer.json, or bytes",
                fix="tokenizer: PATH, beside domains:",
            )
        info, folder = self.tokenizer
        if entry.eos not in (None, info.eos):
            raise UsageError(
                f"domain {name!r} is text, and was given eos: {entry.eos}",
                wanted=f"{info.eos}, with which the tokenizer ends a text",
                fix="leave eos: out of this domain, or take another tokenizer",
            )
        return Texts(entry.text_field, info, str(folder), str(token_dtype(info.vocab_size)))


def _is_json(file: str) -> bool:
    return file.removesuffix(".gz").removesuffix(".zst").endswith(".json")
