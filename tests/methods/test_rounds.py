"""How wishes for runs are spread over blocks."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from cuvee.methods.rounds import anywhere, everywhere, spread
from cuvee.mixture.weights import Mixture
from cuvee.plan.trial import Trial
from cuvee.testing.worlds import world


@pytest.mark.parametrize("batch", [1, 3, 5, 6, 8])
def test_batches_of_any_size_favour_no_block(batch: int) -> None:
    w, rng = world("law", 1, domains=3), np.random.default_rng(0)
    trials: list[Trial] = []
    for _ in range(7):
        plans = spread(w.problem, anywhere(w.problem, rng.dirichlet(np.ones(3), batch)), trials, batch, 4)
        assert len(plans) == batch
        trials += [w.run(plan) for plan in plans]
        counts = Counter(trial.plan.block for trial in trials)
        assert max(counts.values()) - min(counts[block] for block in range(4)) <= 1


def test_what_was_tasted_goes_elsewhere_or_nowhere() -> None:
    w = world("law", 1, domains=3)
    mixture = Mixture.from_array(w.problem.domains, np.array([0.5, 0.3, 0.2]))
    first = spread(w.problem, [(mixture, 2)], (), 1, 3)
    trials = [w.run(plan) for plan in first]
    rest = spread(w.problem, [*everywhere(mixture, 3), (mixture, None)], trials, 9, 3)
    assert [plan.block for plan in (*first, *rest)] == [2, 0, 1]
