"""Domains that lie in other people's token shards, as the loader reads them: named sources with one fingerprint.

The fingerprint is of content, not of paths, and reads a few hundred kilobytes whatever the size: per domain the tokens of every
shard, what says where documents end (sampled), and blocks of tokens at even distances. A change between the sampled places
that leaves all lengths as they are goes unseen; `check` reads everything.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from cuvee.base.codec import content_id, nearest
from cuvee.base.errors import DataError, UsageError
from cuvee.shards.blobs import even
from cuvee.shards.sources import Source, TokenSource
from cuvee.shards.splits import Split

BLOCKS, BLOCK = 8, 1024
"""Blocks of tokens that are sampled of a domain, and tokens of each."""
STAMPS = 16
"""Shards of a domain whose document boundaries are sampled."""
ENDINGS = 8
"""Documents whose last tokens are compared."""
_SCAN = 1 << 22


class Feed(Protocol):
    """What a loader can train on: a `Corpus` or `Sources`."""

    @property
    def fingerprint(self) -> str:
        """Identity of the content, 32 hex digits."""

    @property
    def domains(self) -> tuple[str, ...]:
        """Names, in order."""

    def source(self, domain: str, split: Split) -> Source:
        """The documents of one domain and split."""


@dataclass(frozen=True)
class Sample:
    """What a look at a domain found.

    Args:
        digest: Of the sampled blocks and boundaries.
        least: Smallest token id of the blocks.
        most: Largest, at `most_at`.
        ending: The token that all sampled documents end with; None if they do not, or if finding their ends would mean
            reading the domain.
    """

    digest: str
    least: int
    most: int
    most_at: int
    ending: int | None


@dataclass(frozen=True)
class DomainFacts:
    """What is known of a domain beside its tokens.

    Args:
        format: Of its files.
        evidence: How that and the dtype were found.
        stated: The eos was given for this very domain, so that no difference from others is an error.
    """

    format: str
    evidence: str = ""
    stated: bool = False


class Sources(Mapping[str, TokenSource]):
    """Domain -> its tokens, opened where they lie. Make it with `cuvee.open_sources`; `Loader` takes it as it takes a corpus.

    Args:
        vocab_size: Entries of the tokenizer's vocabulary, if known: ids at or above it are refused.
        eos: Id that ends documents in every domain, if known.
        threads: Domains looked at side by side; more than one where they lie far away.

    Raises:
        DataError: no domains, an empty one, ids outside the vocabulary, or documents that end with different ids.
    """

    def __init__(
        self,
        domains: Mapping[str, TokenSource],
        facts: Mapping[str, DomainFacts],
        *,
        vocab_size: int | None = None,
        eos: int | None = None,
        threads: int = 1,
    ) -> None:
        if not domains:
            raise DataError("there are no domains", wanted="at least one", fix="name one: domains: {web: PATH}")
        self._domains, self.facts, self.vocab_size, self.eos = dict(domains), dict(facts), vocab_size, eos
        for name, source in self._domains.items():
            if not source.tokens:
                files = ", ".join(s.name for s in source.shards[:3])
                raise DataError(
                    f"domain {name!r} holds no tokens ({files})",
                    wanted="data",
                    fix="leave it out, or restore its files",
                )
        with ThreadPoolExecutor(threads) as pool:
            looks = pool.map(sample, self._domains.values()) if threads > 1 else map(sample, self._domains.values())
            self.samples = dict(zip(self._domains, looks, strict=True))
        for name, found in self.samples.items():
            check_ids(name, found.least, found.most, found.most_at, vocab_size)
        self._check_endings()

    def __getitem__(self, domain: str) -> TokenSource:
        return self._domains[domain]

    def __iter__(self) -> Iterator[str]:
        return iter(self._domains)

    def __len__(self) -> int:
        return len(self._domains)

    @property
    def domains(self) -> tuple[str, ...]:
        """Names, in the order given."""
        return tuple(self._domains)

    @property
    def train_tokens(self) -> dict[str, int]:
        """Domain -> tokens."""
        return {name: source.tokens for name, source in self._domains.items()}

    def source(self, domain: str, split: Split = "train") -> TokenSource:
        """The documents of one domain; all of them are for training.

        Raises:
            UsageError: no such domain, or a held-out split, which these do not have.
        """
        if domain not in self._domains:
            raise UsageError(
                f"no domain {domain!r} in these sources",
                wanted=f"one of {', '.join(self.domains[:20])}",
                fix=nearest(domain, self.domains),
            )
        if split != "train":
            raise UsageError(
                f"these sources have no {split} split",
                wanted="train, which is all of them",
                fix="`cuvee prepare` makes a corpus with held-out splits from texts",
            )
        return self._domains[domain]

    @cached_property
    def fingerprint(self) -> str:
        """Identity of the content, 32 hex digits: names in order, tokens of the shards, sampled tokens and boundaries."""
        found = [[name, [s.tokens for s in self[name].shards], self.samples[name].digest] for name in self]
        return content_id({"format": 1, "sources": found})

    def check(self) -> None:
        """Read every token and every boundary.

        Raises:
            DataError: an id outside the vocabulary, or an index that is damaged inside.
        """
        for name, source in self._domains.items():
            _ = source.ends
            for start in range(0, source.tokens, _SCAN):
                tokens = source.flat(start, min(start + _SCAN, source.tokens))
                at = int(tokens.argmax())
                check_ids(name, int(tokens.min()), int(tokens[at]), start + at, self.vocab_size)

    def _check_endings(self) -> None:
        told = {name: (self.samples[name].ending, self.facts[name]) for name in self}
        known = {name: ending for name, (ending, facts) in told.items() if ending is not None and not facts.stated}
        wanted = self.eos
        for name, ending in known.items():
            first = next(iter(known))
            if wanted is None:
                wanted = ending
            elif ending != wanted:
                other = f"{self.eos}, the eos given" if self.eos is not None else f"{wanted}, as those of {first!r}"
                raise DataError(
                    f"the documents of domain {name!r} end with token {ending:,}",
                    wanted=other,
                    fix=f"one of the two has another tokenizer, or no end-of-text token; if it is meant, give {name!r} eos: {ending}",
                )


def check_ids(domain: str, least: int, most: int, most_at: int, vocab_size: int | None) -> None:
    """Refuse token ids that no vocabulary of that size has.

    Raises:
        DataError: there are some.
    """
    if least < 0:
        raise DataError(
            f"domain {domain!r} has the token id {least:,}", wanted="ids of 0 or more", fix="check its dtype"
        )
    if vocab_size is not None and most >= vocab_size:
        raise DataError(
            f"domain {domain!r} has the token id {most:,} (at token {most_at:,})",
            wanted=f"ids below {vocab_size:,}, the size of the vocabulary",
            fix="another tokenizer made it, or its dtype is not the one it is read with: give dtype:",
        )


def sample(source: TokenSource) -> Sample:
    """A look at blocks of tokens, document boundaries and last tokens of a source that is not empty, at even distances."""
    digest, least, most, most_at = hashlib.blake2b(digest_size=16), 0, 0, 0
    for i, start in enumerate(even(max(source.tokens - BLOCK, 0) + 1, BLOCKS)):
        tokens = source.flat(start, min(start + BLOCK, source.tokens)).astype(np.int64)
        digest.update(tokens.astype("<u4").data)
        low, at = int(tokens.min()), int(tokens.argmax())
        if i == 0 or tokens[at] > most:
            most, most_at = int(tokens[at]), start + at
        least = low if i == 0 else min(low, least)
    for shard in even(len(source.shards), STAMPS):
        digest.update(source.shards[shard].stamp())
    return Sample(digest.hexdigest(), least, most, most_at, _ending(source))


def _ending(source: TokenSource) -> int | None:
    indexed = [s for s in source.shards if s.indexed and s.documents]
    endings, seen = set(), 0
    for k in even(len(indexed), ENDINGS):
        shard = indexed[k]
        for i in even(shard.documents, -(-ENDINGS // min(len(indexed), ENDINGS))):
            endings |= set(shard.document(i)[-1:].tolist())
            seen += 1
    return endings.pop() if len(endings) == 1 and seen >= ENDINGS // 2 else None
