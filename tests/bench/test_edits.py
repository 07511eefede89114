from __future__ import annotations

import numpy as np
import pytest

from cuvee.bench.edits import EDITED, Changed, _saved, edited, run

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", EDITED)
def test_old_runs_are_runs_of_the_world_before(name: Changed) -> None:
    """Lifted, they have about the losses that the world after the edit has there."""
    new, lifted = edited(0, name, 16)
    (past,) = lifted.past
    past.check(new.problem.domains)
    lift = past.lift()
    w_ND = lift.shares(np.array([run.shares for run in past.runs]))
    kept_N = (
        w_ND[:, len(lift.after) :].sum(1) < 0.02
    )  # losses of today are unknown where there is something that is gone
    order = [lift.after.index(d) for d in new.problem.domains]
    truth_NT = new.losses(w_ND[kept_N][:, order])[:, [new.problem.domains.index(t) for t in past.targets]]
    found_NT = np.array([run.losses for run in past.runs])[kept_N]
    assert len(found_NT) > 2
    missed_NT = (found_NT - found_NT.mean(0)) - (truth_NT - truth_NT.mean(0))
    # offsets of blocks are 0.02, bends and runs 0.012 and 0.01, what mixtures do 0.08 to 0.18
    assert missed_NT.std() < 0.04
    assert all(t.name in past.targets for t in new.problem.objective)


def test_saved_runs_are_read_off_the_line() -> None:
    skill_C = np.array([0.5, 0.9, 0.8, 1.0])
    assert _saved((8, 16, 24, 32), skill_C, 8, 0.7) == 4, "half way to 16"
    assert _saved((8, 16, 24, 32), skill_C, 16, 0.9) == 0, "a dip is no skill lost"
    assert _saved((8, 16, 24, 32), skill_C, 16, 0.5) == -8
    assert _saved((8, 16, 24, 32), skill_C, 8, 2.0) == 24, "no further than was tried"


def test_old_runs_save_new_ones_where_the_edit_is_exact() -> None:
    (row,) = run(3, runs=(8, 16), reused=(8,), edits=("add",), predictor="ridge-log")
    assert row["new_runs"] == 8
    assert float(str(row["regret_beside_old"])) < float(str(row["regret_alone"])) < float(str(row["natural"])) * 2
    assert int(str(row["saved_by_regret"])) > 0
    assert int(str(row["saved_by_rank"])) > 0
