from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from cuvee.base.codec import to_json
from cuvee.base.errors import InfeasibleError, UsageError
from cuvee.methods.auto import Auto
from cuvee.methods.mixmin import MixMin
from cuvee.plan.problem import Proxy
from cuvee.plan.sizes import size
from cuvee.shards.corpus import Corpus
from cuvee.study import cost
from cuvee.study.study import Study
from tests.study.fakes import Grid, Inline, problem


def test_it_counts_what_is_left(folder: Path, corpus: Corpus) -> None:
    question = problem(corpus)
    study = Study.open(folder, question, corpus, Grid())
    first = study.cost(workers=2, verify_seeds=3, speed="assumed")
    assert (first.runs, first.verify_runs, first.finished) == (6, 15, 0)
    assert first.tokens == 21 * question.plan(question.natural, 0).tokens
    assert first.flops > first.tokens * size("0.1M").flops_per_token(corpus.vocab_size, 16)
    assert first.rate_is == "assumed"
    assert study.rounds() == (), "counting writes no round"
    study.run(runner=Inline())
    last = study.cost(workers=2, verify_seeds=0, speed="assumed")
    assert (last.runs, last.verify_runs, last.finished, last.seconds) == (0, 0, 10, 0)


def test_epochs_match_at_both_scales(folder: Path, corpus: Corpus) -> None:
    question = problem(corpus)
    found = Study.open(folder, question, corpus, Grid()).cost(speed="assumed")
    assert found.ratio == pytest.approx(4096 / 40_000)
    for row, n, pool in zip(found.epochs, question.tokens, question.pools, strict=True):
        assert (row.tokens, row.pool) == (n, pool)
        assert row.natural == pytest.approx(40_000 / sum(question.tokens))
        assert row.uniform == pytest.approx(40_000 / 3 / n)
        assert row.proxy_designed == pytest.approx(row.designed, rel=1e-3)
        assert row.designed[0] <= row.natural <= row.designed[1]
        assert row.most == pytest.approx(min(4.0, 40_000 / n))
    smallest = min(zip(question.pools, question.domains, strict=True))
    assert found.smallest_pool == (smallest[1], smallest[0] // 16)


def test_ngram_models_are_no_trainings(folder: Path, corpus: Corpus) -> None:
    question = problem(corpus)
    study = Study.open(folder, question, corpus, Auto(runs=16, blocks=4, evidence="ngrams"))
    found = study.cost(verify_seeds=0, speed="assumed")
    assert (found.runs, found.finished) == (16, 0)
    assert max(row.designed[1] / row.most for row in found.epochs) <= 1 + 1e-6, "an expert is no mixture of the design"
    assert replace(found, runs=0) == replace(
        Study.open(folder.parent / "plain", question, corpus, Auto(runs=16, blocks=4)).cost(
            verify_seeds=0, speed="assumed"
        ),
        runs=0,
    )
    mixmin = Study.open(folder.parent / "mixmin", question, corpus, MixMin(experts="ngrams"))
    assert mixmin.cost(verify_seeds=0, speed="assumed").runs == 0


def test_more_workers_take_less_time(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    question = problem(corpus)
    plans = [question.plan(question.natural, b) for b in range(16)]

    def found(workers: int) -> cost.CostEstimate:
        return cost.estimate(
            question, corpus, plans, finished=0, budget=(), workers=workers, verify_seeds=0, speed="assumed"
        )

    def seconds(workers: int) -> float:
        return found(workers).seconds - cost.START

    assert seconds(1) == pytest.approx(8 * seconds(8))
    assert seconds(100) == seconds(8), "no more at once than the machine has cores"
    assert found(8).cpu_seconds - 8 * cost.START == pytest.approx(found(1).cpu_seconds - cost.START)
    low, high = found(8).between
    assert low < found(8).seconds < high


def test_copies_are_paid_for(corpus: Corpus) -> None:
    question = problem(corpus)

    def found(together: int, runs: int, blocks: int, seeds: int, workers: int = 1) -> cost.CostEstimate:
        at = replace(question, proxy=replace(question.proxy, together=together))
        plans = [at.plan(at.natural, k % blocks) for k in range(runs)]
        return cost.estimate(
            at, corpus, plans, finished=0, budget=(), workers=workers, verify_seeds=seeds, speed="assumed"
        )

    three = found(3, 16, 4, 2)  # two batches in each of four blocks, two for five arms in each of two
    assert three.copies == (24 - 16) + (12 - 10)
    assert "and 10 copies or more, to fill batches of together: 3" in str(three)
    assert three.cpu_seconds - 2 * cost.START == pytest.approx(36 * three.each.seconds)
    assert three.seconds == three.cpu_seconds
    assert found(3, 4, 4, 0).copies == 8
    assert found(2, 9, 4, 0).copies == 1, "three in one block, two in each of three"
    assert found(1, 16, 4, 2).copies == 0
    assert found(5, 20, 4, 2).copies == 0
    assert "copies" not in str(found(1, 16, 4, 2))
    many = found(1, 16, 4, 0, workers=1000)
    assert many.disk == found(1, 16, 4, 0, workers=16).disk
    assert many.cpu_seconds == pytest.approx(16 * (many.each.seconds + cost.START)), "no worker starts without a run"


def test_a_method_that_says_its_runs_is_believed(corpus: Corpus) -> None:
    question = problem(corpus)
    found = cost.estimate(
        question,
        corpus,
        [],
        finished=0,
        budget=[(question.plan(question.natural, 0), 48)],
        workers=1,
        verify_seeds=0,
        speed="assumed",
    )
    assert found.runs == 48


def test_it_reads_well_and_survives_json(folder: Path, corpus: Corpus) -> None:
    found = Study.open(folder, problem(corpus), corpus, Grid()).cost(speed="assumed")
    assert "6 proxy runs" in str(found)
    assert "unproven" not in str(found)
    assert "unproven" in str(replace(found, ratio=1 / 17))
    assert json.loads(json.dumps(to_json(found)))["runs"] == 6


def test_larger_runs_are_priced_by_their_flops(folder: Path, corpus: Corpus) -> None:
    question = problem(corpus)
    at = Proxy(tokens=16_384, size="0.3M", seq_len=16, batch=16, eval_points=1)
    study = Study.open(folder, question, corpus, Grid(per_round=4))
    proxies = study.cost(verify_seeds=2, speed="assumed")
    both = study.cost(verify_seeds=2, speed="assumed", large=cost.Larger(at, seeds=3, transfer=4))
    large = both.large
    assert large is not None
    # four mixtures of the first round, two a block, and natural in both blocks
    assert (large.verify_runs, large.transfer_runs) == (15, 6)
    assert large.each.tokens == 16_384
    assert large.each.seconds / both.each.seconds == pytest.approx(large.each.flops / both.each.flops)
    per_token = size("0.3M").flops_per_token(corpus.vocab_size, 16)
    assert large.each.flops > 16_384 * per_token
    assert both.tokens - proxies.tokens == 21 * 16_384
    assert both.seconds - proxies.seconds == pytest.approx(21 * large.each.seconds + 2 * cost.START)
    assert both.disk > proxies.disk
    assert large.smallest_pool[1] == pytest.approx(4 * both.smallest_pool[1], abs=4)
    assert "15 for verification, 6 for the transfer check" in str(both)
    assert "transfer" not in str(large_without(both))
    with pytest.raises(UsageError, match="larger runs"):
        study.cost(speed="assumed", large=cost.Larger(question.proxy, 3, 0))


def large_without(found: cost.CostEstimate) -> cost.LargerCost:
    assert found.large is not None
    return replace(found.large, transfer_runs=0)


def test_larger_runs_with_small_pools_are_refused(folder: Path, corpus: Corpus) -> None:
    # whole steps: the one step of the proxies is longer than all that the larger runs train on
    question = replace(problem(corpus), proxy=Proxy(tokens=2048, size="0.1M", seq_len=16, batch=1600, eval_points=1))
    at = Proxy(tokens=2048, size="0.3M", seq_len=16, batch=16, eval_points=1)
    assert min(question.tokens) * 2048 // question.target_tokens < 1600 <= min(question.pools)
    study = Study.open(folder, question, corpus, Grid())
    with pytest.raises(InfeasibleError, match="pools matched"):
        study.cost(speed="assumed", large=cost.Larger(at, 2, 0))
