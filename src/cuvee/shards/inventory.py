"""`inventory.json`: what a corpus holds. Domains to shards, documents, tokens and bytes of text; the tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from cuvee.base.codec import SchemaError, content_id, from_json, to_json
from cuvee.base.errors import DataError
from cuvee.base.files import FORMAT, dump_json, load_json, replace
from cuvee.shards.splits import Split

FILE = "inventory.json"


@dataclass(frozen=True)
class Shard:
    """One indexed dataset.

    Args:
        path: Prefix of its `.bin` and `.idx`, POSIX, relative to the inventory.
        bytes: UTF-8 bytes of the text that the tokens stand for.
        hash: blake2b-128 of its bytes (`shards.indexed.hash_shard`).
    """

    path: str
    documents: int
    tokens: int
    bytes: int
    hash: str


@dataclass(frozen=True)
class SplitInfo:
    """The shards of one domain and split, in order."""

    shards: tuple[Shard, ...] = ()

    @property
    def documents(self) -> int:
        """Documents of all shards."""
        return sum(s.documents for s in self.shards)

    @property
    def tokens(self) -> int:
        """Tokens of all shards."""
        return sum(s.tokens for s in self.shards)

    @property
    def bytes(self) -> int:
        """Bytes of text of all shards."""
        return sum(s.bytes for s in self.shards)


@dataclass(frozen=True)
class DomainInfo:
    """One domain; `slug` is the file name that stands for it.

    `overlap_search` and `overlap_verify` are the shares of that split's 13-word shingles seen in train; NaN if not measured.
    """

    name: str
    slug: str
    train: SplitInfo
    search: SplitInfo
    verify: SplitInfo
    overlap_search: float = float("nan")
    overlap_verify: float = float("nan")

    def split(self, split: Split) -> SplitInfo:
        """The split of that name."""
        return {"train": self.train, "search": self.search, "verify": self.verify}[split]


@dataclass(frozen=True)
class TokenizerInfo:
    """How text became tokens.

    Args:
        kind: `bpe` trained by prepare, `file` a tokenizer.json of the user's, `bytes`, or `external` (shards came tokenised).
        eos: Id of the token that ends every document.
        sha: Hash of the tokenizer's definition.
        path: Of its file, relative to the inventory.
    """

    kind: Literal["bpe", "file", "bytes", "external"]
    vocab_size: int
    eos: int
    sha: str
    path: str | None = None


@dataclass(frozen=True)
class Inventory:
    """What a corpus holds. `notes` are facts for a reader (near-duplicates found, lines skipped), not part of the identity.

    Raises:
        DataError: no domains, or two of one name or slug.
    """

    domains: tuple[DomainInfo, ...]
    tokenizer: TokenizerInfo
    notes: Mapping[str, str] = field(default_factory=dict)
    format: int = FORMAT

    def __post_init__(self) -> None:
        names, slugs = {d.name for d in self.domains}, {d.slug for d in self.domains}
        if not self.domains or len(names) < len(self.domains) or len(slugs) < len(self.domains):
            raise DataError(
                f"an inventory of the domains {', '.join(d.name for d in self.domains) or '(none)'}",
                wanted="at least one domain, no two of one name or slug",
            )

    @property
    def fingerprint(self) -> str:
        """Identity of the content: bytes of the shards, splits, names, tokenizer. Never paths: a corpus can be moved."""
        splits = [
            {
                "name": d.name,
                "splits": [
                    [[s.hash, s.documents, s.tokens, s.bytes] for s in i.shards] for i in (d.train, d.search, d.verify)
                ],
            }
            for d in self.domains
        ]
        tokenizer = [self.tokenizer.kind, self.tokenizer.vocab_size, self.tokenizer.eos, self.tokenizer.sha]
        return content_id({"format": 1, "domains": splits, "tokenizer": tokenizer})

    def save(self, folder: Path) -> None:
        """Write `inventory.json` into `folder`; the last thing that makes a corpus."""
        replace(folder / FILE, dump_json(to_json(self)))

    @classmethod
    def load(cls, folder: Path) -> Inventory:
        """Read `inventory.json` of `folder`.

        Raises:
            DataError: there is none, or it is not one.
        """
        path = folder / FILE
        if not path.is_file():
            raise DataError(
                f"{folder} is no corpus: it has no {FILE}",
                fix=f"name the folder where it is now, or cuvee prepare SOURCES --out {folder}",
            )
        try:
            return from_json(cls, load_json(path))
        except SchemaError as error:
            raise DataError(
                f"{path}: {error.what}", wanted=error.wanted, fix="restore the file, or prepare again"
            ) from error
