from __future__ import annotations

import sys
from pathlib import Path

import pytest

from cuvee.base.errors import UsageError
from cuvee.bench import stream

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="CPU seconds of workers are read from /proc")


@pytest.mark.slow
def test_a_row_for_each_number_of_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = stream.Entrant("broken", "no_such_script")
    monkeypatch.setattr(stream, "ENTRANTS", (stream.ENTRANTS[0], broken))
    found = stream.run(tmp_path, repeats=1, tokens=4_000_000, seconds=0.3, sequences=800)
    assert [(r["loader"], r["workers"]) for r in found["rows"]] == [("cuvee", 0), ("cuvee", 2)]
    for row in found["rows"]:
        assert row["prefix_deviation"] < 1
        assert row["resume_exact"]
        assert row["same_order_workers"]
        assert row["repeats"] == 0
        assert 0 < row["state_bytes"] < 1024
        assert row["mtok_per_cpu_s"] > 0
    ((missing, why),) = [(r["loader"], r["why"]) for r in found["not_measured"]]
    assert missing == "broken"
    assert "no_such_script" in why


def test_an_unknown_loader_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="got webdataset"):
        stream.run(tmp_path, loaders=["webdataset"])
