"""A corpus: a folder with token shards and `inventory.json`, opened and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Self

from cuvee.base.codec import nearest
from cuvee.base.errors import DataError, UsageError
from cuvee.shards.indexed import IndexedDataset, hash_shard, token_dtype
from cuvee.shards.inventory import DomainInfo, Inventory, Shard
from cuvee.shards.sources import TokenSource
from cuvee.shards.splits import SPLITS, Split


@dataclass(frozen=True, eq=False)
class Corpus:
    """Token shards by domain and split. Make one with `cuvee.prepare`, open it again with `Corpus.open`."""

    path: Path
    inventory: Inventory
    _sources: Mapping[tuple[str, Split], TokenSource] = field(repr=False)

    @classmethod
    def open(cls, folder: Path | str) -> Self:
        """Open the corpus in `folder`, every shard's size checked against its index and the inventory.

        Raises:
            DataError: no corpus there, or a shard is missing, cut short or another one.
        """
        # shards are opened later, maybe by another process or from another working folder
        path = Path(folder).absolute()
        inventory = Inventory.load(path)
        shards = {
            (domain.name, split): tuple(_open_shard(path, shard) for shard in domain.split(split).shards)
            for domain in inventory.domains
            for split in SPLITS
        }
        dtypes = [shard.dtype for parts in shards.values() for shard in parts]
        dtype = dtypes[0] if dtypes else token_dtype(inventory.tokenizer.vocab_size)
        return cls(path, inventory, {key: TokenSource(parts, dtype) for key, parts in shards.items()})

    @cached_property
    def fingerprint(self) -> str:
        """Identity of the content, 32 hex digits: bytes, splits, tokenizer; the same wherever the folder lies."""
        return self.inventory.fingerprint

    @property
    def domains(self) -> tuple[str, ...]:
        """Names, in the inventory's order."""
        return tuple(d.name for d in self.inventory.domains)

    @property
    def train_tokens(self) -> dict[str, int]:
        """Domain -> tokens of its train split."""
        return {d.name: d.train.tokens for d in self.inventory.domains}

    @property
    def vocab_size(self) -> int:
        """Entries of the tokenizer's vocabulary."""
        return self.inventory.tokenizer.vocab_size

    def domain(self, name: str) -> DomainInfo:
        """What the inventory says of a domain.

        Raises:
            UsageError: no such domain.
        """
        found = next((d for d in self.inventory.domains if d.name == name), None)
        if found is None:
            raise UsageError(
                f"no domain {name!r} in {self.path}",
                wanted=f"one of {', '.join(self.domains)}",
                fix=nearest(name, self.domains),
            )
        return found

    def source(self, domain: str, split: Split) -> TokenSource:
        """The documents of one domain and split; empty when there are none.

        Raises:
            UsageError: no such domain.
        """
        return self._sources[self.domain(domain).name, split]

    def bytes_per_token(self, domain: str, split: Split) -> float:
        """Bytes of text per token.

        Raises:
            UsageError: no such domain.
            DataError: the split has no tokens.
        """
        info = self.domain(domain).split(split)
        if not info.tokens or not info.bytes:
            raise DataError(
                f"domain {domain!r} has no text in its {split} split",
                wanted="at least one document",
                fix="give the domain more documents, or a larger held-out share",
            )
        return info.bytes / info.tokens

    def check(self) -> None:
        """Read every shard again and compare it with the hash recorded when it was written.

        Raises:
            DataError: a shard whose bytes have changed.
        """
        for domain in self.inventory.domains:
            for split in SPLITS:
                for shard in domain.split(split).shards:
                    found = hash_shard(self.path / shard.path)
                    if found != shard.hash:
                        raise DataError(
                            f"{self.path / shard.path} has changed since it was written: hash {found}",
                            wanted=shard.hash,
                            fix="restore the shard, or run `cuvee prepare` again",
                        )


def _open_shard(folder: Path, shard: Shard) -> IndexedDataset:
    found = IndexedDataset(folder / shard.path)
    if (found.documents, found.tokens) != (shard.documents, shard.tokens):
        raise DataError(
            f"{found.prefix} holds {found.documents:,} documents and {found.tokens:,} tokens",
            wanted=f"{shard.documents:,} and {shard.tokens:,}, as the inventory says",
            fix="restore the shard, or run `cuvee prepare` again",
        )
    return found
