"""A file of the user's as a target: read, divided into a search and a verify half, tokenised for the proxies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cuvee.corpus.examples import Examples, read_examples
from cuvee.corpus.windows import tokenise
from cuvee.plan.sizes import HELD_OUT_TOKENS
from cuvee.plan.trial import Measure
from cuvee.shards.corpus import Corpus
from cuvee.shards.examples import Tokenised

MOST = 4 * HELD_OUT_TOKENS
"""Tokens that scoring one half may read, prompts and filling included; of larger files evenly spaced examples are taken."""
UNITS = {"text": "bits/byte", "continuation": "bits/byte", "choice": "bits/byte margin"}


@dataclass(frozen=True, eq=False)
class TargetFile:
    """A target as a study takes it: the measure, and what it scores.

    Args:
        measure: Goes into the problem.
        search, verify: Go into the study (`Study.open(inputs=...)`).
        texts: Every example as a corpus might hold it, to look for in training text.
        examples: Examples in the file; `scored` of them in the two halves.
        duplicates: Examples equal to an earlier one.
    """

    measure: Measure
    search: Tokenised
    verify: Tokenised
    texts: tuple[str, ...]
    examples: int
    scored: int
    duplicates: int


def load_target(
    name: str, path: Path, corpus: Corpus, *, seq_len: int, seed: int = 0, text_field: str = "text"
) -> TargetFile:
    """The target `name` in the file `path`.

    Args:
        corpus: Whose tokenizer is used.
        seq_len: Tokens that the proxies read at once.
        seed: Decides which examples are searched with.
        text_field: The field of a row that holds a text.

    Raises:
        DataError: the file cannot be read, mixes kinds, or has fewer than 20 examples a half; a corpus without tokenizer.
    """
    found = read_examples(path, text_field)
    search, verify = (_fitting(half, corpus, seq_len) for half in found.split(seed))
    measure = Measure(
        name=name,
        kind=found.kind,
        search=search.sha,
        verify=verify.sha,
        tokens=max(search.counts_WL.size, verify.counts_WL.size),
        unit=UNITS[found.kind],
    )
    scored = len(search.gold_E) + len(verify.gold_E)
    return TargetFile(measure, search, verify, found.texts, len(found.examples), scored, found.duplicates)


def _fitting(half: Examples, corpus: Corpus, seq_len: int) -> Tokenised:
    whole = tokenise(half, corpus, seq_len)
    step = -(-whole.counts_WL.size // MOST)
    if step == 1:
        return whole
    return tokenise(Examples.of(half.name, half.kind, half.examples[::step]), corpus, seq_len)
