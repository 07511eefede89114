from __future__ import annotations

from pathlib import Path

import pytest

from cuvee.bench import scaling
from cuvee.testing.corpora import synthetic


@pytest.mark.slow
def test_both_make_the_runs(tmp_path: Path) -> None:
    found = scaling.run(synthetic(tmp_path / "corpus"), workers=2, runs=1, tokens=8_192, repetitions=1)
    assert (found.workers, found.runs) == (2, 2)
    assert len(found.pool) == len(found.bare) == 1
    assert found.ratio == pytest.approx(found.pool[0] / found.bare[0])
    assert found.pool[0] > 0
