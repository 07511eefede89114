"""Stage 1, reading: input files to chunks of documents with their hashes, and a record of what could not be read."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from cuvee.base.codec import from_json, to_json
from cuvee.base.errors import DataError
from cuvee.base.files import dump_json, hash_file, load_json
from cuvee.corpus.chunks import ChunkWriter, save_bytes
from cuvee.corpus.readers import Bad, Fields, read
from cuvee.corpus.sources import InputFile
from cuvee.corpus.staging import draft, publish_folder
from cuvee.corpus.words import hash64

SHOWN = 20
"""Bad lines that are kept with file, line and reason; the rest is only counted."""
_JOB_BYTES, _JOB_FILES = 1 << 20, 1 << 10


@dataclass(frozen=True)
class ScanJob:
    """Some files to read into the folder `out`; `fatal` makes the first bad line an error."""

    out: str
    files: tuple[InputFile, ...]
    fields: Fields
    fatal: bool
    shingle_rate: int


@dataclass(frozen=True)
class BadLine:
    """Where something could not be read, and why."""

    file: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}"


@dataclass(frozen=True)
class ScanResult:
    """What a scan job found.

    Args:
        domains: Names of the domains, by the number they have in the job's chunks.
        bad: How many lines (or whole files) could not be read.
        shown: The first of them.
        empty: Documents without any text, which are left out.
        hashes: blake2b-128 of each file.
    """

    chunks: int
    domains: tuple[str, ...]
    bad: int
    shown: tuple[BadLine, ...]
    empty: int
    hashes: tuple[str, ...]


def jobs_for(files: tuple[InputFile, ...]) -> list[tuple[InputFile, ...]]:
    """Files grouped into jobs of about a megabyte, in order; a function of the files alone, not of the workers."""
    groups: list[list[InputFile]] = []
    size = 0
    for file in files:
        if not groups or size + file.size > _JOB_BYTES or len(groups[-1]) >= _JOB_FILES:
            groups.append([])
            size = 0
        groups[-1].append(file)
        size += file.size
    return [tuple(group) for group in groups]


def scan(job: ScanJob) -> None:
    """Read the files of a job and publish its folder.

    Raises:
        DataError: a bad line while those are fatal, or a file that changed while it was read.
        PartialError: the disk is full.
    """
    out = Path(job.out)
    folder = draft(out)
    try:
        result = _scan_into(folder, job)
        save_bytes(folder / "result.json", dump_json(to_json(result)))
        publish_folder(folder, out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _scan_into(folder: Path, job: ScanJob) -> ScanResult:
    writer = ChunkWriter(folder, job.shingle_rate)
    domains: dict[str, int] = {}
    shown: list[BadLine] = []
    hashes: list[str] = []
    bad = empty = 0
    for file in job.files:
        stays = hash64(file.label.encode("utf-8") + b"\0" + file.path.encode("utf-8")) if file.unit == "file" else 0
        for item in read(file, job.fields):
            if isinstance(item, Bad):
                bad += 1
                where = BadLine(file.label, item.line, item.reason)
                if job.fatal:
                    raise DataError(str(where), fix='mend the line, or leave such lines out with on_bad_line="skip"')
                if len(shown) < SHOWN:
                    shown.append(where)
            elif not item.text.strip():
                empty += 1
            else:
                name = file.domain if file.domain is not None else item.domain
                assert name is not None
                writer.add(item.text, domains.setdefault(name, len(domains)), stays)
        hashes.append(_hash_unchanged(file))
    writer.flush()
    return ScanResult(writer.count, tuple(domains), bad, tuple(shown), empty, tuple(hashes))


def _hash_unchanged(file: InputFile) -> str:
    path = Path(file.path)
    try:
        value, stat = hash_file(path), path.stat()
    except OSError:
        return "unreadable"  # its reader has said so
    if (stat.st_size, stat.st_mtime_ns) != (file.size, file.mtime_ns):
        raise DataError(f"{file.label} changed while it was read", fix="run again when nothing writes to it")
    return value


def load_result(folder: Path) -> ScanResult:
    """The record of a finished scan job."""
    return from_json(ScanResult, load_json(folder / "result.json"))
