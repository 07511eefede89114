"""Runs of words that a target shares with a corpus: what leaks from the train split into what a model is scored on.

A run is 13 words (`corpus.words`; Brown et al. 2020, arXiv 2005.14165, appendix C). An example of 6 to 12 words is one run, all
of it; one of fewer words has none: in so few words, equal is no sign of copied. A run in more than 10 train documents is a
common phrase (a licence, a form): it is not counted among the shared runs, though an example made of such runs is leaked.

Letters: E examples, R distinct runs, O occurrences of runs in examples, N documents, W words, D domains.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from cuvee.base.errors import DataError
from cuvee.base.progress import Progress
from cuvee.corpus.chunks import OVERLAP_WORDS
from cuvee.corpus.tokenizer import decoder, encoder
from cuvee.corpus.words import I64, U64, WordHasher, shingles
from cuvee.shards.corpus import Corpus
from cuvee.shards.sources import TokenSource

SHORTEST = 6
"""Words of the shortest example that can be found."""
COMMON = 10
"""A run in more train documents than this is a common phrase."""
LEAKED, SHARED = 0.01, 0.05
"""Shares of the examples and of the runs above which a target is refused."""
_BATCH = 1 << 18
_TRIED = 200
_BITS = 24
_SHOWN = 20


@dataclass(frozen=True, eq=False)
class Runs:
    """The runs of words of some examples.

    Args:
        known_R: Hashes of the distinct runs, ascending.
        lengths: Words of the runs that there are.
        run_O: Which run each occurrence is, along `known_R`.
        example_O: In which example.
        examples: E.
    """

    known_R: U64
    lengths: tuple[int, ...]
    run_O: I64
    example_O: I64
    examples: int

    @classmethod
    def of(cls, texts: Sequence[str]) -> Self:
        """The runs of texts, one an example."""
        words, ends_E = word_hashes(texts)
        words_E = np.split(words, ends_E[:-1]) if len(texts) else []
        count_E = np.diff(ends_E, prepend=0)
        hashes, owners, lengths = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)], []
        for length in range(SHORTEST, OVERLAP_WORDS + 1):
            of_length = count_E == length if length < OVERLAP_WORDS else count_E >= length
            chosen = np.flatnonzero(of_length)
            if len(chosen):
                run, ends = shingles(np.concatenate([words_E[e] for e in chosen]), np.cumsum(count_E[chosen]), length)
                hashes.append(run)
                owners.append(np.repeat(chosen, np.diff(ends, prepend=0)))
                lengths.append(length)
        known_R, run_O = np.unique(np.concatenate(hashes), return_inverse=True)
        return cls(known_R, tuple(lengths), run_O.astype(np.int64), np.concatenate(owners), len(texts))

    @property
    def short(self) -> int:
        """Examples with too few words to have a run."""
        return self.examples - len(np.unique(self.example_O))


class Finder:
    """Finds known runs in documents.

    Args:
        known_R: Hashes of the runs, ascending.
        lengths: Their numbers of words.
    """

    def __init__(self, known_R: U64, lengths: Sequence[int]) -> None:
        self.known_R, self.lengths = known_R, lengths
        # most runs of a document are nowhere among the known ones: one look at the first bits settles those
        self._maybe = np.zeros(1 << _BITS, np.bool_)
        self._maybe[self._first_bits(known_R)] = True

    @staticmethod
    def _first_bits(hashes: U64) -> U64:
        return hashes >> np.uint64(64 - _BITS)

    def find(self, words_W: U64, ends_N: I64) -> tuple[I64, I64]:
        """Distinct pairs of a document and a run that is in it.

        Args:
            words_W: Word hashes of the documents, one after the other.
            ends_N: Where each document ends among them.

        Returns:
            Numbers of documents and of runs, both of the shape of the pairs.
        """
        keys = [np.zeros(0, np.int64)]
        for length in self.lengths:
            found, run_ends_N = shingles(words_W, ends_N, length)
            maybe = np.flatnonzero(self._maybe[self._first_bits(found)])
            at = np.minimum(np.searchsorted(self.known_R, found[maybe]), len(self.known_R) - 1)
            hit = self.known_R[at] == found[maybe]
            document = np.searchsorted(run_ends_N, maybe[hit], side="right")
            keys.append(document * len(self.known_R) + at[hit])
        document, run = np.divmod(np.unique(np.concatenate(keys)), max(len(self.known_R), 1))
        return document, run


def word_hashes(texts: Sequence[str]) -> tuple[U64, I64]:
    """Word hashes of texts, one after the other, shape W, and where each text ends, shape N."""
    hasher = WordHasher()
    words = [hasher.hashes(text) for text in texts]
    return np.concatenate([np.zeros(0, np.uint64), *words]), np.cumsum([len(w) for w in words], dtype=np.int64)


@dataclass(frozen=True)
class Leakage:
    """What of a target is in the train split of a corpus.

    Args:
        examples: Of the target.
        leaked: Examples of which at least half the runs are in train, common phrases too.
        shingles: Runs of words, counted as often as they occur, without common phrases.
        shared: Those of them that are in train.
        by_domain: Domain -> share of `shingles` that are in its train split.
        short: Examples of fewer than 6 words, which cannot be looked for; counted in `examples`.
        common: Runs left out as common phrases.
        which: Numbers (from 1) of the first 20 leaked examples.
    """

    examples: int
    leaked: int
    shingles: int
    shared: int
    by_domain: Mapping[str, float]
    short: int = 0
    common: int = 0
    which: tuple[int, ...] = ()

    @property
    def leaked_share(self) -> float:
        """Share of the examples that could be looked for."""
        return self.leaked / max(self.examples - self.short, 1)

    @property
    def shared_share(self) -> float:
        """Share of the runs."""
        return self.shared / max(self.shingles, 1)


def leakage(texts: Sequence[str], corpus: Corpus, progress: Progress) -> Leakage:
    """How much of some examples (`Examples.texts`) is in the train split of a corpus.

    Memory holds the runs of the examples and a megabyte of documents, whatever the corpus.

    Raises:
        DataError: a corpus that came tokenised, or whose tokenizer does not give a text's words back.
    """
    info = corpus.inventory.tokenizer
    decode = decoder(info, corpus.path)
    _check_words_come_back(texts, decode(encoder(info, corpus.path)(texts[:_TRIED])))
    runs = Runs.of(texts)
    finder = Finder(runs.known_R, runs.lengths)
    documents_R = np.zeros(len(runs.known_R), np.int64)
    seen: dict[str, NDArray[np.uint8]] = {}
    total = max(sum(corpus.train_tokens.values()), 1)
    for domain in corpus.domains:
        seen_R = np.zeros(len(runs.known_R), np.bool_)
        for batch in _batches(corpus.source(domain, "train")):
            _, run = finder.find(*word_hashes(decode(batch)))
            documents_R += np.bincount(run, minlength=len(documents_R))
            seen_R[run] = True
            progress.advance(sum(map(len, batch)) / total, domain)
        seen[domain] = np.packbits(seen_R)
    hit_O = documents_R[runs.run_O] > 0
    per_E = np.bincount(runs.example_O, minlength=runs.examples)
    hits_E = np.bincount(runs.example_O, hit_O, minlength=runs.examples)
    rare_O = documents_R[runs.run_O] <= COMMON
    rare = int(rare_O.sum())
    by_domain = {
        name: float(np.unpackbits(bits, count=len(documents_R)).astype(np.bool_)[runs.run_O[rare_O]].sum())
        / max(rare, 1)
        for name, bits in seen.items()
    }
    leaked = np.flatnonzero((per_E > 0) & (2 * hits_E >= per_E))
    return Leakage(
        runs.examples,
        len(leaked),
        rare,
        int((hit_O & rare_O).sum()),
        by_domain,
        runs.short,
        len(rare_O) - rare,
        tuple((leaked[:_SHOWN] + 1).tolist()),
    )


def refuse_leaks(name: str, leakage: Leakage) -> None:
    """Refuse a target of which too much is in the train split.

    Raises:
        DataError: more than 1 % of its examples, or more than 5 % of its runs of words.
    """
    if leakage.leaked_share <= LEAKED and leakage.shared_share <= SHARED:
        return
    worst = sorted(((share, domain) for domain, share in leakage.by_domain.items() if share > 0), reverse=True)
    where = ", ".join(f"{domain} {share:.1%}" for share, domain in worst)
    which = f" (the first: number {', '.join(map(str, leakage.which))})" if leakage.which else ""
    judged = leakage.examples - leakage.short
    raise DataError(
        f"{name} is in the train split: {leakage.leaked:,} of {judged:,} examples ({leakage.leaked_share:.1%}){which}, and"
        f" {leakage.shared_share:.1%} of its runs of {OVERLAP_WORDS} words" + (f": {where}" if where else ""),
        wanted=f"at most {LEAKED:.0%} of the examples (half of their runs) and {SHARED:.0%} of the runs",
        fix=f"cuvee prepare ... --decontaminate {name} makes a corpus without those documents; examples that still"
        " leak then are made of common phrases: take them out of the file; --allow-leak goes on all the same",
    )


def _batches(source: TokenSource) -> Iterator[list[NDArray[Any]]]:
    batch: list[NDArray[Any]] = []
    size = 0
    for i in range(source.documents):
        batch.append(source.document(i))
        size += len(batch[-1])
        if size >= _BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _check_words_come_back(texts: Sequence[str], decoded: Sequence[str]) -> None:
    given, back = (Runs.of(some).known_R for some in (texts[: len(decoded)], decoded))
    if len(np.intersect1d(given, back)) < len(given) / 2:
        raise DataError(
            "the corpus's tokenizer does not give the words of a text back, so nothing can be looked for in its tokens",
            wanted="a tokenizer.json with a decoder",
            fix="check the file's `decoder`, or go on with --allow-leak",
        )
