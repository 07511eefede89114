from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cuvee.bench import hparams, paired
from cuvee.plan.sizes import learning_rate, size
from cuvee.testing.corpora import synthetic


@pytest.mark.slow
def test_a_row_for_every_run(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    corpus = synthetic(tmp_path)
    rows = hparams.run(corpus, sizes=[("0.1M", 3_000)], scales=[0.5, 1.0], blocks=[0, 1])["rows"]
    assert [(r["size"], r["block"], r["scale"], r["status"]) for r in rows] == [
        ("0.1M", block, scale, "done") for block in (0, 1) for scale in (0.5, 1.0)
    ]
    assert rows[1]["learning_rate"] == learning_rate(size("0.1M").parameters, 3_000)
    assert len({r["loss"] for r in rows}) == 4


@pytest.mark.slow
def test_the_order_of_mixtures_at_other_rates(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    rows = hparams.order(synthetic(tmp_path, documents=100), sizes=[("0.1M", 1_500)], blocks=(0, 1))
    assert [(r.size, r.variant) for r in rows] == [("0.1M", f"{s} x rate") for s in ("1", "0.5", "2")]
    assert rows[0].moved == 0.0
    assert rows[0].order == pytest.approx(1.0)
    assert (rows[0].swapped, rows[0].widest) == (0, 0.0)
    assert all(r.moved > 0 and r.diverged == 0 for r in rows[1:])
    pairs = paired.MIXTURES * (paired.MIXTURES - 1) / 2
    assert all(r.order == pytest.approx(1 - 2 * r.swapped / pairs) for r in rows)  # what Kendall's tau counts
    assert all((r.widest > 0) == (r.swapped > 0) for r in rows)
