from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cuvee.base.errors import DataError, UsageError
from cuvee.mixture.schedule import Schedule
from cuvee.mixture.weights import Mixture
from cuvee.shards.feed import DomainFacts, Sources
from cuvee.shards.indexed import IndexedDataset, IndexedWriter
from cuvee.shards.sources import TokenSource
from cuvee.stream.loader import Loader


def domain(
    folder: Path, name: str, *, end: int | None = 99, count: int = 40, low: int = 0, cut: int = 1
) -> TokenSource:
    """Documents of random ids below 90, in `cut` shards; the same tokens whatever the cut."""
    rng = np.random.default_rng(low)
    rows = [rng.integers(low, 90, 30) for _ in range(count)]
    shards = []
    for k in range(cut):
        with IndexedWriter(folder / f"{name}-{k}", np.uint16) as writer:
            for row in rows[k * count // cut : (k + 1) * count // cut]:
                writer.add(row if end is None else np.append(row, end))
        shards.append(IndexedDataset(folder / f"{name}-{k}"))
    return TokenSource(shards, np.dtype(np.uint16))


def feed(
    domains: dict[str, TokenSource], vocab: int | None = None, eos: int | None = None, stated: str = ""
) -> Sources:
    facts = {name: DomainFacts("megatron", stated=name == stated) for name in domains}
    return Sources(domains, facts, vocab_size=vocab, eos=eos)


def test_a_loader_takes_sources(tmp_path: Path) -> None:
    sources = feed({"a": domain(tmp_path, "a"), "ß/网": domain(tmp_path, "b", low=50)}, vocab=100)
    schedule = Schedule.constant(Mixture.from_shares({"a": 0.5, "ß/网": 0.5}))
    loader = Loader(sources, schedule, seq_len=16, seed=0, batch=4)
    batch = next(loader)
    assert [(row.min() >= 50) == bool(d) for row, d in zip(batch.tokens, batch.domains, strict=True)] == [True] * 4
    assert loader.state().corpus == sources.fingerprint


def test_the_fingerprint_is_of_content(tmp_path: Path) -> None:
    here, there = tmp_path / "x", tmp_path / "y"
    first = feed({"a": domain(here, "a")}).fingerprint
    assert feed({"a": domain(there, "other name")}).fingerprint == first
    assert feed({"b": domain(here, "a")}).fingerprint != first
    assert feed({"a": domain(here, "longer", count=41)}).fingerprint != first
    data = bytearray((there / "other name-0.bin").read_bytes())
    data[-4] ^= 1
    (there / "other name-0.bin").write_bytes(data)
    changed = TokenSource([IndexedDataset(there / "other name-0")], np.dtype(np.uint16))
    assert feed({"a": changed}).fingerprint != first


def test_ids_outside_the_vocabulary_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has the token id 99") as caught:
        feed({"a": domain(tmp_path, "a")}, vocab=95)
    assert "below 95" in caught.value.wanted


def test_a_full_check_finds_what_samples_miss(tmp_path: Path) -> None:
    with IndexedWriter(tmp_path / "big", np.uint16) as writer:
        for k in range(200):
            writer.add(np.full(1000, 7 if k != 77 else 5000))
    source = TokenSource([IndexedDataset(tmp_path / "big")], np.dtype(np.uint16))
    sources = feed({"a": source}, vocab=100)
    with pytest.raises(DataError, match=r"token id 5,000 .at token 77,000"):
        sources.check()


def test_two_tokenizers_show_in_how_documents_end(tmp_path: Path) -> None:
    a, b, none = (domain(tmp_path, n, end=e) for n, e in (("a", 99), ("b", 98), ("none", None)))
    with pytest.raises(DataError, match="'b' end with token 98") as caught:
        feed({"a": a, "b": b})
    assert "99, as those of 'a'" in caught.value.wanted
    with pytest.raises(DataError, match="'a' end with token 99"):
        feed({"a": a}, eos=98)
    assert feed({"a": a, "b": b}, stated="b").domains == ("a", "b")
    assert feed({"a": a, "none": none}).samples["none"].ending is None


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    sources = feed({"web": domain(tmp_path, "a")})
    with pytest.raises(UsageError, match="no domain 'wep'") as caught:
        sources.source("wep")
    assert "web" in caught.value.fix
    with pytest.raises(UsageError, match="no search split"):
        sources.source("web", "search")
    with pytest.raises(DataError, match="no domains"):
        feed({})
    with pytest.raises(DataError, match="'x' holds no tokens"):
        feed({"x": domain(tmp_path, "empty", count=0)})
