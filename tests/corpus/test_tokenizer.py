from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from cuvee.base.errors import DataError, UsageError
from cuvee.corpus.chunks import ROW
from cuvee.corpus.documents import Documents
from cuvee.corpus.tokenizer import END, TokenizerWish, decoder, encoder, make
from cuvee.shards.inventory import TokenizerInfo

EMPTY = Documents((), (), ("a",), np.zeros(0, ROW))
NONE = np.zeros(0, np.bool_)


def given_file(folder: Path, end: str | None, name: str = "mine.json") -> Path:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = {c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=alphabet, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    if end is not None:
        tokenizer.add_special_tokens([end])
    tokenizer.enable_truncation(3)
    text = tokenizer.to_str().encode()
    path = folder / name
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


def test_bytes() -> None:
    info = make(TokenizerWish.of("bytes", 4096), Path("unused"), EMPTY, NONE, 0)
    assert (info.vocab_size, info.eos, info.path) == (257, 256, None)
    (ids,) = encoder(info, Path("unused"))(["é!"])
    assert ids.tolist() == [0xC3, 0xA9, 0x21, 256]


@pytest.mark.parametrize("name", ["mine.json", "mine.json.gz"])
def test_a_given_file_is_used_without_its_truncation(tmp_path: Path, name: str) -> None:
    out = tmp_path / "out"
    out.mkdir()
    info = make(TokenizerWish.of(given_file(tmp_path, "</s>", name), 0), out, EMPTY, NONE, 0)
    assert (info.kind, info.vocab_size, info.eos, info.path) == ("file", 257, 256, "tokenizer.json")
    short, long = encoder(info, out)(["hello world", "a </s> b"])
    assert len(short) == 12
    assert short[-1] == info.eos
    assert (long == info.eos).sum() == 1  # the one written out is text


def test_unusable_files(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such tokenizer"):
        TokenizerWish.of(tmp_path / "none.json", 0)
    with pytest.raises(UsageError, match="vocab=256"):
        TokenizerWish.of(None, 256)
    broken = tmp_path / "broken.json"
    broken.write_text("{}", encoding="utf-8")
    with pytest.raises(DataError, match="is no tokenizer"):
        make(TokenizerWish.of(broken, 0), tmp_path, EMPTY, NONE, 0)
    torn = tmp_path / "torn.json.gz"
    torn.write_bytes(gzip.compress(b"{}")[:-5])
    with pytest.raises(DataError, match="cannot read"):
        make(TokenizerWish.of(torn, 0), tmp_path, EMPTY, NONE, 0)
    with pytest.raises(DataError, match="no token that ends a text"):
        make(TokenizerWish.of(given_file(tmp_path, None), 0), tmp_path, EMPTY, NONE, 0)


def test_the_end_of_text_is_the_first_entry_of_a_trained_one(tmp_path: Path) -> None:
    info = make(TokenizerWish.of(None, 300), tmp_path, EMPTY, NONE, 0)
    assert info == TokenizerInfo("bpe", 257, 0, info.sha, "tokenizer.json")
    assert encoder(info, tmp_path)([END])[0].tolist().count(0) == 1


@pytest.mark.parametrize("kind", ["bytes", "file"])
def test_decoding_undoes_encoding(tmp_path: Path, kind: str) -> None:
    wish = TokenizerWish.of("bytes" if kind == "bytes" else given_file(tmp_path, "</s>", "mine.json.gz"), 0)
    info = make(wish, tmp_path, EMPTY, NONE, 0)
    texts = ["né </s> 中\n", "", "x"]
    assert decoder(info, tmp_path)(encoder(info, tmp_path)(texts)) == texts


def test_tokens_from_elsewhere_have_no_text() -> None:
    with pytest.raises(DataError, match="has no tokenizer"):
        decoder(TokenizerInfo("external", 100, 0, "x"), Path("unused"))
