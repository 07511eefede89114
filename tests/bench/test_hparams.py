from __future__ import annotations

from pathlib import Path

import numpy as np
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


def test_how_far_swapped_mixtures_were_apart_is_in_their_own_noise() -> None:
    """Natural's runs are far noisier than the others here: that makes no order of two mixtures less certain."""
    natural_B1 = np.array([[0.0], [3.0], [-3.0], [1.0]])
    mixtures_BM = np.array([[1.0, 1.1, 2.0], [1.1, 1.2, 2.0], [0.9, 1.1, 2.1], [1.0, 1.0, 1.9]])
    first_BM = np.hstack([natural_B1, mixtures_BM])
    found = paired._moved("0.1M", 1, paired.Variant("other"), first_BM, first_BM[:, [0, 2, 1, 3]], [])
    gaps_BP = mixtures_BM[:, [0, 0, 1]] - mixtures_BM[:, [1, 2, 2]]
    error = np.sqrt(gaps_BP.var(axis=0, ddof=1).mean() / 4)
    assert found.swapped == 1
    assert found.widest == pytest.approx(abs(gaps_BP[:, 0].mean()) / error)
    assert found.noise > 10 * error
