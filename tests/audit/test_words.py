from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from cuvee.audit.merges import PATTERNS, Merges, read_merges
from cuvee.audit.words import Splitter, read_samples
from cuvee.base.errors import DataError, UsageError
from cuvee.base.progress import Silent
from cuvee.corpus.readers import Fields
from tests.audit.texts import BYTE_LEVEL, documents, folders, trained

STRANGE = "def f(x):\n\treturn  x+1;;\n\n\n  # don't  \r\n e\u0301t\u00e9 1234\u00a056 \u4f60\u597d\n\n"


@pytest.fixture(scope="module")
def merges(tmp_path_factory: pytest.TempPathFactory) -> Merges:
    folder = tmp_path_factory.mktemp("tokenizer")
    return read_merges(trained(folder / "tokenizer.json", documents("abc", 40), 50), 50)


def isolated(pattern: str) -> Any:
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    return {"type": "Sequence", "pretokenizers": [split, {**BYTE_LEVEL, "use_regex": False}]}


@pytest.mark.parametrize("normalizer", [None, {"type": "NFC"}, {"type": "NFKC"}], ids=["none", "nfc", "nfkc"])
@pytest.mark.parametrize(
    "split",
    [BYTE_LEVEL, {**BYTE_LEVEL, "add_prefix_space": True}, isolated(PATTERNS["cl100k"]), isolated(PATTERNS["o200k"])],
    ids=["gpt2", "prefix", "cl100k", "o200k"],
)
def test_words_are_the_librarys_own(merges: Merges, normalizer: Any, split: Any, tmp_path: Path) -> None:
    texts = {"a": [STRANGE + STRANGE, "x;\n\ny"], "b": [f"{STRANGE} {i};\n" for i in range(3)]}
    given = replace(merges, normalizer=normalizer, pre_tokenizer=split)
    sources = folders(tmp_path, texts)
    found = read_samples(
        sources, given, most_bytes=10**6, domains="auto", fields=Fields("text", None), progress=Silent()
    )
    body = {"model": {"type": "BPE", "vocab": {}, "merges": []}, "normalizer": normalizer, "pre_tokenizer": split}
    tokenizer = Tokenizer.from_str(json.dumps({**body, "added_tokens": []}))
    for i, name in enumerate(found.categories):
        wanted: Counter[str] = Counter()
        for text in texts[name]:
            normal = tokenizer.normalizer.normalize_str(text) if normalizer else text
            wanted.update(w for w, _ in tokenizer.pre_tokenizer.pre_tokenize_str(normal) if len(w) > 1)
        counted = dict(zip(found.words, found.weights()[:, i].tolist(), strict=True))
        assert {w: n for w, n in counted.items() if n} == wanted
        assert found.bytes_n[i] == sum(len(t.encode("utf-8")) for t in texts[name])


def test_sentencepiece_words_begin_at_the_mark(merges: Merges) -> None:
    normalizer = {"type": "Sequence", "normalizers": [
        {"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
    ]}  # fmt: skip
    given = replace(merges, alphabet=(*merges.alphabet, "▁"), normalizer=normalizer, pre_tokenizer=None, texts=())
    split = Splitter(given)
    assert split.words(split.normal("ab  cd 12\nef")) == ["▁ab", "▁", "▁cd", "▁", "1", "2", "▁ef"]
    together = Splitter(replace(given, texts=("12",)))
    assert together.words(together.normal("ab 12")) == ["▁ab", "▁12"]
    with pytest.raises(DataError, match="no pre-tokeniser"):
        Splitter(replace(merges, pre_tokenizer=None))


def test_duplicates_count_once_and_limits_hold(merges: Merges, tmp_path: Path) -> None:
    texts = documents("abc", 30)
    sources = folders(tmp_path, {"a": [*texts, *texts], "b": documents("xyz", 30)})
    fields = Fields("text", None)
    found = read_samples(sources, merges, most_bytes=10**6, domains="auto", fields=fields, progress=Silent())
    assert found.documents_n.tolist() == [30, 30]
    few = read_samples(sources, merges, most_bytes=1000, domains="auto", fields=fields, progress=Silent())
    assert few.documents_n.max() < 4


def test_too_few_categories(merges: Merges, tmp_path: Path) -> None:
    fields = Fields("text", None)
    with pytest.raises(UsageError, match="one category only"):
        read_samples(
            folders(tmp_path / "one", {"a": ["x y"]}),
            merges,
            most_bytes=10,
            domains="auto",
            fields=fields,
            progress=Silent(),
        )
    with pytest.raises(DataError, match="no text in b"):
        read_samples(
            folders(tmp_path / "two", {"a": ["x y"], "b": [""]}),
            merges, most_bytes=10, domains="auto", fields=fields, progress=Silent(),
        )  # fmt: skip


def test_a_cut_that_fails_late_is_not_used(merges: Merges, tmp_path: Path) -> None:
    given = replace(merges, pre_tokenizer=isolated(PATTERNS["cl100k"]))
    texts = [*(f"one line {i}" for i in range(10)), *(f"a;\nb;\n{i};\n" for i in range(60))]
    sources = folders(tmp_path, {"a": texts, "b": ["c d"]})
    found = read_samples(
        sources, given, most_bytes=10**6, domains="auto", fields=Fields("text", None), progress=Silent()
    )
    counted = dict(zip(found.words, found.weights()[:, 0].tolist(), strict=True))
    assert counted[";\u010a"] == 180


def test_conversions_whose_pre_tokeniser_leaves_words_together(merges: Merges) -> None:
    split = {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False}
    spaces = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    given = replace(merges, alphabet=(*merges.alphabet, "▁"), normalizer=spaces, pre_tokenizer=split)
    found = Splitter(given)
    assert found.words(found.normal("bad cafe\nhi you")) == ["bad", "▁cafe", "hi", "▁you"]
