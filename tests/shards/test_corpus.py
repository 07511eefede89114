from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import pytest

from cuvee.base.errors import DataError, UsageError
from cuvee.shards.corpus import Corpus
from cuvee.shards.splits import SPLITS
from cuvee.testing.corpora import synthetic


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return synthetic(tmp_path / "corpus", documents=20)


def shard_file(corpus: Corpus, suffix: str) -> Path:
    return corpus.path / (corpus.inventory.domains[0].train.shards[0].path + suffix)


def test_it_opens_as_it_was_written(corpus: Corpus) -> None:
    again = Corpus.open(str(corpus.path))
    assert again.domains == ("a", "b", "c")
    assert again.fingerprint == corpus.fingerprint
    assert again.vocab_size == 256
    for domain in again.domains:
        for split in SPLITS:
            source = again.source(domain, split)
            assert source.tokens == again.domain(domain).split(split).tokens > 0
            assert again.bytes_per_token(domain, split) == 1.0
    assert again.train_tokens == {d: again.source(d, "train").tokens for d in again.domains}
    again.check()


def test_a_moved_folder_keeps_its_fingerprint(corpus: Corpus, tmp_path: Path) -> None:
    fingerprint = corpus.fingerprint
    shutil.move(corpus.path, tmp_path / "elsewhere")
    moved = Corpus.open(tmp_path / "elsewhere")
    assert moved.fingerprint == fingerprint
    assert moved.source("a", "train").document(0).size > 0


@pytest.mark.parametrize("suffix", [".bin", ".idx"])
def test_missing_and_cut_shards_are_refused(corpus: Corpus, suffix: str) -> None:
    file = shard_file(corpus, suffix)
    data = file.read_bytes()
    file.write_bytes(data[:-2])
    with pytest.raises(DataError, match=file.name):
        Corpus.open(corpus.path)
    file.unlink()
    with pytest.raises(DataError, match="no such shard"):
        Corpus.open(corpus.path)


def test_another_shard_in_the_place_of_one_is_refused(corpus: Corpus) -> None:
    verify = corpus.inventory.domains[0].verify.shards[0].path
    for suffix in (".bin", ".idx"):
        shutil.copyfile(corpus.path / (verify + suffix), shard_file(corpus, suffix))
    with pytest.raises(DataError, match="as the inventory says"):
        Corpus.open(corpus.path)


def test_changed_bytes_are_found_by_check(corpus: Corpus) -> None:
    file = shard_file(corpus, ".bin")
    data = bytearray(file.read_bytes())
    data[0] ^= 1
    file.write_bytes(data)
    with pytest.raises(DataError, match="has changed since it was written"):
        Corpus.open(corpus.path).check()


def test_unknown_domains_are_answered_with_the_known(corpus: Corpus) -> None:
    with pytest.raises(UsageError, match="one of a, b, c"):
        corpus.source("d", "train")


def test_a_folder_without_inventory_is_no_corpus(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cuvee prepare"):
        Corpus.open(tmp_path)


def test_no_held_out_text_is_said(tmp_path: Path) -> None:
    corpus = synthetic(tmp_path, documents=1, domains=("a",))
    with pytest.raises(DataError, match="'a' has no text in its verify split"):
        corpus.bytes_per_token("a", "verify")
    assert corpus.source("a", "verify").tokens == 0
    assert corpus.source("a", "verify").flat(0, 0).size == 0


def test_it_travels_to_a_worker_by_path(corpus: Corpus) -> None:
    data = pickle.dumps(corpus)
    assert len(data) < 10_000
    assert (
        pickle.loads(data).source("b", "train").flat(0, 9).tolist() == corpus.source("b", "train").flat(0, 9).tolist()
    )
