"""Stage 4, decontamination: train documents that share a run of words with a target file are left out of the corpus.

The rule of GPT-3's first filter (Brown et al. 2020, arXiv 2005.14165, appendix C): 13 words in common and the document goes. GPT-3
later cut out the place alone, which loses less of long documents; whole documents are simpler to explain and leave no torn
text. As there, a run in many documents is a common phrase and is ignored; counted are clusters of near-duplicates, so
that a leaked text does not become a common phrase by being copied. Held-out documents stay.

Letters: N documents, R distinct runs of the targets.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from cuvee.base.errors import DataError
from cuvee.base.files import hash_file, replace
from cuvee.corpus.chunks import OVERLAP_WORDS, Chunk
from cuvee.corpus.documents import Documents
from cuvee.corpus.examples import read_examples
from cuvee.corpus.leaks import COMMON, Finder, Runs, word_hashes
from cuvee.corpus.split import LEFT_OUT, TRAIN
from cuvee.corpus.words import I64

_RUNS = "runs.npy"


@dataclass(frozen=True)
class Targets:
    """Target files as they were when they were read.

    Args:
        hashes: blake2b-128 of each file, sorted.
        examples: File -> number of its examples.
        texts: Of all examples.
    """

    hashes: tuple[str, ...]
    examples: Mapping[str, int]
    texts: tuple[str, ...]

    @classmethod
    def of(cls, paths: Sequence[Path], text_field: str) -> Self:
        """Read target files.

        Raises:
            DataError: one that cannot be used.
        """
        found = [read_examples(path, text_field) for path in paths]
        return cls(
            tuple(sorted(hash_file(path) for path in paths)),
            {str(path): len(one.examples) for path, one in zip(paths, found, strict=True)},
            tuple(text for one in found for text in one.texts),
        )


@dataclass(frozen=True)
class MatchJob:
    """A chunk in which to look for the runs in `runs` (as `Runs.known_R`, of `lengths`); the pairs found go to `out`."""

    out: str
    chunk: str
    runs: str
    lengths: tuple[int, ...]


@dataclass(frozen=True)
class Decontamination:
    """What was left out of train.

    Args:
        files: Target file -> its examples.
        runs: Distinct runs of 13 words of the targets; an example of 6 to 12 words is one run.
        common: Runs in more than 10 clusters of near-duplicates: common phrases, ignored.
        documents: Domain -> train documents left out.
        bytes: Domain -> bytes of their text.
    """

    files: Mapping[str, int]
    runs: int
    common: int
    documents: Mapping[str, int]
    bytes: Mapping[str, int]

    def __str__(self) -> str:
        total, size = sum(self.documents.values()), sum(self.bytes.values())
        where = ", ".join(f"{name} {n:,} ({self.bytes[name]:,} bytes)" for name, n in self.documents.items() if n)
        return (
            f"{total:,} train documents ({size:,} bytes) that share {OVERLAP_WORDS} words in a row with"
            f" {', '.join(self.files)} left out{': ' + where if where else ''}; of {self.runs:,} such runs {self.common:,} are in"
            f" more than {COMMON} groups of near-duplicates and were ignored as common phrases"
        )


def match_jobs(folder: Path, documents: Documents, runs: Runs) -> list[MatchJob]:
    """A job for every chunk, the runs written to `folder` for them."""
    replace(folder / _RUNS, _npy(runs.known_R))
    return [
        MatchJob(str(folder / f"{i:06d}.npy"), str(chunk.prefix), str(folder / _RUNS), runs.lengths)
        for i, chunk in enumerate(documents.chunks)
    ]


def match(job: MatchJob) -> None:
    """Write the pairs of a document of the chunk and a run that is in it, shape 2 x pairs.

    Raises:
        PartialError: the disk is full.
    """
    chunk = Chunk(Path(job.chunk))
    data = chunk.texts()
    texts = [bytes(data[r["offset"] : r["offset"] + r["bytes"]]).decode("utf-8") for r in chunk.rows()]
    finder = Finder(np.load(job.runs), job.lengths)
    replace(Path(job.out), _npy(np.stack(finder.find(*word_hashes(texts)))))


def leave_out(
    documents: Documents,
    cluster_N: I64,
    side_N: NDArray[np.uint8],
    runs: Runs,
    files: Mapping[str, int],
    jobs: Sequence[MatchJob],
) -> tuple[NDArray[np.uint8], Decontamination]:
    """The sides of all documents after finished `jobs`, with LEFT_OUT where a train document shares a run; and the report.

    Raises:
        DataError: a domain of which nothing is left to train on.
    """
    new_N = side_N.copy()
    remained = -1
    # a common phrase may be rare in what remains; until nothing more goes, so that no rare run is left
    while remained != (remained := int((new_N == TRAIN).sum())):
        common_R = _common(documents, cluster_N, new_N, jobs, len(runs.known_R))
        for job, first in zip(jobs, documents.first, strict=False):
            document, run = np.load(job.out)
            hit = first + document[~common_R[run]]
            new_N[hit[new_N[hit] == TRAIN]] = LEFT_OUT
    width = len(documents.domains)
    left = new_N == LEFT_OUT
    count_D = np.bincount(documents.domain_N[left], minlength=width)
    bytes_D = np.bincount(documents.domain_N[left], documents.bytes_N[left], minlength=width)
    remain_D = np.bincount(documents.domain_N[new_N == TRAIN], minlength=width)
    for name, count, remain in zip(documents.domains, count_D, remain_D, strict=True):
        if not remain:
            raise DataError(
                f"all {count:,} train documents of the domain {name!r} share {OVERLAP_WORDS} words in a row with"
                f" {', '.join(files)}",
                wanted="text to train on",
                fix="leave the domain out, or take from the target file what is made of this domain",
            )
    report = Decontamination(
        files,
        len(runs.known_R),
        int(common_R.sum()),
        dict(zip(documents.domains, count_D.tolist(), strict=True)),
        dict(zip(documents.domains, bytes_D.astype(np.int64).tolist(), strict=True)),
    )
    return new_N, report


def _common(
    documents: Documents, cluster_N: I64, side_N: NDArray[np.uint8], jobs: Sequence[MatchJob], runs: int
) -> NDArray[np.bool_]:
    """Which runs are in train documents of more than 10 clusters, shape R; memory holds at most 11 clusters a run."""
    common_R = np.zeros(runs, np.bool_)
    clusters = int(cluster_N.max()) + 1
    keys = np.zeros(0, np.int64)
    for job, first in zip(jobs, documents.first, strict=False):
        document, run = np.load(job.out)
        document = first + document
        kept = (side_N[document] == TRAIN) & ~common_R[run]
        keys = np.unique(np.concatenate((keys, run[kept] * clusters + cluster_N[document[kept]])))
        common_R |= np.bincount(keys // clusters, minlength=runs) > COMMON
        keys = keys[~common_R[keys // clusters]]
    return common_R


def _npy(array: NDArray[np.generic]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()
