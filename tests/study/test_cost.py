from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from cuvee.base.codec import to_json
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


def test_more_workers_take_less_time(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    question = problem(corpus)
    plans = [question.plan(question.natural, b) for b in range(16)]

    def seconds(workers: int) -> float:
        return cost.estimate(
            question, corpus, plans, finished=0, budget=0, workers=workers, verify_seeds=0, speed="assumed"
        ).seconds

    assert seconds(1) == pytest.approx(8 * seconds(8))
    assert seconds(100) == seconds(8), "no more at once than the machine has cores"


def test_a_method_that_says_its_runs_is_believed(corpus: Corpus) -> None:
    question = problem(corpus)
    found = cost.estimate(question, corpus, [], finished=0, budget=48, workers=1, verify_seeds=0, speed="assumed")
    assert found.runs == 48


def test_it_reads_well_and_survives_json(folder: Path, corpus: Corpus) -> None:
    found = Study.open(folder, problem(corpus), corpus, Grid()).cost(speed="assumed")
    assert "6 proxy runs" in str(found)
    assert "unproven" not in str(found)
    assert "unproven" in str(replace(found, ratio=1 / 17))
    assert json.loads(json.dumps(to_json(found)))["runs"] == 6


@pytest.mark.slow
def test_calibration_trains_for_real(corpus: Corpus) -> None:
    import torch

    question = problem(corpus)
    threads = torch.get_num_threads()
    found = cost.measure(question.plan(question.natural, 0), corpus)
    assert found is not None
    assert found > 0
    assert torch.get_num_threads() == threads
