from __future__ import annotations

from pathlib import Path

import numpy as np

from cuvee.testing.corpora import EOS, synthetic


def test_it_depends_on_its_arguments_only(tmp_path: Path) -> None:
    one = synthetic(tmp_path / "1").fingerprint
    assert synthetic(tmp_path / "2").fingerprint == one
    assert synthetic(tmp_path / "3", seed=1).fingerprint != one


def test_domains_keep_their_text_when_others_come(tmp_path: Path) -> None:
    few, many = synthetic(tmp_path / "1", ("a", "b")), synthetic(tmp_path / "2", ("a", "b", "c", "C/C++"))
    for domain in ("a", "b"):
        assert few.source(domain, "train").document(3).tolist() == many.source(domain, "train").document(3).tolist()
    assert many.source("C/C++", "verify").tokens > 0


def test_documents_end_with_the_end_token_and_natural_is_not_uniform(tmp_path: Path) -> None:
    corpus = synthetic(tmp_path, vocab=64)
    source = corpus.source("a", "train")
    assert all(source.document(i)[-1] == EOS and EOS not in source.document(i)[:-1] for i in range(source.documents))
    assert int(source.flat(0, source.tokens).max()) < 64
    shares = np.array(list(corpus.train_tokens.values()))
    assert shares.max() > 1.3 * shares.min()


def test_text_is_predictable_and_differs_between_domains(tmp_path: Path) -> None:
    corpus = synthetic(tmp_path)

    def bits(source: str, other: str) -> float:
        """Bits per token of `other` under the bigram counts of `source`."""
        train, held = corpus.source(source, "train"), corpus.source(other, "search")
        counts = np.full((256, 256), 0.05)
        tokens = train.flat(0, train.tokens)
        np.add.at(counts, (tokens[:-1], tokens[1:]), 1)
        p = counts / counts.sum(1, keepdims=True)
        tokens = held.flat(0, held.tokens)
        return float(-np.log2(p[tokens[:-1], tokens[1:]]).mean())

    own = [bits(d, d) for d in corpus.domains]
    assert own[0] < own[1] < own[2] < 3.0
    assert bits("a", "b") > own[1] + 1
