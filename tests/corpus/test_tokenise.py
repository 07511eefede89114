from __future__ import annotations

from pathlib import Path

import pytest

from cuvee.corpus.prepare import prepare
from cuvee.shards.splits import SPLITS
from tests.corpus.writing import texts


def test_many_chunks_and_shards_hold_the_same_documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = texts(tmp_path / "in")
    whole = prepare(source, out=tmp_path / "whole", tokenizer="bytes", min_held_out_bytes=1000)
    with monkeypatch.context() as patch:
        patch.setattr("cuvee.corpus.chunks.CHUNK", 5000)
        patch.setattr("cuvee.corpus.tokenise.SHARD_BYTES", 4000)
        patch.setattr("cuvee.corpus.tokenise._BATCH_BYTES", 1000)
        parts = prepare(source, out=tmp_path / "parts", tokenizer="bytes", min_held_out_bytes=1000)
    assert len(parts.domain("a").train.shards) > 3
    for domain in whole.domains:
        for split in SPLITS:
            one, many = whole.source(domain, split), parts.source(domain, split)
            assert one.lengths.tolist() == many.lengths.tolist()
            assert one.flat(0, one.tokens).tolist() == many.flat(0, many.tokens).tolist()
        assert whole.domain(domain).overlap_search == parts.domain(domain).overlap_search
