"""Small made-up corpora that a small model can learn: one Markov chain per domain."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cuvee.base import rng
from cuvee.base.files import slug
from cuvee.shards.corpus import Corpus
from cuvee.shards.indexed import IndexedWriter, token_dtype
from cuvee.shards.inventory import DomainInfo, Inventory, Shard, SplitInfo, TokenizerInfo
from cuvee.shards.splits import SPLITS, Split

EOS = 0
SYMBOLS = 48
SUCCESSORS = 4


def synthetic(
    folder: Path | str,
    domains: tuple[str, ...] = ("a", "b", "c"),
    documents: int = 200,
    vocab: int = 256,
    seed: int = 0,
) -> Corpus:
    """A corpus of made-up documents of 40 to 400 tokens (about 200), a byte a token, each ended by token 0.

    Each domain has symbols of its own out of `vocab`, of which each has four likely successors; later domains are less
    predictable. Domains have `documents` times 1, 1.5, 2, 1, ... documents, so that natural is not uniform. Of every ten
    documents one is for search and one for verify. Depends on the arguments only.
    """
    path = Path(folder)
    infos = []
    for i, name in enumerate(domains):
        generator = rng.generator(seed, f"synthetic/{name}")
        texts = _documents(generator, documents * (2 + i % 3) // 2, vocab, sharpness=1 + 3 / (1 + i))
        splits = {split: _write(path, slug(name), split, texts, vocab) for split in SPLITS}
        infos.append(DomainInfo(name, slug(name), splits["train"], splits["search"], splits["verify"], 0.0, 0.0))
    tokenizer = TokenizerInfo("external", vocab, EOS, "synthetic")
    Inventory(tuple(infos), tokenizer, {"made by": "cuvee.testing.corpora.synthetic"}).save(path)
    return Corpus.open(path)


def _documents(generator: np.random.Generator, count: int, vocab: int, *, sharpness: float) -> list[NDArray[np.int64]]:
    symbols = generator.permutation(np.arange(1, vocab))[: min(SYMBOLS, vocab - 1)]
    successors = generator.integers(0, symbols.size, (symbols.size, SUCCESSORS))
    likely = np.exp(-sharpness * np.arange(SUCCESSORS) / 2)
    lengths = np.clip(generator.lognormal(np.log(180), 0.5, count), 40, 400).astype(np.int64)
    choices = generator.choice(SUCCESSORS, (int(lengths.max()), count), p=likely / likely.sum())
    states = np.zeros_like(choices)
    states[0] = generator.integers(0, symbols.size, count)
    for t in range(1, len(choices)):
        states[t] = successors[states[t - 1], choices[t]]
    return [np.append(symbols[states[: n - 1, i]], EOS) for i, n in enumerate(lengths)]


def _write(folder: Path, name: str, split: Split, texts: list[NDArray[np.int64]], vocab: int) -> SplitInfo:
    wanted = {"search": (0,), "verify": (1,), "train": tuple(range(2, 10))}[split]
    path = f"shards/{name}-{split}"
    with IndexedWriter(folder / path, token_dtype(vocab)) as writer:
        for i, text in enumerate(texts):
            if i % 10 in wanted:
                writer.add(text)
    return SplitInfo((Shard(path, writer.documents, writer.tokens, writer.tokens, writer.hash),))
