"""`prepare`: texts in, a corpus out. Stages that each can be killed and go on: read, split, decontaminate,
tokenizer, tokens, leakage.

Only `inventory.json`, written last, makes the folder a corpus; until then everything is in `.prepare` and `shards`.
Memory holds some 100 bytes a document and a few chunks of 16 MiB a worker, whatever the size of the texts.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cuvee.base.codec import content_id, from_json, to_json
from cuvee.base.errors import UsageError
from cuvee.base.files import dump_json, explained, load_json, replace, slug
from cuvee.base.progress import Progress, Silent
from cuvee.corpus import duplicates, overlap
from cuvee.corpus import split as splitting
from cuvee.corpus import tokenizer as tokenizers_
from cuvee.corpus.chunks import save_array
from cuvee.corpus.decontaminate import Decontamination, Targets, leave_out, match_jobs
from cuvee.corpus.documents import Documents, gather
from cuvee.corpus.duplicates import DuplicateReport
from cuvee.corpus.leaks import Runs
from cuvee.corpus.readers import Fields
from cuvee.corpus.report import PrepareReport, ReadFile, load_or_none, notes
from cuvee.corpus.scan import SHOWN, ScanJob, ScanResult, jobs_for
from cuvee.corpus.sources import Listing, find_files
from cuvee.corpus.staging import Staging
from cuvee.corpus.tokenise import SHARDS, Part, TokeniseJob, load_shard, plan_parts
from cuvee.corpus.tokenizer import TokenizerWish
from cuvee.corpus.workers import run_jobs
from cuvee.shards.corpus import Corpus
from cuvee.shards.inventory import FILE as INVENTORY
from cuvee.shards.inventory import DomainInfo, Inventory, Shard, SplitInfo, TokenizerInfo
from cuvee.shards.splits import SPLITS

_COST = {"scan": 0.45, "split": 0.05, "decontaminate": 0.05, "tokenizer": 0.15, "tokenise": 0.2, "overlap": 0.1}
"""What part of the whole time a stage is expected to take; progress reports sum to 1."""
_VERSION = 1
"""Of the stages' results; raise it when the same inputs give another corpus."""


def prepare(
    sources: Sequence[Path | str] | Path | str,
    *,
    out: Path | str,
    vocab: int = 4096,
    tokenizer: Path | Literal["bytes"] | None = None,
    domains: str = "auto",
    text_field: str = "text",
    on_bad_line: Literal["skip", "fail"] = "skip",
    search: float = 0.05,
    verify: float = 0.05,
    min_held_out_bytes: int = 60_000,
    decontaminate: Sequence[Path | str] = (),
    workers: int = 1,
    seed: int = 0,
    progress: Progress | None = None,
) -> Corpus:
    """Make a corpus of token shards from texts. The same call again resumes, or returns the finished corpus at once.

    The result depends on the contents of the files and on the arguments, never on `workers` or on interruptions.

    Args:
        sources: Files and folders: JSONL (.jsonl, .ndjson, .json with a row a line), Parquet, plain text; .gz and .zst too.
        out: The folder to make.
        vocab: Entries of the byte-level BPE to train (end of text and the 256 bytes among them).
        tokenizer: A `tokenizer.json` to use, or "bytes"; None trains a BPE on the train split.
        domains: What a domain is: "file", "folder", "field:NAME", or "auto" (subfolders where there are some, else files).
        text_field: The field of a row that holds the text; a dot leads into nested objects.
        on_bad_line: "skip" counts and reports what cannot be read, "fail" stops at the first.
        search: Share of near-duplicate clusters held out for scoring proxies.
        verify: Share held out for verification, never read by a search.
        min_held_out_bytes: Least text of each held-out split of each domain, as far as 15 % of the domain allow.
        decontaminate: Target files (`corpus.examples`); train documents that share 13 words in a row with them are left out.
        workers: Processes.
        seed: Of the split and of the tokenizer's sample.
        progress: Reports of work done, summing to 1, and lines to show.

    Raises:
        UsageError: arguments that make no sense, or an `out` that holds something else.
        DataError: nothing to read, a domain without documents or without held-out text, a bad line under "fail", a
            target file that cannot be used.
        PartialError: the disk is full or a worker was killed; the same call goes on.
    """
    given = [sources] if isinstance(sources, Path | str) else list(sources)
    if on_bad_line not in ("skip", "fail"):
        raise UsageError(f"got on_bad_line={on_bad_line!r}", wanted='"skip" or "fail"')
    if workers < 1:
        raise UsageError(f"got workers={workers}", wanted="1 or more")
    wish = TokenizerWish.of(tokenizer, vocab)
    shares = splitting.Shares(search, verify, min_held_out_bytes)
    listing = find_files([Path(source) for source in given], domains, leave_out=Path(out), text_field=text_field)
    fields = Fields(text_field, domains.removeprefix("field:") if domains.startswith("field:") else None)
    targets = Targets.of([Path(path) for path in decontaminate], text_field)
    job = _Preparation(
        Path(out), listing, fields, on_bad_line == "fail", shares, wish, targets, workers, seed, progress or Silent()
    )
    return job.run()


@dataclass
class _Preparation:
    """One call of `prepare` at work."""

    out: Path
    listing: Listing
    fields: Fields
    fatal: bool
    shares: splitting.Shares
    wish: TokenizerWish
    targets: Targets
    workers: int
    seed: int
    progress: Progress
    seconds: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Signatures of the stages, each with those before it."""
        files = [(f.path, f.label, f.domain, f.kind, f.unit) for f in self.listing.files]
        question = [_VERSION, files, self.fields, self.fatal, self.shares, self.wish, self.seed]
        times = [(f.size, f.mtime_ns) for f in self.listing.files]
        targets = [self.targets.hashes] if self.targets.hashes else []
        # labels and domains, not paths: a corpus and its texts may be moved
        self.options = content_id(
            [_VERSION, [f[1:] for f in files], *question[2:5], _identity(self.wish), self.seed, *targets]
        )
        scan = content_id([_VERSION, files, times, self.fields, self.fatal])
        split = content_id([scan, self.shares, self.seed])
        clean = content_id([split, *targets]) if targets else split
        tokens = content_id([clean, self.wish])
        cleaning = [("decontaminate", clean)] if targets else []
        stages = (
            ("scan", scan),
            ("split", split),
            *cleaning,
            ("tokenizer", tokens),
            ("tokenise", tokens),
            ("overlap", clean),
        )
        self.staging = Staging(self.out, stages)

    def run(self) -> Corpus:
        """All stages; the finished corpus if there is one already."""
        finished = self._finished()
        if finished is not None:
            return finished
        self._check_folder()
        with self.staging.held() as dropped:
            if dropped:
                self.progress.say(f"the inputs or options changed: made anew are {', '.join(dropped)}")
            if "tokenise" in dropped:
                shutil.rmtree(self.out / SHARDS, ignore_errors=True)
            with self._stage("scan"):
                documents, results = self._scan()
            with self._stage("split"):
                side_N, twice = self._split(documents)
            with self._stage("decontaminate"):
                side_N, left_out = self._decontaminate(documents, side_N)
            with self._stage("tokenizer"):
                info = self._tokenizer(documents, side_N)
            with self._stage("tokenise"):
                shards = self._tokenise(documents, side_N, info)
            with self._stage("overlap"):
                overlap_DS = self._overlap(documents, side_N)
            self._publish(documents, self._report(results, twice, left_out), info, shards, overlap_DS)
        shutil.rmtree(self.staging.root, ignore_errors=True)
        return Corpus.open(self.out)

    def _finished(self) -> Corpus | None:
        if not (self.out / INVENTORY).exists():
            return None
        report = load_or_none(self.out)
        difference = (
            "no report of how it was made" if report is None else report.difference(self.options, self.listing.files)
        )
        if difference:
            raise UsageError(
                f"{self.out} holds a corpus that this call would not make: {difference}",
                wanted="the same call as before, or an empty folder",
                fix=f"choose another folder, open this one with Corpus.open, or remove {self.out}",
            )
        shutil.rmtree(self.staging.root, ignore_errors=True)
        self.progress.advance(1.0)
        return Corpus.open(self.out)

    def _check_folder(self) -> None:
        if self.out.exists() and not self.out.is_dir():
            raise UsageError(f"{self.out} is a file", wanted="a folder to make")
        if self.out.is_dir() and any(self.out.iterdir()) and not self.staging.root.is_dir():
            raise UsageError(
                f"{self.out} is not empty and holds no begun corpus",
                wanted="a new or empty folder",
                fix="choose another folder",
            )
        with explained(self.out):
            self.out.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        self._at = name
        yield
        self.seconds[name] = round(time.monotonic() - started, 2)

    def _jobs(self, jobs: Sequence[Any], weight: Callable[[Any], float]) -> None:
        """Run the jobs of a stage, each advancing the progress by its weight."""
        total = sum(map(weight, jobs)) or 1.0
        run_jobs(jobs, self.workers, lambda job: self.progress.advance(_COST[self._at] * weight(job) / total, self._at))

    def _scan(self) -> tuple[Documents, tuple[ScanResult, ...]]:
        folder = self.staging.folder("scan")
        groups = jobs_for(self.listing.files)
        outs = [folder / f"{i:06d}" for i in range(len(groups))]
        rate = _shingle_rate(sum(file.size for file in self.listing.files))
        jobs = [
            ScanJob(str(out), group, self.fields, self.fatal, rate)
            for out, group in zip(outs, groups, strict=True)
            if not out.is_dir()
        ]
        self._jobs(jobs, lambda job: float(sum(file.size for file in job.files)))
        expected = sorted({file.domain for file in self.listing.files if file.domain is not None})
        return gather(outs, expected)

    def _split(self, documents: Documents) -> tuple[NDArray[np.uint8], DuplicateReport]:
        folder = self.staging.folder("split")
        side, found = folder / "sides.npy", folder / "duplicates.json"
        if not found.exists():
            clusters = duplicates.cluster(documents)
            save_array(side, splitting.split(documents, clusters, self.shares, self.seed))
            replace(found, dump_json(to_json(duplicates.report(documents, clusters))))
        self.progress.advance(_COST["split"], "split")
        return np.load(side), from_json(DuplicateReport, load_json(found))

    def _decontaminate(
        self, documents: Documents, side_N: NDArray[np.uint8]
    ) -> tuple[NDArray[np.uint8], Decontamination | None]:
        if not self.targets.hashes:
            self.progress.advance(_COST["decontaminate"], "decontaminate")
            return side_N, None
        folder = self.staging.folder("decontaminate")
        side, found = folder / "sides.npy", folder / "decontamination.json"
        if not found.exists():
            runs = Runs.of(self.targets.texts)
            jobs = match_jobs(folder, documents, runs)
            self._jobs([job for job in jobs if not Path(job.out).exists()], lambda job: 1.0)
            cluster_N = duplicates.cluster(documents).of_N
            new_N, report = leave_out(documents, cluster_N, side_N, runs, self.targets.examples, jobs)
            save_array(side, new_N)
            replace(found, dump_json(to_json(report)))
        return np.load(side), from_json(Decontamination, load_json(found))

    def _tokenizer(self, documents: Documents, side_N: NDArray[np.uint8]) -> TokenizerInfo:
        folder = self.staging.folder("tokenizer")
        record = folder / "info.json"
        if not record.exists():
            info = tokenizers_.make(self.wish, folder, documents, side_N == splitting.TRAIN, self.seed)
            replace(record, dump_json(to_json(info)))
        self.progress.advance(_COST["tokenizer"], "tokenizer")
        return from_json(TokenizerInfo, load_json(record))

    def _tokenise(
        self, documents: Documents, side_N: NDArray[np.uint8], info: TokenizerInfo
    ) -> list[tuple[Part, Shard]]:
        folder = self.staging.folder("tokenise")
        for left in (self.out / SHARDS).glob("*/.*.tmp"):
            left.unlink(missing_ok=True)
        parts = plan_parts(documents, side_N, folder)
        records = [folder / f"{i:06d}.json" for i in range(len(parts))]
        jobs = [
            TokeniseJob(
                plan=str(folder),
                start=part.start,
                stop=part.stop,
                out=str(self.out),
                path=part.path,
                record=str(record),
                tokenizer=info,
                tokenizer_folder=str(self.staging.folder("tokenizer")),
            )
            for part, record in zip(parts, records, strict=True)
            if not record.exists()
        ]
        jobs.sort(
            key=lambda job: job.start - job.stop
        )  # the longest first, so that no process is left alone at the end
        self._jobs(jobs, lambda job: float(job.stop - job.start))
        return [(part, load_shard(record)) for part, record in zip(parts, records, strict=True)]

    def _overlap(self, documents: Documents, side_N: NDArray[np.uint8]) -> NDArray[np.float64]:
        path = self.staging.folder("overlap") / "overlap.npy"
        if not path.exists():
            save_array(path, overlap.measure(documents, side_N, self.progress, _COST["overlap"]))
        result: NDArray[np.float64] = np.load(path)
        return result

    def _publish(
        self,
        documents: Documents,
        report: PrepareReport,
        info: TokenizerInfo,
        shards: list[tuple[Part, Shard]],
        overlap_DS: NDArray[np.float64],
    ) -> None:
        of: dict[tuple[int, int], list[Shard]] = {}
        for part, shard in shards:
            of.setdefault((part.domain, part.split), []).append(shard)
        found = []
        for i, name in enumerate(documents.domains):
            train, search, verify = (SplitInfo(tuple(of[i, side])) for side in range(len(SPLITS)))
            leaks = overlap_DS[i].tolist()
            found.append(DomainInfo(name, slug(name), train, search, verify, *leaks))
        if info.path is not None:
            replace(self.out / info.path, (self.staging.folder("tokenizer") / info.path).read_bytes())
        report.save(self.out)
        Inventory(tuple(found), info, notes(report)).save(self.out)

    def _report(
        self, results: tuple[ScanResult, ...], twice: DuplicateReport, left_out: Decontamination | None
    ) -> PrepareReport:
        hashes = [value for result in results for value in result.hashes]
        files = tuple(
            ReadFile(file.label, file.size, file.mtime_ns, value)
            for file, value in zip(self.listing.files, hashes, strict=True)
        )
        return PrepareReport(
            self.options,
            files,
            sum(result.bad for result in results),
            tuple(line for result in results for line in result.shown)[:SHOWN],
            sum(result.empty for result in results),
            self.listing.ignored,
            twice,
            self.seconds,
            left_out,
        )


def _identity(wish: TokenizerWish) -> list[Any]:
    return [wish.kind, wish.vocab, wish.content]


def _shingle_rate(input_bytes: int) -> int:
    """One in how many 13-word shingles is written down: all for small corpora, 1 in 16 for large ones (half the text's size)."""
    return 1 if input_bytes < 1 << 28 else 16
