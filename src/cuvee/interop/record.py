"""What an exporter is given, what it gives back, and the conversion between shares of tokens and a trainer's weights.

Letters: none; mixtures are mappings from domain or path to a number here, because formats are made of names.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from cuvee.base.errors import DataError

Unit = Literal["tokens", "documents"]
"""What a trainer's weight counts: tokens (or fixed-length sequences, which is the same), or documents (rows)."""


@dataclass(frozen=True)
class Source:
    """A domain as the trainer reads it.

    Args:
        domain: Its name in the corpus; `slug` is its name as a file.
        tokens, documents: Of its train split.
        row_tokens: Mean tokens of a document after the trainer's truncation; what document weights are converted with.
        paths: What the trainer is told to read, with the training tokens behind each; one path or several shards.
        cap: Most passes over the domain in the whole run; None for no cap.
    """

    domain: str
    slug: str
    tokens: int
    documents: int
    row_tokens: float
    paths: tuple[tuple[str, int], ...]
    cap: float | None = None


@dataclass(frozen=True)
class Stage:
    """A phase of the run: from `start` to `stop` tokens of training, shares of tokens per domain, zeros left out.

    `seed` is the run's for the first phase and another for each further one: a trainer that is launched again for a phase would
    else begin with the very rows that it began the run with.
    """

    start: int
    stop: int
    shares: Mapping[str, float]
    seed: int = 0

    @property
    def tokens(self) -> int:
        """Tokens trained in this phase."""
        return self.stop - self.start


@dataclass(frozen=True)
class Handover:
    """A run as an exporter is told it.

    Args:
        sources: The domains with a share in any phase, in the corpus's order.
        stages: The phases in order; they cover 0 to `tokens`.
        tokens: Tokens of the whole run.
        seq_len, batch: Tokens of a sequence, sequences of an optimiser step: for formats that count steps or sequences.
        seed: For the trainer's own shuffling.
        tokenizer: The file of the corpus's tokenizer, empty when there is none.
    """

    sources: tuple[Source, ...]
    stages: tuple[Stage, ...]
    tokens: int
    seq_len: int
    batch: int
    seed: int
    tokenizer: str = ""

    def owner(self, path: str) -> Source | None:
        """The source that `path` belongs to; None when it is nobody's."""
        return next((s for s in self.sources for p, _ in s.paths if p == path), None)

    def epochs(self) -> dict[str, float]:
        """Passes over each domain in the whole run; of what the trainer leaves of its documents."""
        return {
            s.domain: sum(g.shares.get(s.domain, 0.0) * g.tokens for g in self.stages) / (s.documents * s.row_tokens)
            for s in self.sources
        }


@dataclass(frozen=True)
class Blend:
    """One phase as a file says it: path -> weight in the trainer's unit, on any scale.

    Args:
        start: Tokens of training at which it takes over; None when the file does not say.
        caps: Path -> most passes over it in this phase, where the format has caps.
    """

    weights: Mapping[str, float]
    start: int | None = 0
    caps: Mapping[str, float] = field(default_factory=dict)


def as_written(blend: Blend, handover: Handover, stage: Stage) -> Mapping[str, float]:
    """The rounding of a trainer that follows its weights exactly."""
    return blend.weights


@dataclass(frozen=True, kw_only=True)
class Exporter:
    """One trainer's format.

    Args:
        name: As in `cuvee export --to NAME`.
        title: The trainer's own name.
        unit: What its weights count.
        tested_against: Version or commit, and how it was tested (its own code, or its source read).
        data: `shards` for the corpus's own Megatron shards, else the pattern of paths, with {slug} for the domain's
            file name; the user may give another.
        reads: What must lie at those paths.
        exhausted: What the trainer does when a source runs out, a sentence.
        caps: Whether the format can bound passes over a source.
        phases: `native` when one file holds all phases, `relaunch` when each phase is a file and a new launch.
        cuts: Whether documents are cut at `seq_len`, by what is written.
        render: File name -> text, all phases. Never called with a zero share.
        parse: The inverse, one blend a phase, from files of any author.
        recognises: Whether a file (name, text) looks like this format; used by `import-mix`.
        launch: Markdown for the launch note: how to use the files, what to look out for.
        rounded: What the trainer delivers per path in a phase after its own rounding, in its unit, on any scale.
    """

    name: str
    title: str
    unit: Unit
    tested_against: str
    data: str
    reads: str
    exhausted: str
    caps: bool = False
    phases: Literal["native", "relaunch"] = "relaunch"
    cuts: bool = False
    render: Callable[[Handover], Mapping[str, str]]
    parse: Callable[[Mapping[str, str]], tuple[Blend, ...]]
    recognises: Callable[[str, str], bool]
    launch: Callable[[Handover], str]
    rounded: Callable[[Blend, Handover, Stage], Mapping[str, float]] = as_written


def weights(handover: Handover, stage: Stage, unit: Unit) -> dict[str, float]:
    """Path -> weight of one phase, summing to 1. A domain of several paths divides its share by their tokens.

    A weight that counts documents is the share of tokens over the mean tokens of a document: the shares 0.6, 0.3, 0.1
    written as they are over documents of 400, 2500 and 9000 tokens would train on 0.13, 0.40, 0.48.
    """
    raw: dict[str, float] = {}
    for source in handover.sources:
        share = stage.shares.get(source.domain, 0.0)
        for path, tokens in source.paths:
            if share * tokens > 0:
                raw[path] = share * tokens / source.tokens / (source.row_tokens if unit == "documents" else 1.0)
    total = math.fsum(raw.values())
    return {path: weight / total for path, weight in raw.items()}


def token_shares(found: Mapping[str, float], handover: Handover, unit: Unit) -> dict[str, float]:
    """Domain -> share of tokens that weights in the trainer's unit come to; the inverse of `weights`.

    Raises:
        DataError: a path that is no domain's, weights that are negative, not finite or all zero.
    """
    shares = {s.domain: 0.0 for s in handover.sources}
    for path, weight in found.items():
        source = handover.owner(path)
        if source is None:
            raise DataError(f"the path {path!r} belongs to no domain", wanted=f"one of {', '.join(shares)}")
        if not (math.isfinite(weight) and weight >= 0):
            raise DataError(f"the weight of {path!r} is {weight}", wanted="a finite number, at least 0")
        shares[source.domain] += weight * (source.row_tokens if unit == "documents" else 1.0)
    total = math.fsum(shares.values())
    if total <= 0:
        raise DataError("all weights are zero", wanted="at least one source with a weight")
    return {domain: share / total for domain, share in shares.items()}


def largest_last(found: Mapping[str, float], digits: int) -> dict[str, float]:
    """`found` rounded to `digits` decimals, the largest weight taking what the rounding leaves, so that the sum is 1.

    For formats that do not normalise and compare the sum with 1.
    """
    rounded = {name: round(weight, digits) for name, weight in found.items()}
    largest = max(rounded, key=lambda name: rounded[name])
    rounded[largest] = round(rounded[largest] + 1.0 - math.fsum(rounded.values()), digits)
    return rounded
