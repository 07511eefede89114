from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from cuvee.methods.regression import Regression
from cuvee.mixture.edits import Add, Edit, Remove, Revise, lift
from cuvee.mixture.weights import Array
from cuvee.plan.past import Past, PastRun
from cuvee.predict import ridge
from cuvee.predict.combine import block_error
from cuvee.predict.corrected import Corrected
from cuvee.predict.doubt import noises
from cuvee.predict.loglinear import LogLinear
from cuvee.predict.posterior import Predictor, smooth
from cuvee.predict.power import PowerLaw
from cuvee.predict.process import Process
from cuvee.predict.ridge import RidgeLog
from cuvee.predict.stack import Stack
from cuvee.predict.table import PAST, Table
from cuvee.testing.worlds import play, world
from tests.predict.tables import make

pytestmark = pytest.mark.slow

PREDICTORS = (RidgeLog(), LogLinear(), Corrected())


def law(w_ND: Array) -> Array:
    use_DT = np.linspace(0.2, 2.0, w_ND.shape[1] * 2).reshape(w_ND.shape[1], 2)
    return np.asarray(1 + np.exp(-(w_ND @ use_DT)))


def repeated(table: Table, times: int, at: int) -> Table:
    """Row `at` so many times with a part of its weight each."""
    order = np.array([*range(len(table.ids)), *[at] * (times - 1)])
    weight_N = table.weight_N[order].copy()
    weight_N[order == at] /= times
    return replace(
        table,
        shares_ND=table.shares_ND[order],
        loss_NT=table.loss_NT[order],
        block_N=table.block_N[order],
        ids=tuple(f"{i:032x}" for i in range(len(order))),
        mixture_N=table.mixture_N[order],
        weight_N=weight_N,
    )


def fixed_law(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hyperparameters are chosen by left-out rows, of which repeated ones are no fair sample."""
    monkeypatch.setattr(ridge, "PENALTIES", np.array([1.0]))
    monkeypatch.setattr("cuvee.predict.corrected.LENGTHS", (0.3,))
    monkeypatch.setattr("cuvee.predict.corrected.SIGNALS", (10.0,))


@pytest.mark.parametrize("predictor", PREDICTORS, ids=lambda p: type(p).__name__)
def test_a_row_in_parts_is_the_row(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    fixed_law(monkeypatch)
    table = make(law, noise=0.05, runs=24)
    one, parts = predictor.fit(table), predictor.fit(repeated(table, 4, 5))
    w_ND = np.random.default_rng(1).dirichlet(np.ones(5), 6)
    # the nonlinear law stops within its own tolerance
    np.testing.assert_allclose(parts.mean(w_ND), one.mean(w_ND), atol=2e-5)
    for block, fit in one.replicates.items():
        np.testing.assert_allclose(parts.replicates[block].loss(w_ND), fit.loss(w_ND), atol=2e-5)
    # half of an error is pooled over the mixtures of all rows, of which there are more
    half_T = np.array([0.5, 0.5])
    assert parts.error(w_ND[0], w_ND[1], half_T) == pytest.approx(one.error(w_ND[0], w_ND[1], half_T), rel=0.1)


@pytest.mark.parametrize("predictor", [*PREDICTORS, PowerLaw(), Process(), Stack()], ids=lambda p: type(p).__name__)
def test_rows_of_hardly_any_weight_hardly_count(predictor: Predictor) -> None:
    table = make(law, noise=0.01, runs=40)
    spoilt_N = np.arange(40) >= 30
    loss_NT = table.loss_NT + np.where(spoilt_N, np.random.default_rng(3).normal(0, 2, 40), 0)[:, None]
    weight_N = np.where(spoilt_N, 1e-6, 1.0)
    w_ND = np.random.default_rng(1).dirichlet(np.ones(5), 20)

    def missed(fitted: Table) -> float:
        error_NT = predictor.fit(fitted).mean(w_ND) - law(w_ND)
        return float(np.std(error_NT - error_NT.mean(0)))

    clean = missed(table.rows(~spoilt_N))
    assert missed(replace(table, loss_NT=loss_NT, weight_N=weight_N)) < 1.5 * clean + 0.01
    assert missed(replace(table, loss_NT=loss_NT)) > 2 * clean


def test_centred_by_weight() -> None:
    table = replace(make(law, runs=4, blocks=1), weight_N=np.array([1.0, 1.0, 1.0, 0.5]))
    np.testing.assert_allclose(table.weight_N @ table.centred(table.loss_NT), 0, atol=1e-12)
    assert table.rows(np.array([True, False, False, True])).weight_N.tolist() == [1, 0.5]


def past_of(table: Table, edits: tuple[Edit, ...]) -> Past:
    runs = tuple(
        PastRun(i, int(b), tuple(w), tuple(y))
        for i, b, w, y in zip(table.ids, table.block_N, table.shares_ND.tolist(), table.loss_NT.tolist(), strict=True)
    )
    natural = tuple(table.shares_ND.mean(0).tolist())
    return Past("old", table.domains, table.targets, natural, edits, runs)


def old_runs(names: tuple[str, ...], targets: tuple[str, ...], *, noise: float = 0.0) -> Table:
    table = make(lambda w_ND: law(w_ND)[:, : len(targets)], domains=len(names), runs=40, noise=noise, seed=7)
    return replace(table, domains=names, targets=targets)


def test_old_runs_stand_below_those_of_today() -> None:
    w = world("law", 3, domains=4)
    trials = play(w, Regression(runs=16, rounds=1)).trials
    old = old_runs(("d0", "d1", "d2", "x"), ("d0", "d1"))
    problem = replace(w.problem, past=(past_of(old, (Remove("x"), Add("d3"))),))
    alone, table = Table.from_trials(w.problem, trials), Table.from_trials(problem, trials)
    assert table.domains == ("d0", "d1", "d2", "d3", "x (removed)")
    assert table.gone == 1
    assert table.today.ids == alone.ids
    np.testing.assert_array_equal(table.today.shares_ND, alone.shares_ND)
    np.testing.assert_allclose(table.shares_ND.sum(1), 1)
    assert table.shares_ND[~table.today_N, 3].max() == 0, "what was added, no old run had"
    assert set(table.blocks) == {0, 1, 2, 3, *(PAST + b for b in range(4))}
    assert np.isnan(table.loss_NT[~table.today_N][:, 2:]).all(), "targets that they were not scored on"
    assert not set(table.mixture_N[table.today_N]) & set(table.mixture_N[~table.today_N])
    np.testing.assert_array_equal(table.weight_N, 1)
    assert table.ids[len(alone.ids) :] == old.ids


def test_a_target_that_old_runs_lack_is_fitted_by_those_of_today_alone() -> None:
    w = world("law", 3, domains=4)
    trials = play(w, Regression(runs=16, rounds=1)).trials
    old = old_runs(("d0", "d1", "d2", "x"), ("d0", "d1"))
    problem = replace(w.problem, past=(past_of(old, (Remove("x"), Add("d3"))),))
    alone, table = Table.from_trials(w.problem, trials), Table.from_trials(problem, trials)
    for predictor in PREDICTORS[:2]:
        with_old, without = predictor.fit(table), predictor.fit(alone)
        mixtures = alone.shares_ND[:5]
        np.testing.assert_allclose(with_old.mean(mixtures)[:, 2:], without.mean(mixtures)[:, 2:], atol=1e-9)
        assert np.abs(with_old.mean(mixtures)[:, :2] - without.mean(mixtures)[:, :2]).max() > 1e-4
        assert with_old.slope(mixtures[0], np.full(4, 0.25)).shape == (4,)
        wide = np.pad(mixtures, ((0, 0), (0, 1)))
        np.testing.assert_array_equal(with_old.mean(mixtures), with_old.mean(wide))


def test_the_default_predictor_learns_from_old_runs() -> None:
    w = world("law", 3, domains=4)
    trials = play(w, Regression(runs=16, rounds=1, predictor="ridge-log")).trials
    old = old_runs(("d0", "d1", "d2", "x"), ("d0", "d1"))
    problem = replace(w.problem, past=(past_of(old, (Remove("x"), Revise("d2", 3.0), Add("d3"))),))
    alone, table = Table.from_trials(w.problem, trials), Table.from_trials(problem, trials)
    with_old, without, a_T = Stack().fit(table), Stack().fit(alone), np.full(4, 0.25)
    one_D, other_D = np.array([0.3, 0.3, 0.2, 0.2]), np.array([0.1, 0.2, 0.3, 0.4])
    assert np.abs(with_old.mean(one_D[None]) - without.mean(one_D[None]))[0, :2].max() > 1e-4
    assert np.isfinite(block_error(with_old, table, a_T))
    assert len(with_old.doubts) == 2
    assert with_old.noise_T is not None
    assert np.all(with_old.noise_T > 0)
    step_D = 1e-6 * np.array([1.0, -1.0, 1.0, -1.0])

    def rise(value: Callable[[Array], float]) -> float:
        return (value(one_D + step_D) - value(one_D - step_D)) / 2

    slope_D = with_old.slope(one_D, a_T)
    assert slope_D @ step_D == pytest.approx(rise(lambda w_D: with_old.value(w_D, other_D, a_T)), rel=1e-4)
    error_D = with_old.error_slope(one_D, other_D, a_T)
    assert error_D @ step_D == pytest.approx(rise(lambda w_D: with_old.error(w_D, other_D, a_T)), rel=1e-3)
    drawn_SNT = with_old.draws(np.stack([one_D, other_D]), 4000, np.random.default_rng(0))
    spread = float(np.std((drawn_SNT[:, 0] - drawn_SNT[:, 1]) @ a_T))
    assert spread == pytest.approx(with_old.error(one_D, other_D, a_T), rel=0.1)


@pytest.mark.parametrize("predictor", [*PREDICTORS, PowerLaw(), Process()], ids=lambda p: type(p).__name__)
def test_old_runs_without_any_edit_are_more_blocks(predictor: Predictor) -> None:
    """But for the level, which is that of the blocks of today."""
    w = world("law", 3, domains=4)
    trials = play(w, Regression(runs=16, rounds=1, predictor="ridge-log")).trials
    today = Table.from_trials(w.problem, trials)
    problem = replace(w.problem, past=(past_of(today, ()),))
    table = Table.from_trials(problem, trials)
    both = replace(table, block_N=np.where(table.today_N, table.block_N, table.block_N - PAST + 4))
    w_ND = np.random.default_rng(1).dirichlet(np.ones(4), 5)
    away_NT = predictor.fit(table).mean(w_ND) - predictor.fit(both).mean(w_ND)
    # offsets are additive in the loss to first order around the level of a process, which is another one here
    atol = 5e-3 if isinstance(predictor, Process) else 1e-6
    np.testing.assert_allclose(away_NT - away_NT.mean(0), 0, atol=atol)


def test_a_gradient_of_a_lifted_fit_is_the_slope_of_its_losses() -> None:
    w = world("law", 3, domains=4)
    old = old_runs(("d0", "d1", "d2", "x"), ("d0", "d1"), noise=0.01)
    problem = replace(w.problem, past=(past_of(old, (Remove("x"), Add("d3"))),))
    fit = Corrected().fit(Table.from_trials(problem, play(w, Regression(runs=16, rounds=1)).trials)).full
    w_D, step_D = np.array([0.3, 0.3, 0.2, 0.2]), 1e-6 * np.array([1.0, -1.0, 1.0, -1.0])
    rise_T = (fit.loss((w_D + step_D)[None]) - fit.loss((w_D - step_D)[None]))[0] / 2
    np.testing.assert_allclose(smooth(fit).gradient(w_D) @ step_D, rise_T, atol=1e-10)


def test_a_removed_domain_costs_no_run_and_no_truth() -> None:
    """What old runs say of the domains that stay is recovered, though all of them had a domain that is gone."""
    old = old_runs(("a", "b", "c", "d", "gone"), ("a", "b"))
    today = old.rows(np.zeros(len(old.ids), bool))
    today = replace(today, domains=old.domains[:4], shares_ND=today.shares_ND[:, :4])
    table = today.after((past_of(old, (Remove("gone"),)),))
    assert table.gone == 1
    assert table.domains[-1] == "gone (removed)"
    assert table.weight_N.min() == 1
    fit = LogLinear(penalty=1e-6).fit(table)
    mixtures = np.random.default_rng(5).dirichlet(np.ones(4), 8)
    missed_NT = fit.mean(mixtures) - law(np.pad(mixtures, ((0, 0), (0, 1))))
    assert np.std(missed_NT - missed_NT.mean(0)) < 2e-3


def test_few_runs_of_today_say_how_far_a_domain_was_revised() -> None:
    def lifted(change: float) -> float:
        def after(w_ND: Array) -> Array:
            return np.asarray(law(w_ND) + change * w_ND[:, [0]])

        rng = np.random.default_rng(2)
        old = make(law, runs=60, noise=0.01, seed=3)
        new = make(after, runs=16, noise=0.01, seed=4)
        both = replace(
            new,
            shares_ND=np.vstack([new.shares_ND, old.shares_ND]),
            loss_NT=np.vstack([new.loss_NT, old.loss_NT]),
            block_N=np.concatenate([new.block_N, old.block_N + PAST]),
            ids=tuple(f"{rng.integers(1 << 60):032x}" for _ in range(76)),
            mixture_N=np.arange(76),
            weight_N=np.ones(76),
        )
        doubts = lift(old.domains, (Revise("d0"),), np.full(5, 0.2)).doubts
        return noises(both, doubts, both.block_N >= PAST)[0]

    assert lifted(0.0) < 10 < lifted(0.6)
    assert lifted(0.6) < lifted(1.2)


def test_two_earlier_studies_may_be_scored_on_different_targets() -> None:
    names = ("a", "b", "c")
    today = old_runs(names, ("t", "u"))
    narrow, revised = (past_of(old_runs(names, t), e) for t, e in ((("t",), ()), (("t", "u"), (Revise("a"),))))
    one, other = today.after((narrow, revised)), today.after((revised, narrow))
    expected = today.after((revised,)).weight_N[40:]
    assert expected.min() < 1
    np.testing.assert_array_equal(one.weight_N, [*np.ones(80), *expected])
    np.testing.assert_array_equal(other.weight_N, [*np.ones(40), *expected, *np.ones(40)])
