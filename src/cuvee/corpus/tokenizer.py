"""Stage 5, the tokenizer: given as a `tokenizer.json`, trained as byte-level BPE on the train split, or plain bytes."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cuvee.base.errors import DataError, UsageError
from cuvee.base.files import hash_file, replace
from cuvee.base.permutation import mixed
from cuvee.base.rng import key64
from cuvee.corpus.documents import Documents
from cuvee.corpus.words import I64
from cuvee.shards.inventory import TokenizerInfo

END = "<|endoftext|>"
FILE = "tokenizer.json"
SAMPLE_BYTES = 8_000_000
"""Bytes of train text that a BPE is trained on, the same from every domain."""
_ENDS = (END, "<|end_of_text|>", "</s>", "<eos>", "<|eos|>", "[EOS]", "<|im_end|>", "<end_of_text>")
_BYTES = TokenizerInfo("bytes", 257, 256, "bytes-257")

Encode = Callable[[Sequence[str]], list[NDArray[Any]]]
Decode = Callable[[Sequence[NDArray[Any]]], list[str]]


@dataclass(frozen=True)
class TokenizerWish:
    """What the caller asked for.

    Args:
        kind: `bpe` to train one, `file` to use one, `bytes`.
        vocab: Entries of a trained BPE, the 256 bytes and the end of text among them.
        path: Of the file, if one is given.
        content: Hash of that file, so that another file is another wish.

    Raises:
        UsageError: a vocabulary that cannot hold the bytes, or no such file.
    """

    kind: Literal["bpe", "file", "bytes"]
    vocab: int
    path: str | None = None
    content: str | None = None

    @classmethod
    def of(cls, tokenizer: Path | str | None, vocab: int) -> TokenizerWish:
        """The wish behind the arguments of `prepare`."""
        if tokenizer is None:
            if vocab < 257:
                raise UsageError(f"got vocab={vocab}", wanted="257 or more: the 256 bytes and an end of text")
            return cls("bpe", vocab)
        if tokenizer == "bytes":
            return cls("bytes", _BYTES.vocab_size)
        path = Path(tokenizer)
        if not path.is_file():
            raise UsageError(f"no such tokenizer: {path}", wanted='a tokenizer.json, or "bytes"', fix="check the path")
        return cls("file", 0, str(path), hash_file(path))


def make(
    wish: TokenizerWish, folder: Path, documents: Documents, train_N: NDArray[np.bool_], seed: int
) -> TokenizerInfo:
    """Write `tokenizer.json` into `folder` (unless bytes) and say what it is.

    Raises:
        DataError: a given tokenizer that cannot be read, or that has no end-of-text token.
    """
    if wish.kind != "bpe":
        return use(wish, folder)
    return _describe("bpe", _train(wish.vocab, _sample(documents, train_N, seed)), folder, FILE)


def use(wish: TokenizerWish, folder: Path) -> TokenizerInfo:
    """The same for a tokenizer that is not to be trained: `bytes` or `file`.

    Raises:
        DataError: it cannot be read, or has no end-of-text token.
    """
    if wish.kind == "bytes":
        return _BYTES
    assert wish.path is not None
    return _describe("file", _load(unpacked(Path(wish.path)), wish.path), folder, wish.path)


def _describe(kind: Literal["bpe", "file"], tokenizer: Any, folder: Path, name: str) -> TokenizerInfo:
    """Write `tokenizer.json` into `folder` and say what it is."""
    replace(folder / FILE, tokenizer.to_str(pretty=False).encode("utf-8"))
    vocabulary: dict[str, int] = tokenizer.get_vocab(with_added_tokens=True)
    end = next((vocabulary[name] for name in _ENDS if name in vocabulary), None)
    if end is None:
        raise DataError(
            f"{name} has no token that ends a text",
            wanted=f"one of {', '.join(_ENDS)}",
            fix="add one to its added_tokens",
        )
    return TokenizerInfo(kind, max(vocabulary.values()) + 1, end, hash_file(folder / FILE), FILE)


def encoder(info: TokenizerInfo, folder: Path) -> Encode:
    """The function texts -> token ids of each, with the end of text after them.

    A special token written out in a text is text, so that no document can end itself.
    """
    if info.kind == "bytes":
        return lambda texts: [
            np.append(np.frombuffer(t.encode("utf-8"), np.uint8).astype(np.uint16), np.uint16(256)) for t in texts
        ]
    tokenizer = _load((folder / FILE).read_text(encoding="utf-8"), FILE)

    def encode(texts: Sequence[str]) -> list[NDArray[Any]]:
        encodings = tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.array([*encoding.ids, info.eos], np.int64) for encoding in encodings]

    return encode


def definition(path: Path) -> dict[str, Any]:
    """The content of a tokenizer.json, in the form that the tokenizers library here gives it.

    Raises:
        DataError: it cannot be read.
    """
    found: dict[str, Any] = json.loads(_load(unpacked(path), str(path)).to_str())
    return found


def decoder(info: TokenizerInfo, folder: Path) -> Decode:
    """The function token ids of documents -> their texts, without the token that ends them.

    Raises:
        DataError: the corpus came tokenised and has no tokenizer, or its file is gone.
    """
    if info.kind == "bytes":
        return lambda rows: [bytes(ids[ids != info.eos].astype(np.uint8)).decode("utf-8", "replace") for ids in rows]
    check_has_tokenizer(info)
    tokenizer = _load(unpacked(folder / FILE), FILE)

    def decode(rows: Sequence[NDArray[Any]]) -> list[str]:
        whole = [ids[:-1] if len(ids) and ids[-1] == info.eos else ids for ids in rows]
        texts: list[str] = tokenizer.decode_batch([ids.tolist() for ids in whole], skip_special_tokens=False)
        return texts

    return decode


def check_has_tokenizer(info: TokenizerInfo) -> None:
    """Refuse a corpus between whose tokens and texts nothing can go.

    Raises:
        DataError: it came tokenised and has no tokenizer.
    """
    if info.kind != "bytes" and info.path is None:
        raise DataError(
            "the corpus came tokenised and has no tokenizer",
            wanted="a tokenizer.json in the corpus, to go between text and tokens",
            fix="prepare the corpus from its texts with `cuvee prepare --tokenizer FILE`",
        )


def unpacked(path: Path, wanted: str = "a tokenizer.json") -> str:
    """The text of a tokenizer's file, which may be packed as .gz.

    Raises:
        DataError: it cannot be read.
    """
    try:
        data = path.read_bytes()
        return (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the tokenizer {path}: {error}", wanted=wanted) from error


def _load(text: str, name: str) -> Any:
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_str(text)
    except Exception as error:  # the library raises nothing narrower
        raise DataError(
            f"{name} is no tokenizer: {error}", wanted="a tokenizer.json of the tokenizers library"
        ) from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True
    return tokenizer


def _train(vocab: int, texts: Iterator[str]) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _sample(documents: Documents, train_N: NDArray[np.bool_], seed: int) -> Iterator[str]:
    """Train documents of every domain in seeded order, equal bytes of each; every distinct text once.

    The order follows the texts' hashes, so it does not depend on how they are spread over files.
    """
    budget = SAMPLE_BYTES // len(documents.domains)
    longest = max(budget // 16, 1 << 12)
    salt = np.uint64(key64(seed, "corpus.tokenizer"))
    for domain in range(len(documents.domains)):
        here: I64 = np.flatnonzero(train_N & (documents.domain_N == domain))
        _, first = np.unique(mixed(documents.hash_N[here] ^ salt), return_index=True)
        left = budget
        for number in here[first]:
            if left <= 0:
                break
            text = documents.text(int(number))[: min(longest, left)]
            left -= len(text.encode("utf-8"))
            yield text
