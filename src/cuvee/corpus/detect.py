"""What lies in the files of a domain: the format, and the dtype of raw tokens, each with the evidence for it."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from cuvee.base.errors import DataError
from cuvee.corpus.places import Places, is_remote
from cuvee.shards.blobs import Blob, even

Format = Literal["megatron", "raw", "mds", "parquet", "arrow", "text"]
FORMATS: tuple[Format, ...] = get_args(Format)
_RAW = (".npy", ".bin", ".ds", ".u16", ".u32", ".tokens")
_TEXT = (".jsonl", ".ndjson", ".json", ".txt", ".md", ".text", ".rst")
_ABOUT = ("dataset_info.json", "dataset_infos.json")
"""What Hugging Face's datasets say of themselves."""
_BESIDE = (".ds.index", ".ds.metadata", ".md", ".txt", ".json", ".yaml", ".yml", ".csv.gz", ".loss")
"""What may lie beside token files without being data."""
LARGEST_VOCABULARY = 1 << 20
"""Ids from here on are taken as a sign of a wrong dtype; no published tokenizer comes near."""
_LOOK, _PAGES = 4096, 8
_FEW = 16
"""Ids below which a file does not show a dtype against the rest of its domain."""
_LLM_C, _LLM_C_HEADER = (20240520, 20240801), 1024
"""First whole number of llm.c's files of uint16 and uint32 tokens (its dev/data/data_common.py), and bytes before the tokens."""
_ENOUGH, _ALIKE = 4096, 0.2
"""Bytes from which on two histograms of them are compared, and the total variation below which they are alike. In ten domains
it is 0.02 to 0.05 for text and over 0.9 for its tokens (4,096 in the vocabulary); 0.24 for uniform draws from 50,000 ids."""
_ASKED = 32
"""Files for which a store is asked whether an .idx lies beside them; for more of them their folder is listed instead."""


@dataclass(frozen=True)
class Found:
    """The files of a domain that hold its tokens: for Megatron the `.bin`, for MDS the `index.json`."""

    format: Format
    files: tuple[str, ...]
    evidence: str


def detect(domain: str, files: Sequence[str], places: Places, asked: Format | None) -> Found:
    """The format of a domain's files.

    Raises:
        DataError: none that is known, or several; says what was found of each.
    """
    for file in files:
        if _name(file) == "inventory.json":
            raise DataError(
                f"domain {domain!r}: {file} belongs to a corpus of `cuvee prepare`, which has held-out splits",
                wanted="shards that are all for training",
                fix="open it with cuvee.Corpus.open, or name its train shards: shards/NAME/train-*",
            )
        if _name(file) == "dataset_dict.json":
            raise DataError(
                f"domain {domain!r}: {file} belongs to several splits of a Hugging Face dataset, saved together",
                wanted="the data for training alone",
                fix=f"name the folder of one split, such as {_folder(file)}train",
            )
    kinds = _kinds(files, places, asked)
    if asked is not None:
        if asked == "raw" and "raw" not in kinds and "megatron" not in kinds:
            kinds = {"raw": [f for f in files if not f.endswith(_BESIDE)]}  # whatever the ending
        if not kinds.get(asked):
            raise DataError(
                f"domain {domain!r}: format {asked} was given, but there is {_named(kinds) or _some(files)}",
                wanted=f"files of the format {asked}",
                fix="leave format: out to have it detected, or check path:",
            )
        return Found(asked, tuple(kinds[asked]), "given")
    if len(kinds) > 1:
        raise DataError(
            f"domain {domain!r} holds several formats: {_named(kinds)}",
            wanted="one",
            fix=f"give format: {' or '.join(sorted(kinds))}, or a path with * that matches only one",
        )
    if not kinds:
        raise DataError(
            f"domain {domain!r}: no known format in {_some(files)}",
            wanted="Megatron .bin/.idx, raw .npy or .bin, MDS with index.json, .parquet, .arrow, or text (.jsonl, .txt)",
            fix="give format: raw and dtype: if the files are plain token arrays",
        )
    ((kind, chosen),) = kinds.items()
    return Found(kind, tuple(chosen), _named(kinds))


def _kinds(files: Sequence[str], places: Places, asked: Format | None) -> dict[Format, list[str]]:
    """Format -> its files."""
    known, kinds, kept = set(files), dict[Format, list[str]](), _kept_by_map(set(files), places)
    indexes = [f for f in files if _name(f) == "index.json" and _is_mds(f, places)]
    if indexes:
        # an index that merges those of the folders below it comes first: it says their order
        folders = [_folder(f) for f in indexes]
        return {"mds": sorted(indexes, key=lambda f: any(f.startswith(g) and f != g + "index.json" for g in folders))}
    alone = [f for f in files if f.endswith(".bin") and is_remote(f) and f.removesuffix(".bin") + ".idx" not in known]
    if len(alone) > _ASKED and asked != "raw":
        for file in {_folder(f): f for f in alone}.values():
            places.list_beside(file)
    for file in files:
        stem = file.removesuffix(".bin").removesuffix(".idx")
        paired = stem + ".idx" in known or (file.endswith(".bin") and asked != "raw" and places.exists(stem + ".idx"))
        if file.endswith(".idx") or (file.endswith(".bin") and paired):
            pairs = kinds.setdefault("megatron", [])
            if stem + ".bin" not in pairs:
                pairs.append(stem + ".bin")
        elif file.endswith(_RAW):
            kinds.setdefault("raw", []).append(file)
        elif file.endswith((".parquet", ".arrow")) and file not in kept:
            kinds.setdefault("parquet" if file.endswith(".parquet") else "arrow", []).append(file)
        elif file.removesuffix(".gz").removesuffix(".zst").endswith(_TEXT) and _name(file) not in _ABOUT:
            kinds.setdefault("text", []).append(file)
    if len(kinds) > 1 and all(f.endswith(_BESIDE) for f in kinds.get("text", [])):
        kinds.pop("text", None)  # a README or a state.json beside tokens is not data
    return kinds


def _kept_by_map(files: set[str], places: Places) -> set[str]:
    """Arrow files that `.map()` left in the folder of a Hugging Face dataset: those that its state.json does not name."""
    folders, kept = dict[str, set[str]](), set[str]()
    for file in files:
        if file.endswith(".arrow"):
            folders.setdefault(_folder(file), set()).add(file)
    for folder, inside in folders.items():
        if folder + "state.json" in files or places.exists(folder + "state.json"):
            state = _json(folder + "state.json", places)
            data = state.get("_data_files") if isinstance(state, dict) else None
            named = {folder + str(d.get("filename")) for d in data or () if isinstance(d, dict)}
            kept |= inside - named if named & inside else set()
    return kept


def _json(file: str, places: Places) -> Any:
    blob = places.blob(file)
    try:
        return json.loads(blob.read(0, blob.size).tobytes())
    except ValueError:
        raise DataError(f"{file} is not JSON", wanted="what wrote the files beside it", fix="restore it") from None


def _is_mds(file: str, places: Places) -> bool:
    index = _json(file, places)
    if isinstance(index, dict) and "chunks" in index:
        raise DataError(
            f"{file} is the index of litdata chunks, which are not read",
            wanted="Megatron, raw arrays, MDS, Parquet, Arrow or text",
            fix="convert them, for example with `litdata`'s reader into .npy token arrays",
        )
    return isinstance(index, dict) and "shards" in index


def _name(file: str) -> str:
    return file.replace("\\", "/").rsplit("/", 1)[-1]


def _folder(file: str) -> str:
    """The folder of a file with the / after it."""
    return file[: len(file) - len(_name(file))]


def _named(kinds: dict[Format, list[str]]) -> str:
    return ", ".join(
        f"{len(f)} of format {kind} ({_name(f[0])}{', ...' if len(f) > 1 else ''})" for kind, f in kinds.items()
    )


def _some(files: Sequence[str]) -> str:
    return f"{len(files)} file(s): {', '.join(map(_name, files[:5]))}{', ...' if len(files) > 5 else ''}"


def raw_layout(blob: Blob, dtype: np.dtype[Any] | None, vocab_size: int | None) -> tuple[np.dtype[Any], int, str]:
    """Dtype, bytes of header and evidence of a token array: a real .npy says it, else the ids themselves must.

    Raises:
        DataError: a .npy of something else than a row of whole numbers, a dtype that the ids leave open, or the header of llm.c.
    """
    head = blob.read(0, min(blob.size, 128)).tobytes()
    if head.startswith(b"\x93NUMPY"):
        return _npy(blob, dtype)
    if int.from_bytes(head[:4], "little") in _LLM_C and blob.size >= _LLM_C_HEADER:
        raise DataError(
            f"{blob.name} begins with the header of llm.c's token files",
            wanted="tokens alone, or a .npy",
            fix=f"cut off its {_LLM_C_HEADER:,} bytes: tail -c +{_LLM_C_HEADER + 1} FILE > NEW.bin",
        )
    if dtype is not None:
        return dtype, 0, f"{dtype} as given"
    shown = _shown(blob, vocab_size, _PAGES)
    if shown is None:
        raise DataError(
            f"{blob.name} ({blob.size:,} bytes) does not show the dtype of its tokens",
            wanted="ids that fit one of uint16, uint32, int64, not all of them 0, whose bytes are not alike as those of text are",
            fix="give dtype: uint8, uint16 or uint32",
        )
    return shown, 0, f"{shown}: the widest type whose sampled ids are all below {vocab_size or LARGEST_VOCABULARY:,}"


def check_raw(blob: Blob, dtype: np.dtype[Any], vocab_size: int | None) -> None:
    """A look at a token array that is taken for what the largest file of its domain is: at its first page, at more in doubt.

    Raises:
        DataError: it shows another dtype, or ids that do not fit this one.
    """
    if _shown(blob, vocab_size, 1) == dtype:
        return
    shown = _shown(blob, vocab_size, _PAGES)
    # a few ids with zeros between them may well be of the narrower type
    other = shown is not None and shown.itemsize != dtype.itemsize and blob.size >= _FEW * shown.itemsize
    if other or not _plausible(blob, dtype, vocab_size or LARGEST_VOCABULARY, _PAGES):
        raise DataError(
            f"{blob.name} does not hold {dtype} tokens, as the largest file of its domain does"
            + (f", but {shown}" if shown is not None else ""),
            wanted="one dtype in a domain",
            fix="make it a domain of its own; if all are the same, say so with dtype:",
        )


def _shown(blob: Blob, vocab_size: int | None, pages: int) -> np.dtype[Any] | None:
    """The dtype that the ids of a token array show; None if they leave it open."""
    names = ("int64", "uint32", "uint16", *(("uint8",) if vocab_size is not None and vocab_size <= 256 else ()))
    fits: list[np.dtype[Any]] = [
        d for d in map(np.dtype, names) if _plausible(blob, d, vocab_size or LARGEST_VOCABULARY, pages)
    ]
    # read too narrow, zeros stand between the ids; read too wide, ids are beyond any vocabulary: so the widest that fits
    if not fits or not _look(blob, fits[0], pages).any() or (fits[0] == np.uint16 and _alike(blob, pages)):
        return None
    return fits[0]


def _look(blob: Blob, dtype: np.dtype[Any], pages: int) -> NDArray[Any]:
    """The ids in at most `pages` pages of an array, the first among them."""
    found = [np.empty(0, dtype)]
    for start in even(max(blob.size // _LOOK, 1), pages):
        stop = min((start + 1) * _LOOK, blob.size)
        data = blob.read(start * _LOOK, stop - (stop - start * _LOOK) % dtype.itemsize)
        found.append(data.view(dtype.newbyteorder("<")))
    return np.concatenate(found)


def _plausible(blob: Blob, dtype: np.dtype[Any], limit: int, pages: int) -> bool:
    ids_N = _look(blob, dtype, pages) if blob.size % dtype.itemsize == 0 else np.empty(0)
    return bool(ids_N.size) and bool(ids_N.min() >= 0) and bool(ids_N.max() < limit)


def _alike(blob: Blob, pages: int) -> bool:
    """Whether bytes at even and odd places are drawn alike: so are those of uint8 ids, but not the two of a uint16."""
    bytes_N = _look(blob, np.dtype("uint8"), pages)
    even_V, odd_V = (np.bincount(bytes_N[first::2], minlength=256) for first in (0, 1))
    return bytes_N.size >= _ENOUGH and float(np.abs(even_V - odd_V).sum()) < _ALIKE * bytes_N.size


def _npy(blob: Blob, dtype: np.dtype[Any] | None) -> tuple[np.dtype[Any], int, str]:
    head = io.BytesIO(blob.read(0, min(blob.size, 1 << 16)).tobytes())
    try:
        version = np.lib.format.read_magic(head)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, found = read(head)
    except ValueError as error:
        raise DataError(f"{blob.name} has a broken .npy header: {error}", fix="restore it") from error
    if len(shape) != 1 or found.kind not in "iu" or (found.byteorder == ">" and found.itemsize > 1):
        raise DataError(
            f"{blob.name} is a .npy of shape {shape} and type {found}", wanted="one row of little-endian whole numbers"
        )
    if dtype is not None and dtype != found:
        raise DataError(
            f"{blob.name} is a .npy of {found}",
            wanted=f"{dtype}, as given or as the rest of the domain",
            fix="leave dtype: out, or make it a domain of its own",
        )
    if blob.size != head.tell() + shape[0] * found.itemsize:
        raise DataError(
            f"{blob.name} has {blob.size:,} bytes",
            wanted=f"{head.tell() + shape[0] * found.itemsize:,}, as its header says ({shape[0]:,} of {found})",
            fix="the file was cut short: restore it",
        )
    return found, head.tell(), f"{found}, as the .npy header says"
