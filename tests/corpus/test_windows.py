from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cuvee.base.errors import DataError, UsageError
from cuvee.corpus.examples import Example, Examples
from cuvee.corpus.prepare import prepare
from cuvee.corpus.tokenizer import decoder, encoder
from cuvee.corpus.windows import spans, tokenise
from cuvee.shards.corpus import Corpus
from cuvee.shards.examples import Tokenised
from tests.corpus.writing import texts

WORDS = st.text("w0x123 \n.é中", max_size=60)


@pytest.fixture(scope="module", params=["bytes", "bpe"])
def corpus(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    folder = tmp_path_factory.mktemp(request.param)
    tokenizer: Literal["bytes"] | None = "bytes" if request.param == "bytes" else None
    return prepare(texts(folder / "in"), out=folder / "out", tokenizer=tokenizer, vocab=400, min_held_out_bytes=1000)


def counted(found: Tokenised, example: int, choice: int) -> list[int]:
    windows = np.flatnonzero((found.example_W == example) & (found.choice_W == choice))
    return [int(t) for w in windows for t in found.tokens_WL1[w, 1:][found.counts_WL[w]]]


@given(length=st.integers(2, 200), first=st.integers(1, 199), seq_len=st.integers(2, 40))
def test_spans_count_every_token_from_the_first_once(length: int, first: int, seq_len: int) -> None:
    first = min(first, length - 1)
    seen = np.zeros(length, int)
    for start, counts_from, stop in spans(length, first, seq_len):
        assert 0 <= start < counts_from < stop <= length
        assert stop - start == min(seq_len + 1, stop)
        seen[counts_from:stop] += 1
    assert seen.tolist() == [0] * first + [1] * (length - first)


@pytest.mark.slow
@settings(max_examples=40)
@given(
    rows=st.lists(st.tuples(WORDS, st.lists(WORDS.filter(str.strip), min_size=2, max_size=3)), min_size=1, max_size=4),
    seq_len=st.integers(2, 30),
)
def test_counted_are_exactly_the_continuations(corpus: Corpus, rows: list[tuple[str, list[str]]], seq_len: int) -> None:
    examples = Examples.of("t", "choice", [Example(context, tuple(c), 1) for context, c in rows])
    found = tokenise(examples, corpus, seq_len)
    info = corpus.inventory.tokenizer
    encode, decode = encoder(info, corpus.path), decoder(info, corpus.path)
    assert found.seq_len == seq_len
    assert found.counts_WL.any(axis=1).all()
    for e, (context, choices) in enumerate(rows):
        assert found.gold_E[e] == 1
        for c, choice in enumerate(choices):
            kept = context.rstrip()
            before, whole = encode([kept, context + choice])
            tokens = counted(found, e, c)
            assert tokens == whole[:-1].tolist()[-len(tokens) :]
            assert len(tokens) == max(1, len(whole) - len(before))
            if kept == "" or info.kind == "bytes":
                assert decode([np.array(tokens)]) == [context[len(kept) :] + choice]
                assert found.bytes_EC[e, c] == len((context[len(kept) :] + choice).encode())
        assert not found.bytes_EC[e, len(choices) :].any()
    order = found.example_W.astype(int) * 3 + found.choice_W
    assert (np.diff(order) >= 0).all()


@given(text=WORDS.filter(str.strip), seq_len=st.integers(2, 30))
@settings(max_examples=40)
def test_of_a_text_every_token_counts_once(corpus: Corpus, text: str, seq_len: int) -> None:
    found = tokenise(Examples.of("t", "text", [Example("", (text,))]), corpus, seq_len)
    (ids,) = encoder(corpus.inventory.tokenizer, corpus.path)([text])
    assert counted(found, 0, 0) == ids[:-1].tolist()
    assert found.tokens_WL1[0, 0] == corpus.inventory.tokenizer.eos
    assert found.bytes_EC.tolist() == [[len(text.encode())]]
    # all windows but the first are full of context
    assert (
        found.tokens_WL1[1:, 1:][:, -1]
        == [ids[min((i + 2) * seq_len, len(ids) - 1) - 1] for i in range(len(found.tokens_WL1) - 1)]
    ).all()


def test_a_space_counts_with_the_continuation_wherever_it_is_written(corpus: Corpus) -> None:
    pairs = [("w0x1 w0x2", " w0x3"), ("w0x1 w0x2 ", "w0x3"), ("w0x1 w0x2\n", "w0x3"), ("w0x1 w0x2", "\nw0x3")]
    found = tokenise(Examples.of("t", "continuation", [Example(a, (b,)) for a, b in pairs]), corpus, 64)
    assert (found.tokens_WL1[0] == found.tokens_WL1[1]).all()
    assert (found.counts_WL[0] == found.counts_WL[1]).all()
    assert (found.tokens_WL1[2] == found.tokens_WL1[3]).all()
    assert found.bytes_EC[:, 0].tolist() == [5] * 4


def test_a_continuation_that_merges_into_its_context_still_counts(corpus: Corpus) -> None:
    found = tokenise(Examples.of("t", "continuation", [Example("w", ("0",))]), corpus, 8)
    assert found.counts_WL.sum() == 1


def test_the_context_is_cut_from_the_left(corpus: Corpus) -> None:
    encode = encoder(corpus.inventory.tokenizer, corpus.path)
    context, continuation = "w0x1 " * 50 + "w0x2", " w0x3"
    found = tokenise(Examples.of("t", "continuation", [Example(context, (continuation,))]), corpus, 12)
    assert found.tokens_WL1.tolist() == [encode([context + continuation])[0][:-1][-13:].tolist()]


def test_what_cannot_be_done(corpus: Corpus) -> None:
    examples = Examples.of("t", "text", [Example("", ("a",))])
    with pytest.raises(UsageError, match="seq_len=1"):
        tokenise(examples, corpus, 1)


def test_a_corpus_without_a_tokenizer(corpus: Corpus, tmp_path: Path) -> None:
    import dataclasses

    info = dataclasses.replace(corpus.inventory.tokenizer, kind="external", path=None)
    bare = dataclasses.replace(corpus, inventory=dataclasses.replace(corpus.inventory, tokenizer=info))
    with pytest.raises(DataError, match="has no tokenizer"):
        tokenise(Examples.of("t", "text", [Example("", ("a",))]), bare, 8)
