from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cuvee.base.codec import from_json, to_json
from cuvee.plan.experts import expert, experts
from cuvee.plan.problem import Problem, Proxy
from cuvee.plan.trial import WANTS, Trial
from cuvee.predict.evidence import ensemble
from cuvee.proxies.evaluate import held_out
from cuvee.proxies.ngram import NGram
from cuvee.proxies.train import train
from cuvee.shards.corpus import Corpus


def problem_of(corpus: Corpus) -> Problem:
    proxy = Proxy(tokens=4000, size="0.1M", seq_len=16, batch=4, eval_points=1)
    return Problem.from_corpus(corpus, target_tokens=8000, targets="all-domains", proxy=proxy)


def by_hand(text: list[int], context: tuple[int, ...], token: int, vocab: int, order: int) -> float:
    """Absolute discounting, from its definition."""
    p = 1.0 / vocab
    for length in range(order):
        grams = [tuple(text[i : i + length + 1]) for i in range(len(text) - length)]
        counts = {gram: grams.count(gram) for gram in grams}
        once, twice = (sum(c == k for c in counts.values()) for k in (1, 2))
        d = once / (once + 2 * twice) if once and twice else 0.5
        if length > len(context):
            break
        after = {gram: c for gram, c in counts.items() if gram[:-1] == context[len(context) - length :]}
        if total := sum(after.values()):
            p = (max(after.get((*context[len(context) - length :], token), 0) - d, 0) + d * len(after) * p) / total
    return p


@settings(max_examples=30)
@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=40),
    st.lists(st.integers(0, 5), min_size=2, max_size=6),
    st.integers(1, 4),
)
def test_probabilities_are_those_of_the_definition(text: list[int], window: list[int], order: int) -> None:
    nats_L = NGram.of(np.array(text), 6, order).nats(np.array([window]))[0]
    expected = [by_hand(text, tuple(window[:i]), window[i], 6, min(order, len(text))) for i in range(1, len(window))]
    assert np.exp(-nats_L) == pytest.approx(expected)


@settings(max_examples=30)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.lists(st.integers(0, 5), min_size=1, max_size=4))
def test_probabilities_sum_to_one(text: list[int], context: list[int]) -> None:
    model = NGram.of(np.array(text), 6)
    windows = np.array([[*context, token] for token in range(6)])
    assert np.exp(-model.nats(windows)[:, -1]).sum() == pytest.approx(1.0)


def test_longer_contexts_predict_a_chain_better(corpus: Corpus) -> None:
    tokens = corpus.source("a", "train").flat(0, corpus.source("a", "train").tokens)
    text = held_out(corpus, "a", "search", 16)
    windows, counts = text.tokens_WL1.numpy(), text.counts_WL.numpy()
    losses = [float(NGram.of(tokens, corpus.vocab_size, order).nats(windows)[counts].mean()) for order in (1, 2)]
    assert losses[1] < losses[0] - 0.5
    assert losses[0] < math.log(corpus.vocab_size)


def test_a_run_of_an_ngram_scores_and_records_as_others_do(corpus: Corpus) -> None:
    problem = problem_of(corpus)
    trials = tuple(t for plan in experts(problem, 1, "ngram", "token_log_likelihoods") for t in train([plan], corpus))
    assert [t.status for t in trials] == ["done"] * 3
    assert trials[0].realised == (corpus.train_tokens["a"], 0, 0)
    assert from_json(Trial, to_json(trials[0])) == trials[0]
    loss_DT = np.array([[t.loss(name) for name in problem.domains] for t in trials])
    assert np.all(loss_DT.argmin(0) == np.arange(3)), "every text is predicted best by its own domain's model"
    made = ensemble(problem.domains, trials, "ngram", "token_log_likelihoods")
    # 512 of about 600 tokens, so about the same loss
    assert made.loss(np.eye(3)).diagonal() == pytest.approx(loss_DT.diagonal(), rel=0.15)
    assert (
        train([experts(problem, 1, "ngram", "token_log_likelihoods")[0]], corpus)[0].likelihoods
        == trials[0].likelihoods
    )


def test_an_expert_sees_its_domain_alone_and_records_what_its_losses_are_made_of(corpus: Corpus) -> None:
    problem = problem_of(corpus)
    (trial,) = train([expert(problem, "b", 0, "expert", WANTS[0])], corpus)
    assert trial.plan.pools == (0, min(problem.proxy.trained_tokens, corpus.train_tokens["b"]), 0)
    assert trial.realised == (0, problem.proxy.trained_tokens, 0)
    for record in trial.likelihoods:
        bits = record.nats_X.sum() / math.log(2) / record.sizes_X.sum()
        assert bits == pytest.approx(trial.loss(record.target), rel=1e-6)


def test_what_is_recorded_is_in_one_order_for_all_runs_and_of_the_split_of_the_plan(corpus: Corpus) -> None:
    problem = problem_of(corpus)
    trials = [train([plan], corpus)[0] for plan in experts(problem, 2, "ngram", "token_log_likelihoods")[2:4]]
    assert [r.examples for r in trials[0].likelihoods] == [r.examples for r in trials[1].likelihoods]
    assert len({r.examples for r in trials[0].likelihoods}) == 3
