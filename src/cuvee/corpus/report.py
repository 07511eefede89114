"""`prepare_report.json`: what was read, left out and found twice; also how a finished corpus knows its inputs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cuvee.base.codec import SchemaError, from_json, to_json
from cuvee.base.errors import DataError
from cuvee.base.files import FORMAT, dump_json, hash_file, load_json, replace
from cuvee.corpus.decontaminate import Decontamination
from cuvee.corpus.duplicates import DuplicateReport
from cuvee.corpus.scan import BadLine
from cuvee.corpus.sources import InputFile

FILE = "prepare_report.json"


@dataclass(frozen=True)
class ReadFile:
    """An input file as it was when it was read."""

    name: str
    size: int
    mtime_ns: int
    hash: str


@dataclass(frozen=True)
class PrepareReport:
    """The report.

    Args:
        options: Hash of everything that the call asked for, the names of the input files included.
        bad_lines: Lines (or whole files) that could not be read; `shown` are the first of them.
        empty: Documents without text, left out.
        ignored_files: Files in the sources that are no data.
        seconds: Time of each stage in the last run; less where a stage resumed.
        decontamination: What target files made leave train; None where none were given.
    """

    options: str
    files: tuple[ReadFile, ...]
    bad_lines: int
    shown: tuple[BadLine, ...]
    empty: int
    ignored_files: int
    duplicates: DuplicateReport
    seconds: dict[str, float]
    decontamination: Decontamination | None = None
    format: int = FORMAT

    def save(self, out: Path) -> None:
        """Write it into the corpus folder."""
        replace(out / FILE, dump_json(to_json(self)))

    @classmethod
    def load(cls, out: Path) -> PrepareReport:
        """Read it from a corpus folder.

        Raises:
            DataError: there is none.
            SchemaError: it is not one.
        """
        return from_json(cls, load_json(out / FILE))

    def difference(self, options: str, files: tuple[InputFile, ...]) -> str:
        """How a call differs from the one that made this corpus, in words; empty if it does not.

        A file whose time alone changed is read again and compared by its hash.
        """
        if options != self.options:
            return "other options or other input files"
        for file, old in zip(files, self.files, strict=True):
            if file.size != old.size or (file.mtime_ns != old.mtime_ns and hash_file(Path(file.path)) != old.hash):
                return f"{file.label} has changed since"
        return ""


def notes(report: PrepareReport) -> dict[str, str]:
    """The report in a few lines, for the inventory."""
    twice = report.duplicates
    result = {
        "duplicates": f"{twice.exact:,} exact copies inside a domain (kept), {twice.near_documents:,} near-duplicates in"
        f" {twice.near_clusters:,} clusters, {twice.across_domains:,} clusters across domains; clusters are never split",
    }
    if report.decontamination:
        result["decontaminated"] = str(report.decontamination)
    if report.bad_lines:
        first = "; ".join(map(str, report.shown[:3]))
        result["bad lines"] = f"{report.bad_lines:,} left out, the first: {first}"
    if report.empty:
        result["empty"] = f"{report.empty:,} documents without text left out"
    if report.ignored_files:
        result["files"] = f"{report.ignored_files:,} files passed over as no data"
    return result


def load_or_none(out: Path) -> PrepareReport | None:
    """The report in `out`, or None if there is no readable one."""
    try:
        return PrepareReport.load(out)
    except (DataError, SchemaError):
        return None
