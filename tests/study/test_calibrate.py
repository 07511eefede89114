from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cuvee.proxies.train import train
from cuvee.shards.corpus import Corpus
from cuvee.study.calibrate import measure
from tests.study.fakes import problem


@pytest.mark.slow
def test_it_foretells_a_real_run_within_a_factor(corpus: Corpus) -> None:
    """A busy machine may be off by much; what is left out (scoring, steps, the start) would be off by more."""
    import torch

    question = problem(corpus)
    plan = replace(question.plan(question.natural, 0), steps=600, eval_points=4)
    found = measure(plan, corpus, workers=2)
    assert found is not None
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    (trial,) = train([plan], corpus)
    torch.set_num_threads(threads)
    assert trial.cost.cpu_seconds / 2.5 < found.run < trial.cost.cpu_seconds * 2.5
    assert 0.3 < found.start < 30
    assert found.stretch >= 1


@pytest.mark.slow
def test_a_run_that_cannot_be_made_has_no_price(corpus: Corpus, tmp_path: Path) -> None:
    question = problem(corpus)
    plan = replace(question.plan(question.natural, 0), pools=(0, 0, 0))
    assert measure(plan, corpus) is None
