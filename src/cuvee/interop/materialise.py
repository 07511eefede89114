"""The mixture as data: shards sampled and upsampled to exact token counts, which any trainer reads without weights.

Each domain is an endless stream: all its training documents in a keyed order, newly permuted each epoch. A phase takes the next
tokens of it, so what one phase has seen the next goes on from, and documents are cut only where a phase ends. The same call
goes on after a kill: a finished part has a record, and only `manifest.json`, written last, makes the folder whole.

Letters: N documents of a domain, P pieces (documents or parts of one) of a phase.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from cuvee.base.codec import SchemaError, from_json, to_json
from cuvee.base.errors import CuveeError, DataError, PartialError, UsageError
from cuvee.base.files import FORMAT, dump_json, load_json
from cuvee.base.files import replace as write
from cuvee.base.permutation import permute
from cuvee.base.processes import environment, how, tail
from cuvee.base.progress import Progress, Silent
from cuvee.base.rng import key64
from cuvee.interop.handover import hand_over
from cuvee.interop.registry import exporter
from cuvee.interop.shardwriters import decoder, write_shard
from cuvee.mixture.schedule import Schedule
from cuvee.shards.corpus import Corpus

Form = Literal["megatron", "jsonl", "parquet"]
Layout = Literal["by-domain", "mixed"]
SHARD_TOKENS = 16_000_000
"""Tokens of a shard, about; a shard ends with a document."""
I64 = NDArray[np.int64]
T = TypeVar("T")


@dataclass(frozen=True)
class Order:
    """What to write: everything that the bytes depend on."""

    schedule: Schedule
    corpus: str
    tokens: int
    form: Form
    layout: Layout
    shard_tokens: int
    seed: int


@dataclass(frozen=True)
class Part:
    """One shard: of a phase, of a domain or of all (an empty name), pieces `first` to `last` of it."""

    phase: int
    domain: str
    path: str
    first: int
    last: int


@dataclass(frozen=True)
class Written:
    """A shard as written; `hash` is of its file, of `.bin` and `.idx` together for token shards."""

    path: str
    phase: int
    domain: str
    documents: int
    tokens: int
    bytes: int
    hash: str


@dataclass(frozen=True)
class Total:
    """Tokens of a domain: asked for, written, and passes over its training text."""

    domain: str
    requested: int
    written: int
    epochs: float


@dataclass(frozen=True)
class Manifest:
    """`manifest.json`: what was written, of what."""

    order: Order
    shards: tuple[Written, ...]
    domains: tuple[Total, ...]
    format: int = FORMAT

    def __str__(self) -> str:
        lines = [f"{len(self.shards)} shards; {'domain':<20} {'requested':>14} {'written':>14} {'epochs':>8}"]
        lines += [f"  {t.domain:<26.26} {t.requested:>16,} {t.written:>14,} {t.epochs:>8.2f}" for t in self.domains]
        return "\n".join(lines)


@dataclass(frozen=True, eq=False)
class Pieces:
    """A phase's pieces in the order they are written: which domain and document, from and to which of its tokens."""

    domain_P: I64
    document_P: I64
    low_P: I64
    high_P: I64

    def rows(self, which: I64 | slice) -> Pieces:
        """Some of them."""
        return Pieces(self.domain_P[which], self.document_P[which], self.low_P[which], self.high_P[which])


def materialise(
    schedule: Schedule,
    corpus: Corpus,
    *,
    out: Path | str,
    tokens: int,
    form: Form = "jsonl",
    layout: Layout = "by-domain",
    shard_tokens: int = SHARD_TOKENS,
    seed: int = 0,
    caps: Mapping[str, float] | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> Manifest:
    """Write the mixture as shards into `out`: `phase-00/SLUG/part-00000.jsonl`, or `phase-00/part-00000.jsonl` when mixed.

    The bytes depend on the schedule, the corpus, the seed and the forms, never on `workers` or on interruptions. The same call
    goes on where it was, or returns the finished manifest.

    Args:
        tokens: Of the run, in the corpus's tokens; every domain gets exactly its part of each phase, by largest remainder.
        form: Megatron token shards, or rows `text` and `domain` as JSONL or Parquet. A document that is cut at the end of a
            phase may decode with a replacement character at the cut.
        layout: A folder a domain, or one sequence in which the documents of all domains are spread evenly.
        shard_tokens: Tokens of a shard, about.
        caps: Domain -> most passes over it.
        workers: Processes.

    Raises:
        UsageError: the folder holds another order, or a schedule over other domains.
        DataError: text is asked of a corpus without a tokenizer; the disk has too little room.
        InfeasibleError: a broken cap.
        PartialError: the disk is full or a worker died; run again to go on.
    """
    hand_over(
        schedule, corpus, exporter("json"), tokens=tokens, data=None, caps=caps or {}, seq_len=1, batch=1, seed=seed,
        row_limit=None,
    )  # fmt: skip
    folder, bar = Path(out), progress or Silent()
    order = Order(schedule, corpus.fingerprint, tokens, form, layout, shard_tokens, seed)
    if shard_tokens < 1:
        raise UsageError(f"got shards of {shard_tokens} tokens", wanted="at least 1")
    if form != "megatron":
        decoder(corpus)  # refuse before anything is written
    found = _settle(folder, order)
    if found is not None:
        return found
    parts = plan(order, corpus)
    _check_room(folder, order, corpus)
    left = [i for i, part in enumerate(parts) if not _made(folder, part)]
    bar.advance((len(parts) - len(left)) / max(len(parts), 1))
    if min(workers, len(left)) > 1:
        _spread(folder, corpus, min(workers, len(left)))
    else:
        for i in left:
            make(folder, parts[i], order, corpus)
            bar.advance(1 / len(parts))
    return _finish(folder, order, parts, corpus)


def _settle(folder: Path, order: Order) -> Manifest | None:
    """The manifest if it and all its shards are there; an order of another kind is refused."""
    path = folder / "order.json"
    if path.exists():
        old = _load(Order, path)
        if old != order:
            before, after = to_json(old), to_json(order)
            differ = [f"{k}: {before[k]}" for k in before if before[k] != after[k] and k != "schedule"]
            differ += ["another schedule"] if before["schedule"] != after["schedule"] else []
            raise UsageError(
                f"{folder} holds another order ({'; '.join(differ)})", wanted="the same order, or another folder"
            )
    write(path, dump_json(to_json(order)))
    manifest = folder / "manifest.json"
    found = _load(Manifest, manifest) if manifest.exists() else None
    return found if found is not None and all(_is_there(folder, w) for w in found.shards) else None


def _load(cls: type[T], path: Path) -> T:
    try:
        return from_json(cls, load_json(path))
    except SchemaError as error:
        raise DataError(f"{path}: {error.what}", wanted=error.wanted, fix="remove the folder and run again") from error


def plan(order: Order, corpus: Corpus) -> tuple[Part, ...]:
    """All shards, in order."""
    parts: list[Part] = []
    for phase in range(len(order.schedule.phases)):
        pieces = pieces_of(order, corpus, phase)
        groups = [("", np.arange(len(pieces.domain_P)))]
        if order.layout == "by-domain":
            groups = [(d, np.flatnonzero(pieces.domain_P == i)) for i, d in enumerate(corpus.domains)]
        for domain, which in groups:
            inside = pieces.rows(which)
            place = f"phase-{phase:02d}" + (f"/{corpus.domain(domain).slug}" if domain else "")
            starts = np.cumsum(inside.high_P - inside.low_P) - (inside.high_P - inside.low_P)
            begins = np.arange(0, int(starts[-1]) + 1 if len(starts) else 0, order.shard_tokens)
            cuts = np.unique(np.searchsorted(starts, begins)).tolist()
            ends = [*cuts[1:], len(starts)]
            for number, (first, last) in enumerate(zip(cuts, ends, strict=False)):
                parts.append(Part(phase, domain, f"{place}/part-{number:05d}", first, last))
    return tuple(parts)


@lru_cache(maxsize=2)
def pieces_of(order: Order, corpus: Corpus, phase: int) -> Pieces:
    """The pieces of a phase: domain after domain, or with all domains spread evenly over the phase."""
    counts = _counts(order)
    found, places = [], []
    for i in range(len(corpus.domains)):
        begin = sum(c[i] for c in counts[:phase])
        piece, place_P = _of_domain(order, corpus, i, begin, begin + counts[phase][i])
        found.append(piece)
        places.append(place_P)
    joined = Pieces(
        *(np.concatenate([getattr(p, f) for p in found]) for f in ("domain_P", "document_P", "low_P", "high_P"))
    )
    if order.layout == "by-domain":
        return joined
    # the middle of a document, as a fraction of its domain's part of the phase, is where it stands among the others
    return joined.rows(np.argsort(np.concatenate(places), kind="stable"))


def _counts(order: Order) -> list[tuple[int, ...]]:
    """Tokens of every domain in each phase."""
    phases = order.schedule.phases
    ends = [*(p.start for p in phases[1:]), order.tokens]
    return [p.mixture.tokens(end - p.start) for p, end in zip(phases, ends, strict=True)]


def _of_domain(order: Order, corpus: Corpus, i: int, begin: int, end: int) -> tuple[Pieces, NDArray[np.float64]]:
    """Pieces of tokens `begin` to `end` of a domain's endless stream, and the place of each in it, from 0 to 1."""
    source = corpus.source(corpus.domains[i], "train")
    lengths_N, columns = np.asarray(source.lengths, np.int64), [np.zeros((3, 0), np.int64)]
    starts = [np.zeros(0, np.int64)]
    for epoch in range(begin // source.tokens, -(-end // source.tokens)) if end > begin else ():
        key = key64(order.seed, f"materialise/{corpus.domains[i]}", epoch)
        order_N = permute(key, len(lengths_N), np.arange(len(lengths_N), dtype=np.int64))
        stop_N = np.cumsum(lengths_N[order_N]) + epoch * source.tokens
        start_N = stop_N - lengths_N[order_N]
        used = (stop_N > begin) & (start_N < end) & (stop_N > start_N)
        low_N, high_N = np.maximum(begin - start_N, 0), np.minimum(stop_N, end) - start_N
        columns.append(np.stack([order_N, low_N, high_N])[:, used])
        starts.append((start_N + low_N)[used])
    document_P, low_P, high_P = np.concatenate(columns, axis=1)
    middle_P = np.concatenate(starts) + (high_P - low_P) / 2 - begin
    return Pieces(np.full(len(document_P), i), document_P, low_P, high_P), middle_P / max(end - begin, 1)


def make(folder: Path, part: Part, order: Order, corpus: Corpus) -> None:
    """Write one shard and its record, unless the record is there."""
    if _made(folder, part):
        return
    pieces = pieces_of(order, corpus, part.phase)
    if part.domain:
        pieces = pieces.rows(np.flatnonzero(pieces.domain_P == corpus.domains.index(part.domain)))
    pieces = pieces.rows(slice(part.first, part.last))
    size, digest = write_shard(folder / part.path, order.form, _documents(pieces, corpus), corpus)
    counts_D = np.bincount(pieces.domain_P, weights=pieces.high_P - pieces.low_P, minlength=len(corpus.domains))
    record = {
        "written": to_json(
            Written(part.path, part.phase, part.domain, len(pieces.low_P), int(counts_D.sum()), size, digest)
        ),
        "tokens": {d: int(n) for d, n in zip(corpus.domains, counts_D, strict=True) if n},
    }
    write(_record_path(folder, part), dump_json(record))


def _documents(pieces: Pieces, corpus: Corpus) -> Iterator[tuple[str, NDArray[Any]]]:
    for i, document, low, high in zip(
        pieces.domain_P.tolist(), pieces.document_P.tolist(), pieces.low_P.tolist(), pieces.high_P.tolist(), strict=True
    ):
        yield corpus.domains[i], corpus.source(corpus.domains[i], "train").document(document)[low:high]


def _made(folder: Path, part: Part) -> bool:
    """Whether the record of a shard and the shard itself, in the size it was written, are there."""
    record = _record_path(folder, part)
    return record.exists() and _is_there(folder, from_json(Written, load_json(record)["written"]))


def _is_there(folder: Path, written: Written) -> bool:
    files = [folder / f"{written.path}{ending}" for ending in (".bin", ".idx", ".jsonl", ".parquet")]
    return sum(f.stat().st_size for f in files if f.is_file()) == written.bytes


def _record_path(folder: Path, part: Part) -> Path:
    return folder / ".parts" / (part.path.replace("/", ".") + ".json")


def _finish(folder: Path, order: Order, parts: Sequence[Part], corpus: Corpus) -> Manifest:
    records = [load_json(_record_path(folder, part)) for part in parts]
    shards = tuple(from_json(Written, r["written"]) for r in records)
    asked = [sum(c[i] for c in _counts(order)) for i in range(len(corpus.domains))]
    totals = []
    for i, domain in enumerate(corpus.domains):
        tokens = sum(r["tokens"].get(domain, 0) for r in records)
        assert tokens == asked[i], f"{domain}: {tokens} written, {asked[i]} asked for"
        totals.append(Total(domain, asked[i], tokens, tokens / corpus.train_tokens[domain]))
    manifest = Manifest(order, shards, tuple(totals))
    write(folder / "manifest.json", dump_json(to_json(manifest)))
    shutil.rmtree(folder / ".parts", ignore_errors=True)
    return manifest


def _check_room(folder: Path, order: Order, corpus: Corpus) -> None:
    """Refuse before writing when the disk cannot hold it."""
    need = 0.0
    for i, domain in enumerate(corpus.domains):
        tokens = sum(c[i] for c in _counts(order))
        each = 4.0 if order.form == "megatron" else 1.2 * corpus.bytes_per_token(domain, "train") + 1
        need += tokens * each
    free = shutil.disk_usage(folder).free
    held = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
    if need - held > free:
        raise DataError(
            f"about {need / 1e9:.2f} GB are to be written to {folder}, and {free / 1e9:.2f} GB are free",
            wanted="room for all shards",
            fix="another disk, fewer tokens, or --as megatron, which is smaller",
        )


def _spread(folder: Path, corpus: Corpus, workers: int) -> None:
    """Make the shards in several processes, each every n-th."""
    logs = [tempfile.TemporaryFile() for _ in range(workers)]  # noqa: SIM115 closed below
    command = [sys.executable, "-m", "cuvee.interop.materialise", str(folder), str(corpus.path), str(workers)]
    running = [subprocess.Popen([*command, str(k)], stderr=log, env=environment()) for k, log in enumerate(logs)]
    try:
        for process, log in zip(running, logs, strict=True):
            if process.wait():
                raise PartialError(
                    f"a worker ended {how(process.returncode)}: {tail(log)}",
                    fix="run the same command again; finished shards are kept",
                )
    finally:
        for process, log in zip(running, logs, strict=True):
            process.kill()
            process.wait()
            log.close()


def main(arguments: Sequence[str]) -> int:
    """The worker: FOLDER CORPUS WORKERS NUMBER."""
    folder, corpus, workers, number = (
        Path(arguments[0]),
        Corpus.open(arguments[1]),
        int(arguments[2]),
        int(arguments[3]),
    )
    order = _load(Order, folder / "order.json")
    try:
        for part in plan(order, corpus)[number::workers]:
            make(folder, part, order, corpus)
    except CuveeError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
