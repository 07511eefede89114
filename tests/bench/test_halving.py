"""What halving saves and loses: figures of made-up and of small real runs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cuvee.base.rng import generator
from cuvee.bench.halving import in_worlds, outcome, run
from cuvee.bench.worlds import Setting
from cuvee.methods import Halving
from cuvee.plan.problem import Proxy
from cuvee.plan.rungs import ladder
from cuvee.testing.corpora import synthetic
from cuvee.testing.worlds import world

pytestmark = pytest.mark.slow

METHOD = Halving(runs=24, blocks=2)


def test_what_would_have_happened_to_runs_that_are_all_made() -> None:
    w = world("power", 5, domains=5)
    rungs = ladder(w.problem, 3, 0.5)
    first = METHOD.propose(w.problem, (), generator(w.problem.seed, "propose", 0))
    trials = {p: w.run(p) for r in rungs for p in (r.plan(f.schedule.at(0), f.block) for f in first)}
    found = outcome(w.problem, METHOD, trials)
    spent = sum(n * plan.tokens for plan, n in METHOD.stages(w.problem))
    assert found.saved == pytest.approx(1 - spent / (24 * w.problem.proxy.trained_tokens))
    assert (found.kept, found.blocks) == (4 / 22, 2)
    assert found.lost >= 0
    assert (found.lost == 0) == (found.blocks_survived == 2)


def test_figures_in_worlds_have_the_first_method_as_their_base() -> None:
    rows = in_worlds(2, settings=[Setting("law", False, 4)], methods={"one": METHOD, "two": METHOD})
    assert [(r["setting"].split(",")[0], r["method"]) for r in rows] == [
        ("law", "one"), ("law", "two"), ("all", "one"), ("all", "two")
    ]  # fmt: skip
    assert all(r["wins"] == 0.5 for r in rows)
    assert rows[0]["full_runs"] == pytest.approx(24 / 4 + 12 / 2 + 6, rel=0.02)


def test_rungs_of_a_corpus(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    proxy = Proxy(tokens=3000, size="0.1M", seq_len=16, batch=8, eval_points=1)
    found = run(synthetic(tmp_path), method=Halving(runs=8, blocks=2, rungs=2), proxy=proxy)
    low, full = found["rungs"]
    assert (low["mixtures"], full["spearman"], full["slope"], full["away"]) == (6, pytest.approx(1.0), 1.0, 0.0)
    assert -1 <= low["spearman"] <= 1
    assert low["tokens"] < full["tokens"]
    assert len(found["mixtures"]) == 6
    assert found["halving"][0]["blocks"] == 2
