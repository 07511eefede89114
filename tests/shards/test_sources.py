from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cuvee.base.errors import DataError
from cuvee.shards.indexed import IndexedDataset, IndexedWriter
from cuvee.shards.sources import TokenSource


def source(folder: Path, lengths: list[list[int]]) -> tuple[TokenSource, list[list[int]]]:
    token, documents, shards = 0, [], []
    for k, shard in enumerate(lengths):
        with IndexedWriter(folder / f"s{k}", np.uint16) as writer:
            for length in shard:
                documents.append(list(range(token, token + length)))
                token += length
                writer.add(np.array(documents[-1]))
        shards.append(IndexedDataset(folder / f"s{k}"))
    return TokenSource(tuple(shards), np.dtype(np.uint16)), documents


@settings(max_examples=25)
@given(lengths=st.lists(st.lists(st.integers(1, 6), max_size=4), max_size=4), data=st.data())
def test_shards_read_as_one_run(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[list[int]], data: st.DataObject
) -> None:
    tokens, documents = source(tmp_path_factory.mktemp("source"), lengths)
    assert (tokens.documents, tokens.tokens) == (len(documents), sum(map(len, documents)))
    assert [tokens.document(i).tolist() for i in range(len(documents))] == documents
    assert tokens.lengths.tolist() == [len(d) for d in documents]
    start = data.draw(st.integers(0, tokens.tokens))
    stop = data.draw(st.integers(start, tokens.tokens))
    assert tokens.flat(start, stop).tolist() == list(range(start, stop))
    assert tokens.flat(start, stop).dtype == np.uint16


def test_what_lies_outside_is_refused(tmp_path: Path) -> None:
    tokens, _ = source(tmp_path, [[3], [2]])
    for start, stop in ((-1, 2), (0, 6), (3, 2)):
        with pytest.raises(IndexError):
            tokens.flat(start, stop)
    for i in (-1, 2):
        with pytest.raises(IndexError):
            tokens.document(i)


def test_dtypes_may_not_mix(tmp_path: Path) -> None:
    with IndexedWriter(tmp_path / "x", np.int32) as writer:
        writer.add(np.array([1]))
    with pytest.raises(DataError, match="int32"):
        TokenSource((IndexedDataset(tmp_path / "x"),), np.dtype(np.uint16))
