from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cuvee.bench import order
from cuvee.testing.corpora import synthetic


def test_scatter_is_the_variance_within_windows() -> None:
    scatter, gradients = order._Scatter(), torch.randn(order.WINDOW, 2, 5)
    for gradient in gradients:
        scatter.add(gradient)
    assert scatter.mean() == pytest.approx(tuple(gradients.var(0).sum(1).tolist()), rel=1e-4)


@pytest.mark.slow
def test_both_orders_are_trained_and_compared(tmp_path: Path) -> None:
    found = order.run(synthetic(tmp_path, documents=60), seeds=2, tokens=40_000)
    loss, weighted, scatter = found["rows"]
    assert weighted["low"] < weighted["mean"] < weighted["high"]
    assert loss["low"] < loss["mean"] < loss["high"]
    assert scatter["low"] < scatter["mean"] < scatter["high"]
    assert len(found["seeds"]) == 2
    first = found["seeds"][0]
    assert first["loss exact"] != first["loss random"]
    assert first["share off exact"] < 0.02 < first["share off random"]
