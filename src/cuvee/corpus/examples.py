"""Target files: what a model is scored on, as examples; read strictly, cut into a search and a verify half.

Three kinds, recognised from the fields of the rows: texts, prompts with a continuation, prompts with choices.

Letters: E examples, S shingles.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cuvee.base.errors import DataError
from cuvee.base.permutation import mixed
from cuvee.base.rng import key64
from cuvee.corpus.chunks import OVERLAP_WORDS
from cuvee.corpus.duplicates import joined
from cuvee.corpus.readers import Bad, Document, Fields, jsonl_rows, parquet_rows, read_text
from cuvee.corpus.sources import InputFile, kind_of_file
from cuvee.corpus.words import I64, WordHasher, hash64, shingles
from cuvee.shards.examples import Kind

LEAST = 20
"""Examples that each half has at least."""
PIECE = 2000
"""Characters after which a text is cut at the next line end, where a file holds too few texts for two halves."""
TEMPLATE = 10
"""A run of 13 words in more prompts than this and than a tenth of all is an instruction or few-shot text: joins nothing."""
PAIRS = (("prompt", "continuation"), ("context", "continuation"), ("question", "answer"), ("input", "target"))
"""Fields of a prompt and its continuation. The first two say themselves whether a space is between them."""
_WANTED = "a text field, prompt + continuation, question + answer, input + target, or prompt + choices + answer"


@dataclass(frozen=True)
class Example:
    """One thing to score.

    Args:
        context: What is read and not scored; empty for a text.
        continuations: What is scored, each after the context; several of which one is right, or one.
        gold: The right one.
    """

    context: str
    continuations: tuple[str, ...]
    gold: int = 0

    @property
    def text(self) -> str:
        """The context with the right continuation, as a corpus might hold it."""
        return self.context + self.continuations[self.gold]


@dataclass(frozen=True)
class Examples:
    """The examples of a file, in its order.

    Args:
        name: Of the file, for messages.
        kind: Of all examples.
        duplicates: Examples that are equal to an earlier one; kept.
    """

    name: str
    kind: Kind
    examples: tuple[Example, ...]
    duplicates: int

    @classmethod
    def of(cls, name: str, kind: Kind, examples: Sequence[Example]) -> Examples:
        """Examples with their duplicates counted."""
        return cls(name, kind, tuple(examples), len(examples) - len(set(examples)))

    @property
    def texts(self) -> tuple[str, ...]:
        """Every example as a corpus might hold it, for `corpus.leaks`."""
        return tuple(example.text for example in self.examples)

    def split(self, seed: int) -> tuple[Examples, Examples]:
        """The search and the verify half, each in the order of the file; which is which follows from contents and seed.

        Examples stay on one side that have the same words in their prompt (a text: in the text), or share a run of 13
        words there that is in at most 10 examples or a tenth of them. Where there are fewer than 40 texts, they are cut
        into pieces of about 2,000 characters first, as `prepare` does where a file is a domain.

        Raises:
            DataError: fewer than 20 examples on a side.
        """
        examples = self.examples
        if self.kind == "text" and len(examples) < 2 * LEAST:
            examples = tuple(Example("", (piece,)) for e in examples for piece in _pieces(e.text) if piece.strip())
        cluster_E, key_C = _clusters(examples)
        order_C = np.argsort(mixed(key_C ^ np.uint64(key64(seed, "corpus.examples"))), kind="stable")
        size_C = np.bincount(cluster_E)[order_C]
        in_search_C = np.empty(len(order_C), np.bool_)
        # a cluster goes where its middle lies
        in_search_C[order_C] = 2 * np.cumsum(size_C) - size_C <= len(examples)
        halves = [
            [e for e, s in zip(examples, in_search_C[cluster_E], strict=True) if s == side] for side in (True, False)
        ]
        if min(map(len, halves)) < LEAST:
            raise DataError(
                f"{self.name} gives {len(halves[0])} examples to search with and {len(halves[1])} to verify with:"
                f" {len(examples)} in {len(order_C)} groups of equal or overlapping prompts",
                wanted=f"{LEAST} on each side",
                fix="give it more examples, or prompts that differ",
            )
        search, verify = (Examples.of(self.name, self.kind, half) for half in halves)
        return search, verify


def read_examples(path: Path, text_field: str = "text") -> Examples:
    """The examples of a target file.

    Plain text is one text (from 1 MiB on several); rows of JSONL (.json, .jsonl, .ndjson) or Parquet are an example each;
    .gz and .zst too.

    Args:
        path: The file.
        text_field: The field of a row that holds a text.

    Raises:
        DataError: nothing in it, or (with the line) a row that cannot be read, has no known fields or those of another
            kind than the rows before it, an empty text or continuation, fewer than two choices, no such choice.
    """
    kinds: set[Kind] = set()
    examples: list[Example] = []
    for line, kind, example in _examples(path, text_field):
        if not all(map(str.strip, example.continuations)):
            raise _refused(path, line, f"an empty {'text' if kind == 'text' else 'continuation'}", "text to score")
        kinds.add(kind)
        if len(kinds) > 1:
            raise _refused(path, line, f"kind {kind} after {(kinds - {kind}).pop()}", "one kind of example in a file")
        examples.append(example)
    if not examples:
        raise DataError(f"{path} holds no examples", wanted=_WANTED)
    return Examples.of(path.name, kinds.pop(), examples)


def _refused(path: Path, line: int, what: str, wanted: str) -> DataError:
    return DataError(f"{path.name}:{line}: {what}", wanted=wanted, fix="mend the line or take it out")


def _examples(path: Path, text_field: str) -> Iterator[tuple[int, Kind, Example]]:
    if not path.is_file():
        raise DataError(f"no such target file: {path}", fix="check the path")
    inner = path.with_suffix("") if path.suffix in (".gz", ".zst") else path
    kind = "jsonl" if inner.suffix.lower() == ".json" else kind_of_file(path, text_field)
    if kind is None:
        raise DataError(f"{path} is no text", wanted="plain text, JSONL or Parquet, also .gz or .zst")
    found: Iterator[Document | tuple[int, Any] | Bad]
    if kind == "text":
        found = read_text(InputFile(str(path), path.name, "", kind, "file", 0, 0), Fields("", None))
    else:
        found = jsonl_rows(path) if kind == "jsonl" else parquet_rows(path)
    for item in found:
        if isinstance(item, Bad):
            raise _refused(path, item.line, item.reason, "a file that can be read to its end")
        if isinstance(item, Document):
            yield item.line, "text", Example("", (item.text,))
            continue
        line, row = item
        try:
            yield line, *_example(row, text_field)
        except _RowError as error:
            what, wanted = error.args
            raise _refused(path, line, what, wanted) from None


class _RowError(Exception):
    """What is wrong with a row, and what would be right."""


def _example(row: Any, text_field: str) -> tuple[Kind, Example]:
    if not isinstance(row, Mapping):
        raise _RowError(f"a row is {type(row).__name__}", "an object with fields")
    pair = next((pair for pair in PAIRS if all(name in row for name in pair)), None)
    scored = "choices" in row or pair is not None
    if scored and text_field in row:
        raise _RowError(f"both a text ({text_field!r}) and a prompt", "one of them; take the other field out")
    if "choices" in row:
        return "choice", _choice(row)
    if pair is not None:
        context, continuation = _string(row, pair[0]), _string(row, pair[1])
        spaced = _spaced(context, continuation) if pair[1] != "continuation" else continuation
        return "continuation", Example(context, (spaced,))
    if text_field in row:
        return "text", Example("", (_string(row, text_field),))
    raise _RowError(f"no known fields, only {', '.join(map(str, list(row)[:8]))}", _WANTED)


def _choice(row: Mapping[str, Any]) -> Example:
    context = _string(row, "prompt" if "prompt" in row else "question")
    found: Any = row["choices"]
    # the second is ARC's form
    choices, labels = (found.get("text"), found.get("label")) if isinstance(found, Mapping) else (found, None)
    if not isinstance(choices, list) or not all(isinstance(c, str) for c in choices):
        raise _RowError(f"choices are {str(choices)[:60]!r}", 'a list of strings, or {"text": [...], "label": [...]}')
    if len(choices) < 2:
        raise _RowError(f"{len(choices)} choices", "two or more")
    if labels is not None and not (isinstance(labels, list) and len(labels) == len(choices)):
        raise _RowError(f"labels {str(labels)[:60]} of {len(choices)} choices", "one label a choice")
    answer = row.get("answer", row.get("answerKey"))
    gold = _gold(answer, choices, [str(label) for label in labels or ()])
    if gold is None:
        wanted = "its number from 0, its label (A, B, ... where none are given), or its text"
        raise _RowError(f"the answer {answer!r} is none of the {len(choices)} choices", wanted)
    return Example(context, tuple(_spaced(context, _text(choice, "choices")) for choice in choices), gold)


def _gold(answer: Any, choices: list[str], labels: list[str]) -> int | None:
    """The number of the right choice: by a given label, a number, the text, then a letter or digits."""
    if isinstance(answer, bool) or not isinstance(answer, int | str):
        return None
    if str(answer) in labels:
        return labels.index(str(answer))
    if isinstance(answer, str):
        if answer in choices:
            return choices.index(answer)
        if labels:
            return None
        letter = len(answer) == 1 and "A" <= answer <= "Z"
        answer = ord(answer) - ord("A") if letter else int(answer) if answer.isdecimal() else -1
    return answer if 0 <= answer < len(choices) else None


def _string(row: Mapping[str, Any], name: str) -> str:
    if name not in row:
        raise _RowError(f"no field {name!r}, only {', '.join(map(str, list(row)[:8]))}", _WANTED)
    return _text(row[name], name)


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise _RowError(f"the field {name!r} is {type(value).__name__}", "a string")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise _RowError("half a surrogate pair, which is no text", "valid Unicode") from None
    return value


def _spaced(context: str, continuation: str) -> str:
    """The continuation with a space before it unless there is one already (lm-evaluation-harness's target_delimiter)."""
    apart = not context or context[-1].isspace() or continuation[:1].isspace()
    return continuation if apart else " " + continuation


def _pieces(text: str) -> Iterator[str]:
    """Pieces of at least 2,000 characters that end at a line end, or inside a line of more than 8,000; the last may be short."""
    piece: list[str] = []
    size = 0
    for line in text.splitlines(keepends=True):
        for start in range(0, len(line), 4 * PIECE):
            piece.append(line[start : start + 4 * PIECE])
            size += len(piece[-1])
            if size >= PIECE:
                yield "".join(piece)
                piece, size = [], 0
    yield "".join(piece)


def _clusters(examples: Sequence[Example]) -> tuple[I64, NDArray[np.uint64]]:
    """The cluster of each example, shape E, and a key of each cluster that does not depend on the order."""
    hasher = WordHasher()
    prompts = [e.context if e.context.strip() else "\n".join(e.continuations) for e in examples]
    words = [hasher.hashes(prompt) for prompt in prompts]
    key_E = np.array(
        [hash64(w.tobytes() if len(w) else p.encode("utf-8")) for w, p in zip(words, prompts, strict=True)], np.uint64
    )
    ends_E = np.cumsum([len(w) for w in words], dtype=np.int64)
    hash_S, ends_E = shingles(np.concatenate(words), ends_E, OVERLAP_WORDS)
    example_S = np.repeat(np.arange(len(examples)), np.diff(ends_E, prepend=0))
    pairs = np.unique(np.stack((hash_S, example_S.astype(np.uint64)), axis=1), axis=0)
    _, counts = np.unique(pairs[:, 0], return_counts=True)
    rare = np.repeat(counts <= max(TEMPLATE, len(examples) // 10), counts)
    labels_E = joined(np.arange(len(examples), dtype=np.int64), key_E)
    labels_E = joined(labels_E, pairs[rare, 0], pairs[rare, 1].astype(np.int64))
    names, cluster_E = np.unique(labels_E, return_inverse=True)
    key_C = np.full(len(names), np.iinfo(np.uint64).max, np.uint64)
    np.minimum.at(key_C, cluster_E, key_E)
    return cluster_E.astype(np.int64), key_C
