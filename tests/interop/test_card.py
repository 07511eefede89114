from __future__ import annotations

import pytest

from cuvee.interop.card import card
from cuvee.mixture.schedule import Phase, Schedule
from cuvee.mixture.weights import Mixture
from cuvee.plan.choice import Arm, Choice, Estimate, Range, Verification
from cuvee.plan.problem import Problem, Proxy
from cuvee.shards.corpus import Corpus
from cuvee.testing.corpora import synthetic

MIXTURE = Schedule.constant(Mixture.from_shares({"a": 0.5, "b": 0.3, "c|d": 0.2}))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return synthetic(tmp_path_factory.mktemp("card") / "corpus", domains=("a", "b", "c|d"), documents=60)


def arm(name: str, mean: float) -> Arm:
    return Arm(
        name, MIXTURE, (1000, 1001), (mean, mean), (Estimate("objective", mean, mean - 0.01, mean + 0.01, 0.99),)
    )


def test_a_card_with_everything(corpus: Corpus) -> None:
    problem = Problem.from_corpus(
        corpus, target_tokens=200_000, targets={"a": 1.0}, proxy=Proxy(tokens=100_000, seq_len=16), small_pools="cap"
    )
    choice = Choice(
        "regression",
        MIXTURE,
        (Estimate("objective", -0.1, -0.2, -0.01, 0.97),),
        (Range("a", 0.4, 0.6, 0.002),),
        ("The cap of b binds.",),
        ("x", "y"),
        citation=("Liu et al. 2024, arXiv:2407.01492",),
    )
    verified = Verification((arm("choice", -0.08), arm("natural", 0.0), arm("uniform", -0.09)), 0.02, ())
    text = card(
        choice,
        corpus,
        target_tokens=200_000,
        problem=problem,
        verification=verified,
        licences={"a": "CC-BY-4.0"},
        name="m*",
    )
    assert text.startswith("# m\\*\n")
    assert "| a | 50.00% | 40.0% to 60.0% | 100,000 |" in text
    assert "CC-BY-4.0" in text
    assert text.count("not stated") == 2
    assert "c\\|d" in text
    assert "r/R = 0.5000" in text
    assert "predicted: -0.1000 bits/byte" in text
    assert "verified in 2 fresh blocks: -0.0800" in text
    assert "uniform did better in the same blocks: -0.0900" in text
    assert "arXiv:2407.01492" in text
    assert corpus.fingerprint in text
    assert "not verified" not in text


def test_a_card_of_bare_shares_says_what_it_does_not_know(corpus: Corpus) -> None:
    two = Schedule((*MIXTURE.phases, Phase(50_000, Mixture.from_shares({"a": 1, "b": 0, "c|d": 0}))))
    text = card(two, corpus, target_tokens=100_000)
    assert "no search stands behind it" in text
    assert "**not verified**" in text
    assert "from 50,000 tokens: a 100.00%" in text
    assert "| a | 75.00% |" in text
