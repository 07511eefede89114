"""Made-up languages and tokenizers of them, for tests of inference."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer, trainers
from tokenizers.pre_tokenizers import ByteLevel

BYTE_LEVEL: Any = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
LETTERS = {"abc": "abcdefgh", "mno": "ijklmnopq", "xyz": "rstuvwxyz", "шчы": "абвгдежз", "δζη": "αβγδεζηθ"}


def documents(name: str, count: int, seed: int = 0, words: int = 120) -> list[str]:
    """Texts of a language of 300 words with Zipf frequencies, which are the same for every seed."""
    made = np.random.default_rng(sum(map(ord, name)))
    letters = list(LETTERS[name])
    weights = made.dirichlet(np.ones(len(letters)))
    vocabulary = ["".join(made.choice(letters, int(made.integers(2, 9)), p=weights)) for _ in range(300)]
    frequency = 1 / np.arange(1, 301)
    rng = np.random.default_rng([seed, len(name), sum(map(ord, name))])
    return [" ".join(rng.choice(vocabulary, words, p=frequency / frequency.sum())) + "." for _ in range(count)]


def folders(root: Path, texts: Mapping[str, list[str]]) -> list[Path]:
    """A JSONL file a category."""
    root.mkdir(parents=True, exist_ok=True)
    for name, rows in texts.items():
        lines = "".join(json.dumps({"text": t}, ensure_ascii=False) + "\n" for t in rows)
        (root / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    return [root / f"{name}.jsonl" for name in texts]


def trained(path: Path, texts: list[str], merges: int, normalizer: Any = None, split: Any = BYTE_LEVEL) -> Path:
    """A byte-level BPE tokenizer of the tokenizers library."""
    model = {"type": "BPE", "vocab": {}, "merges": []}
    body = {"model": model, "normalizer": normalizer, "pre_tokenizer": split, "added_tokens": []}
    tokenizer = Tokenizer.from_str(json.dumps(body))
    alphabet = ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=256 + merges, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(iter(texts), trainer)
    tokenizer.save(str(path))
    return path
