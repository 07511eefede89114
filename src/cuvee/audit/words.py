"""Samples as words: how often each pre-token occurs in every category, by blocks of documents.

The tokenizer's own normaliser and pre-tokeniser are asked, through the library, once per distinct stretch of text: most
pre-tokenisers join nothing across the place where a space follows a visible character. Whether this one does is tried on
documents of every category; if not, wider stretches are tried, then whole documents.

Letters: W words, S stretches, n categories, G blocks.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from cuvee.audit.merges import Merges
from cuvee.audit.replay import Layout
from cuvee.base.errors import DataError, UsageError
from cuvee.base.progress import Progress
from cuvee.corpus.readers import Document, Fields, read
from cuvee.corpus.sources import Listing, find_files
from cuvee.corpus.words import hash64

BLOCKS = 16
"""Documents of a category are dealt into so many blocks by their content; simulations draw halves of the blocks."""
_STRETCHES = (
    re.compile(r"\s*\S+|\s+"),
    # pre-tokenisers that let line ends follow punctuation (cl100k): only a space or tab begins a new stretch
    re.compile(r"\s*\S+(?:[^\S \t]\s*\S+)*(?:[^\S \t]\s*\Z)?|\s+"),
)
_PROBE = "a;\n\n  b.\r\nc\t d/\n e"
"""Line ends after punctuation: what the first documents of a category may happen to lack."""
_LONG = 40_000
"""Stretches of a document in one block; more of it goes to the next, so that one long document is not one block."""
READING = 0.4
"""The part of an inference that reading is, about, for progress."""
_TRIED, _TRIED_CHARACTERS = 10, 10_000
"""Documents of each category on which a cut is tried, and how much of each."""
_PIECES = re.compile("▁[^▁]*|[^▁]+")
_DIGITS = re.compile(r"\d|\D+")


@dataclass(frozen=True, eq=False)
class Samples:
    """Word counts of all categories.

    Args:
        words: Distinct pre-tokens.
        count_W_nG: How often each occurs, a column for each block of each category.
        bytes_n: UTF-8 bytes of text read.
        documents_n: Documents, exact duplicates left out.
        passed_over: Files that hold no text.
        bad: Rows that could not be read.
    """

    categories: tuple[str, ...]
    words: tuple[str, ...]
    count_W_nG: csr_matrix
    bytes_n: NDArray[np.int64]
    documents_n: NDArray[np.int64]
    passed_over: int
    bad: int

    def weights(self, chosen_nG: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        """Occurrences of every word in every category, shape (W, n); of the chosen blocks, or of all."""
        n = len(self.categories)
        chosen = np.ones(n * BLOCKS) if chosen_nG is None else chosen_nG.ravel()
        where = (np.arange(n * BLOCKS), np.repeat(np.arange(n), BLOCKS))
        sums = csr_matrix((chosen, where), shape=(n * BLOCKS, n))
        return np.asarray((self.count_W_nG @ sums).todense(), np.float64)

    def layout(self, merges: Merges) -> Layout:
        """The words in base tokens of `merges`."""
        table = np.full(0x110000, -1, np.int32)
        table[[ord(symbol) for symbol in merges.alphabet]] = np.arange(len(merges.alphabet), dtype=np.int32)
        characters = np.frombuffer("".join(self.words).encode("utf-32-le"), np.uint32)
        lengths = np.fromiter(map(len, self.words), np.int64, len(self.words))
        word_N = np.repeat(np.arange(len(self.words), dtype=np.int32), lengths)
        return Layout.of(table[characters], word_N, len(merges.alphabet))


def read_samples(
    sources: Sequence[Path], merges: Merges, *, most_bytes: int, domains: str, fields: Fields, progress: Progress
) -> Samples:
    """Read the categories under `sources`, at most `most_bytes` of each.

    Raises:
        DataError: nothing to read, or a category without text.
        UsageError: fewer than two categories.
    """
    listing = find_files(sources, domains, leave_out=Path("/nowhere"), text_field=fields.text)
    split = Splitter(merges)
    for stretch in (None,) if split.by_spaces else (*_STRETCHES, None):
        try:
            reading = _Reading(split, stretch, most_bytes)
            return _read(listing, reading, fields, progress)
        except _DisagreeError:
            continue
    raise AssertionError("whole documents agree with themselves")


def _read(listing: Listing, reading: _Reading, fields: Fields, progress: Progress) -> Samples:
    size = max(1, sum(f.size for f in listing.files))
    for file in listing.files:
        progress.advance(READING * file.size / size, file.label)
        if file.domain is not None:
            reading.expect(file.domain)
        for found in read(file, fields):
            if not isinstance(found, Document):
                reading.bad += 1
            else:
                category = found.domain if found.domain is not None else file.domain
                assert category is not None
                if not reading.take(found.text, category) and fields.domain is None:
                    break
    return reading.samples(listing.ignored)


class _DisagreeError(Exception):
    """Words of stretches are not those of the whole text."""


class _Reading:
    def __init__(self, split: Splitter, stretch: re.Pattern[str] | None, most_bytes: int) -> None:
        self._split, self._stretch, self._most = split, stretch, most_bytes
        if stretch is not None:
            self._try(split.normal(_PROBE))
        self._columns: dict[tuple[str, int], Counter[str]] = {}
        self._bytes: Counter[str] = Counter()
        self._documents: Counter[str] = Counter()
        self._seen: set[tuple[str, int]] = set()
        self.bad = 0

    def expect(self, category: str) -> None:
        """Know of a category before any text of it: one without is an error, not nothing."""
        self._documents.setdefault(category, 0)

    def take(self, text: str, category: str) -> bool:
        """Count a document, unless it is there already; whether the category takes more."""
        self._documents.setdefault(category, 0)
        if self._bytes[category] >= self._most:
            return False
        data = text.encode("utf-8")
        identity = hash64(data)
        if data and (category, identity) not in self._seen:
            self._seen.add((category, identity))
            self._bytes[category] += len(data)
            self._documents[category] += 1
            normal = self._split.normal(text)
            if self._stretch is not None and (self._documents[category] <= _TRIED or identity % 64 == 0):
                self._try(normal[:_TRIED_CHARACTERS])
            parts = self._split.words(normal) if self._stretch is None else self._stretch.findall(normal)
            for k in range(0, len(parts), _LONG):
                block = (identity + k // _LONG) % BLOCKS
                self._columns.setdefault((category, block), Counter()).update(parts[k : k + _LONG])
        return True

    def _try(self, text: str) -> None:
        assert self._stretch is not None
        if [w for part in self._stretch.findall(text) for w in self._split.words(part)] != self._split.words(text):
            raise _DisagreeError

    def samples(self, passed_over: int) -> Samples:
        empty = [c for c in self._documents if not self._documents[c]]
        if empty:
            raise DataError(
                f"no text in {', '.join(empty)}",
                wanted="text in every category",
                fix="leave it out, or name the field that holds the text",
            )
        categories = tuple(sorted(self._documents))
        if len(categories) < 2:
            raise UsageError(
                f"samples of one category only: {', '.join(categories)}",
                wanted="two or more: a folder or file for each kind of text that the tokenizer may have seen",
            )
        number: dict[str, int] = {}
        rows, columns, values = [], [], []
        for (category, block), counter in self._columns.items():
            for stretch in counter:
                number.setdefault(stretch, len(number))
            rows.append(np.fromiter(map(number.__getitem__, counter), np.int64, len(counter)))
            columns.append(np.full(len(counter), categories.index(category) * BLOCKS + block))
            values.append(np.fromiter(counter.values(), np.float64, len(counter)))
        self._columns = {}
        where = (np.concatenate(rows), np.concatenate(columns))
        counts_S_nG = csr_matrix((np.concatenate(values), where), shape=(len(number), len(categories) * BLOCKS))
        words, parts_WS = self._words(list(number))
        return Samples(
            categories=categories,
            words=tuple(words),
            count_W_nG=(parts_WS @ counts_S_nG).tocsr(),
            bytes_n=np.array([self._bytes[c] for c in categories]),
            documents_n=np.array([self._documents[c] for c in categories]),
            passed_over=passed_over,
            bad=self.bad,
        )

    def _words(self, stretches: list[str]) -> tuple[dict[str, int], csr_matrix]:
        """Word -> its number, and how often each is in each stretch, shape (W, S)."""
        words: dict[str, int] = {}
        found: list[int] = []
        lengths: list[int] = []
        for stretch in stretches:
            parts = [stretch] if self._stretch is None else self._split.words(stretch)
            kept = [words.setdefault(word, len(words)) for word in parts if len(word) > 1]
            found += kept
            lengths.append(len(kept))
        columns = np.repeat(np.arange(len(stretches)), lengths)
        shape = (len(words), len(stretches))
        return words, csr_matrix((np.ones(len(found)), (np.array(found, np.int64), columns)), shape=shape)


class Splitter:
    """Text -> pre-tokens, by the normaliser and pre-tokeniser of the tokenizer.

    Without a pre-tokeniser (conversions of sentencepiece) words begin at ▁ and end with the line, and digits stand alone
    where no token has two.

    Raises:
        DataError: neither a pre-tokeniser nor ▁ separates words, or the library cannot read them.
    """

    def __init__(self, merges: Merges) -> None:
        from tokenizers import Tokenizer

        pre = merges.pre_tokenizer
        model = {"type": "BPE", "vocab": {}, "merges": []}
        body = {"model": model, "normalizer": merges.normalizer, "pre_tokenizer": pre, "added_tokens": []}
        try:
            tokenizer = Tokenizer.from_str(json.dumps(body))
        except Exception as error:  # the library raises nothing narrower
            raise DataError(f"the library cannot read how the tokenizer splits text: {error}") from error
        self._normalizer, self._cut = tokenizer.normalizer, tokenizer.pre_tokenizer
        kind = (merges.normalizer or {}).get("type")
        self._form: Any = kind if kind in ("NFC", "NFD", "NFKC", "NFKD") else None  # most text is normal, seen quickly
        self.by_spaces = pre is None or (
            # a pre-tokeniser that leaves words together, as conversions with ▁ for every space have
            "▁" in merges.alphabet and len(self._cut.pre_tokenize_str(self._plain("a b"))) == 1
        )
        self.digits_alone = not any(sum(c.isdigit() for c in text) > 1 for text in merges.texts)
        if self.by_spaces and "▁" not in merges.alphabet:
            raise DataError(
                "the tokenizer has no pre-tokeniser, and no ▁ marks words", wanted="words that merges stay within"
            )

    def _plain(self, text: str) -> str:
        return text if self._normalizer is None else str(self._normalizer.normalize_str(text))

    def normal(self, text: str) -> str:
        """The normalised text, of sentencepiece conversions line by line."""
        if self._normalizer is None or (self._form and unicodedata.is_normalized(self._form, text)):
            return text
        if self.by_spaces:
            return "\n".join(self._normalizer.normalize_str(line) for line in text.split("\n"))
        return self._plain(text)

    def words(self, normal: str) -> list[str]:
        """The pre-tokens of normalised text, in order."""
        if not self.by_spaces:
            return [word for word, _ in self._cut.pre_tokenize_str(normal)]
        found: list[str] = []
        for line in normal.split("\n"):
            for whole, _ in self._cut.pre_tokenize_str(line) if self._cut is not None else [(line, None)]:
                found += _PIECES.findall(whole)
        return [d for piece in found for d in _DIGITS.findall(piece)] if self.digits_alone else found
