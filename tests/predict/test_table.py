from __future__ import annotations

from dataclasses import replace

import numpy as np

from cuvee.methods.random import Random
from cuvee.plan.problem import Target
from cuvee.predict.table import Table, mean_weights
from cuvee.testing.worlds import play, world


def test_rows_are_realised_shares_of_done_trials() -> None:
    small = replace(world("law", 1, domains=4), failing=0.4)
    trials = play(small, Random(runs=20, blocks=4)).trials
    table = Table.from_trials(small.problem, trials[::-1])
    done = [t for t in trials if t.status == "done"]
    assert table.ids == tuple(t.id for t in done)
    assert table.left_out == len(trials) - len(done) > 0
    np.testing.assert_allclose(table.shares_ND[0], np.array(done[0].realised) / sum(done[0].realised))
    np.testing.assert_allclose(table.shares_ND.sum(1), 1)
    assert [bool(n) for n in table.natural_N] == [t.plan.schedule.at(0) == small.problem.natural for t in done]


def test_no_trials_give_an_empty_table() -> None:
    table = Table.from_trials(world("law", 1, domains=4).problem, ())
    assert table.shares_ND.shape == table.loss_NT.shape == (0, 4)
    assert table.blocks == ()


def test_centred_and_paired() -> None:
    table = Table(
        ("a", "b"),
        ("a", "b"),
        np.full((5, 2), 0.5),
        np.zeros((5, 2)),
        np.array([0, 0, 1, 1, 2]),
        tuple("vwxyz"),
        np.array([0, 1, 1, 0, 1]),
    )
    values_N = np.array([1.0, 4.0, 2.0, 7.0, 9.0])
    np.testing.assert_allclose(table.centred(values_N), [-1.5, 1.5, -2.5, 2.5, 0])
    np.testing.assert_allclose(table.paired(values_N), [0, 3, -5, 0, np.nan])


def test_mean_weights() -> None:
    np.testing.assert_allclose(mean_weights((Target("b", 3.0), Target("a")), ("a", "b", "c")), [0.25, 0.75, 0])
