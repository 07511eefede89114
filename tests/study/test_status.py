from __future__ import annotations

import json
from pathlib import Path

from cuvee.base.codec import to_json
from cuvee.shards.corpus import Corpus
from cuvee.study import claims
from cuvee.study.study import Study
from tests.study.fakes import Grid, Inline, problem


def test_a_new_study(folder: Path, corpus: Corpus) -> None:
    found = Study.open(folder, problem(corpus), corpus, Grid()).status()
    assert found.stages == ()
    assert not found.chosen
    assert "nothing planned yet" in str(found)


def test_what_runs_now_and_what_waits(folder: Path, corpus: Corpus) -> None:
    study = Study.open(folder, problem(corpus), corpus, Grid())
    study.run(runner=Inline())
    gone = study.trials()[0].id
    (folder / "trials" / gone[:2] / f"{gone}.json").unlink()
    claim = claims.take(folder / "claims" / f"{gone}.json")
    assert claim is not None
    found = Study.load(folder).status()
    claim.release()
    assert sum(s.running for s in found.stages) == 1
    assert sum(s.left for s in found.stages) == 1
    assert found.seconds == 9 * 0.5
    assert "1 running" in str(found)
    assert json.loads(json.dumps(to_json(found)))["method"] == "grid"
    assert found.folder == folder.name
