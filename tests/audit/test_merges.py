from __future__ import annotations

import base64
import gzip
import json
import random
from pathlib import Path
from typing import Any

import pytest

from cuvee.audit.merges import BYTES, read_merges
from cuvee.base.errors import DataError
from tests.audit.texts import documents, trained


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    return trained(folder / "tokenizer.json", documents("abc", 40) + documents("шчы", 40), 120)


def content(tokenizer: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(tokenizer.read_text(encoding="utf-8"))
    return data


def test_the_same_merges_from_every_form(tokenizer: Path, tmp_path: Path) -> None:
    data, wanted = content(tokenizer), read_merges(tokenizer, 100)
    assert len(wanted.pairs) == 100
    assert wanted.available == 120
    assert len(wanted.alphabet) == 256
    merges = [m if isinstance(m, list) else m.split(" ") for m in data["model"]["merges"]]
    as_lists = {**data, "model": {**data["model"], "merges": merges}}
    as_words = {**data, "model": {**data["model"], "merges": [" ".join(m) for m in merges]}}
    del as_words["model"]["type"]
    (tmp_path / "lists.json").write_text(json.dumps(as_lists), encoding="utf-8")
    (tmp_path / "words.json.gz").write_bytes(gzip.compress(json.dumps(as_words).encode("utf-8")))
    lines = ["#version: 0.2", *(" ".join(m) for m in merges)]
    (tmp_path / "merges.txt").write_text("\n".join(lines), encoding="utf-8")
    letter = {c: b for b, c in BYTES.items()}
    ranked = [bytes([b]) for b in range(256)] + [bytes(letter[c] for c in "".join(m)) for m in merges]
    ranks = "".join(f"{base64.b64encode(t).decode()} {i}\n" for i, t in enumerate(ranked))
    (tmp_path / "r50k.tiktoken").write_text(ranks, encoding="utf-8")
    for name in ("lists.json", "words.json.gz", "merges.txt", "r50k.tiktoken"):
        found = read_merges(tmp_path / name, 100)
        assert (found.alphabet, found.texts) == (wanted.alphabet, wanted.texts), name
        assert found.pairs == wanted.pairs, name
    assert read_merges(tmp_path / "merges.txt", 10).pre_tokenizer == wanted.pre_tokenizer


def test_of_all_splits_of_a_token_the_one_that_bpe_makes_is_kept(tmp_path: Path) -> None:
    # as conversions of sentencepiece list them: every split of abc whose parts are tokens
    merges = ["b c", "a b", "a bc", "ab c", "c a", "abc a", "ab ca"]
    vocab = {t: i for i, t in enumerate(["▁", "a", "b", "c", "bc", "ab", "abc", "ca", "abca"])}
    model = {"type": "BPE", "vocab": vocab, "merges": merges, "byte_fallback": True}
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps({"model": model, "normalizer": None, "pre_tokenizer": None}), encoding="utf-8")
    found = read_merges(path, 100)
    assert found.texts == ("bc", "ab", "abc", "ca", "abca")
    assert found.redundant == 2
    names = [*found.alphabet, *found.texts]
    assert [(names[a], names[b]) for a, b in found.pairs][2] == ("a", "bc")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"type": "Unigram", "vocab": []}, "is a Unigram tokenizer"),
        ({"type": "WordPiece", "vocab": {}}, "is a WordPiece tokenizer"),
        ({"type": "BPE", "vocab": {}, "merges": []}, "has no merges"),
        ({"type": "BPE", "vocab": {}, "merges": ["a b c"]}, "is no merge"),
        ({"type": "BPE", "vocab": {}, "merges": ["a b</w>"], "end_of_word_suffix": "</w>"}, "end_of_word_suffix"),
    ],
)
def test_what_is_no_list_of_merges_is_refused(change: Any, match: str, tokenizer: Path, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps({**content(tokenizer), "model": change}), encoding="utf-8")
    with pytest.raises(DataError, match=match):
        read_merges(path, 100)


def test_merges_in_no_order_are_refused(tokenizer: Path, tmp_path: Path) -> None:
    data = content(tokenizer)
    random.Random(0).shuffle(data["model"]["merges"])
    (tmp_path / "tokenizer.json").write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(DataError, match="no merge before them makes"):
        read_merges(tmp_path / "tokenizer.json", 100)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such tokenizer"):
        read_merges(tmp_path / "none.json", 10)
    (tmp_path / "a.json").write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match=r"no tokenizer\.json"):
        read_merges(tmp_path / "a.json", 10)
    (tmp_path / "a.bin").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="cannot read"):
        read_merges(tmp_path / "a.bin", 10)
    (tmp_path / "a.tiktoken").write_text("!!! 1\n", encoding="utf-8")
    with pytest.raises(DataError, match="holds no ranks"):
        read_merges(tmp_path / "a.tiktoken", 10)
