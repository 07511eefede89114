"""The ordered merges of a published tokenizer, from tokenizer.json, merges.txt or tiktoken ranks, cleaned.

A list must be the one that training made. Conversions of sentencepiece models name every split of a token; of those the one
that the merges before it lead to is kept (Hayase et al. 2024, appendix on Llama). What no earlier merge makes possible is left
out; a list of which much is so was not written in the order of training.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from cuvee.base.errors import DataError
from cuvee.corpus.tokenizer import unpacked

WANTED = "a BPE tokenizer: tokenizer.json, merges.txt, or tiktoken ranks"
GPT2_SPLIT: dict[str, Any] = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
MARKED: dict[str, Any] = {
    "type": "Sequence",
    "normalizers": [
        {"type": "Prepend", "prepend": "▁"},
        {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
    ],
}
"""The normaliser of sentencepiece conversions."""
_CASE = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_O200K_WORD = r"[^\r\n\p{{L}}\p{{N}}]?{}{}(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
PATTERNS = {
    "cl100k": rf"{_CASE}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "o200k": "|".join(
        [
            _O200K_WORD.format(f"{_UPPER}*", f"{_LOWER}+"),
            _O200K_WORD.format(f"{_UPPER}+", f"{_LOWER}*"),
            r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ]
    ),
}
"""How the tiktoken encodings split text, by a part of their file's name (openai/tiktoken, openai_public.py)."""
_MOST_DROPPED = 0.1


@dataclass(frozen=True)
class Merges:
    """The first merges of a tokenizer, ready to be replayed.

    Args:
        alphabet: Base symbols, characters; tokens are numbered from them on, merge t makes token `len(alphabet) + t`.
        pairs: The two tokens of each merge.
        texts: What each merge makes.
        available: Merges in the file, after cleaning, as far as it was read.
        redundant: Further splits of tokens, left out.
        unreachable: Merges of tokens that nothing before makes, left out.
        normalizer, pre_tokenizer: As in a tokenizer.json; None for none.
        assumed: A sentence on how text is split, where the file does not say it.
    """

    alphabet: tuple[str, ...]
    pairs: tuple[tuple[int, int], ...]
    texts: tuple[str, ...]
    available: int
    redundant: int
    unreachable: int
    normalizer: Any
    pre_tokenizer: Any
    assumed: str = ""


def read_merges(path: Path, limit: int) -> Merges:
    """The first `limit` merges of the tokenizer in `path`.

    Raises:
        DataError: not a tokenizer, one without merges (unigram, WordPiece), or merges in no order.
    """
    if not path.is_file():
        raise DataError(f"no such tokenizer: {path}", wanted=WANTED, fix="check the path")
    text, assumed = unpacked(path, WANTED), ""
    name = path.name.removesuffix(".gz")
    if name.endswith(".json") or text.lstrip().startswith("{"):
        listed, symbols, normalizer, split = _tokenizer_json(path, text)
    elif name.endswith(".tiktoken") or _is_ranks(text):
        listed, symbols, normalizer, split = _ranks(path, text, limit)
        if not any(known in path.name.lower() for known in PATTERNS):
            assumed = "ranks do not say how text is split: it was guessed from their tokens"
    else:
        lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#version")]
        listed = [_two(line, path) for line in lines]
        symbols, normalizer, split = list(BYTES.values()), None, GPT2_SPLIT
        assumed = "merges.txt does not say how text is split: GPT-2's way was taken"
        if any("▁" in left + right for left, right in listed) and not any(
            "Ġ" in left + right for left, right in listed
        ):
            symbols, normalizer, split = [], MARKED, None
            assumed = "merges.txt does not say how text is split: words begin at ▁"
    if not listed:
        raise DataError(f"{path} has no merges", wanted=WANTED)
    kept, redundant = _one_split_a_token(listed)
    return replace(_numbered(path, kept, symbols, limit, redundant, normalizer, split), assumed=assumed)


Listed = list[tuple[str, str]]


def _tokenizer_json(path: Path, text: str) -> tuple[Listed, list[str], Any, Any]:
    try:
        data = json.loads(text)
        model = data["model"]
        kind = model.get("type", "BPE" if "merges" in model else "no type")
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is no tokenizer.json: {error!r}", wanted=WANTED) from error
    if kind != "BPE":
        raise DataError(
            f"{path} is a {kind} tokenizer",
            wanted="BPE: its ordered merges are the evidence, and a unigram or WordPiece vocabulary has none",
        )
    for affix in ("continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(affix):
            raise DataError(
                f"{path} marks parts of words with {model[affix]!r} ({affix})", wanted="BPE without affixes"
            )
    merges = model.get("merges") or []
    listed = [_two(m, path) if isinstance(m, str) else (str(m[0]), str(m[1])) for m in merges]
    symbols = [token for token in model.get("vocab") or {} if len(token) == 1]
    return listed, symbols, data.get("normalizer"), data.get("pre_tokenizer")


def _two(line: str, path: Path) -> tuple[str, str]:
    left, _, right = line.strip("\r\n").partition(" ")
    if not left or not right or " " in right:
        raise DataError(f"{path}: {line[:60]!r} is no merge", wanted="two tokens with a space between them")
    return left, right


def _bytes() -> dict[int, str]:
    """Byte -> the printable character that stands for it in byte-level tokenizers (GPT-2)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    return {b: chr(b) for b in printable} | {b: chr(256 + i) for i, b in enumerate(others)}


BYTES = _bytes()


def _is_ranks(text: str) -> bool:
    words = text.split("\n", 1)[0].split()
    return len(words) == 2 and words[1].isdigit()


def _ranks(path: Path, text: str, limit: int) -> tuple[Listed, list[str], Any, Any]:
    """Merges from ranks of byte strings: each is what BPE with the lower ranks leaves of it, two parts."""
    try:
        pairs = [line.split() for line in text.splitlines() if line.strip()]
        ranks = {base64.b64decode(word, validate=True): int(rank) for word, rank in pairs}
    except (ValueError, binascii.Error) as error:
        raise DataError(f"{path} holds no ranks: {error}", wanted="lines of a base64 token and its rank") from error
    pattern = next((p for name, p in PATTERNS.items() if name in path.name.lower()), None)
    if pattern is None and any(re.fullmatch(rb"[!-/:-@\[-`{-~]+[\r\n]+", token) for token in ranks):
        pattern = PATTERNS["cl100k"]  # a token of punctuation and line ends cannot be made by GPT-2's way
    split = GPT2_SPLIT
    if pattern is not None:
        isolated = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
        split = {"type": "Sequence", "pretokenizers": [isolated, {**GPT2_SPLIT, "use_regex": False}]}
    listed: Listed = []
    for token in sorted(ranks, key=ranks.__getitem__):
        if len(token) < 2:
            continue
        if len(listed) == limit + limit // 8:
            break
        parts = _parts(token, ranks)
        if len(parts) == 2:
            listed.append((_letters(parts[0]), _letters(parts[1])))
    return listed, list(BYTES.values()), None, split


def _parts(token: bytes, ranks: dict[bytes, int]) -> list[bytes]:
    parts = [token[i : i + 1] for i in range(len(token))]
    top = ranks[token]
    while len(parts) > 2:
        options = [(ranks.get(parts[i] + parts[i + 1], top), i) for i in range(len(parts) - 1)]
        rank, i = min(options)
        if rank >= top:
            break
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
    return parts


def _letters(token: bytes) -> str:
    return "".join(BYTES[b] for b in token)


def _one_split_a_token(listed: Listed) -> tuple[Listed, int]:
    """Each token once, at its first place, by the split that BPE makes; and how many entries that leaves out."""
    splits: dict[str, Listed] = {}
    for left, right in listed:
        splits.setdefault(left + right, []).append((left, right))
    if len(splits) == len(listed):
        return listed, 0
    rank: dict[tuple[str, str], int] = {}
    for i, pair in enumerate(listed):
        rank.setdefault(pair, i)
    kept = [options[0] if len(options) == 1 else _true_split(options, rank) for options in splits.values()]
    return kept, len(listed) - len(kept)


def _true_split(options: Listed, rank: dict[tuple[str, str], int]) -> tuple[str, str]:
    parts, own = list(options[0][0] + options[0][1]), set(options)
    while len(parts) > 2:
        found = [(rank[p], i) for i, p in enumerate(pairwise(parts)) if p in rank and p not in own]
        if not found:
            break
        i = min(found)[1]
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
    return (parts[0], parts[1]) if tuple(parts) in own else options[0]


def _numbered(
    path: Path, listed: Listed, symbols: Sequence[str], limit: int, redundant: int, normalizer: Any, split: Any
) -> Merges:
    alphabet = tuple(sorted({*symbols, *_characters(listed)}))
    number = {symbol: i for i, symbol in enumerate(alphabet)}
    pairs: list[tuple[int, int]] = []
    texts: list[str] = []
    unreachable = 0
    for left, right in listed:
        if len(pairs) == limit:
            break
        if left not in number or right not in number:
            unreachable += 1
            continue
        pairs.append((number[left], number[right]))
        texts.append(left + right)
        number.setdefault(left + right, len(alphabet) + len(pairs) - 1)
    if unreachable > _MOST_DROPPED * (unreachable + len(pairs)):
        raise DataError(
            f"{path}: {unreachable} of {unreachable + len(pairs)} merges join tokens that no merge before them makes",
            wanted="merges in the order in which training made them",
            fix="the file of the trained tokenizer, not a sorted or shuffled vocabulary",
        )
    return Merges(
        alphabet=alphabet,
        pairs=tuple(pairs),
        texts=tuple(texts),
        available=len(listed) - unreachable,
        redundant=redundant,
        unreachable=unreachable,
        normalizer=normalizer,
        pre_tokenizer=split,
    )


def _characters(listed: Iterable[tuple[str, str]]) -> set[str]:
    return {c for pair in listed for token in pair for c in token}
