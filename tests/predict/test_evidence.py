from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cuvee.base.errors import DataError
from cuvee.base.rng import generator
from cuvee.mixture.weights import Array
from cuvee.plan.experts import experts
from cuvee.plan.trial import Trial
from cuvee.predict.corrected import Corrected
from cuvee.predict.evidence import EnsembleSurface, Informed, InformedFit, ensemble
from cuvee.predict.loglinear import LogLinear
from cuvee.predict.posterior import Member, smooth
from cuvee.predict.power import PowerLaw
from cuvee.predict.ridge import RidgeLog
from cuvee.predict.table import Table
from cuvee.testing.worlds import world

DOMAINS = ("a", "b", "c", "d")


def surface(seed: int, targets: int = 2, examples: int = 30) -> EnsembleSurface:
    rng = np.random.default_rng(seed)
    nats_XD = rng.gamma(2.0, rng.choice([1.0, 50.0]), (targets * examples, len(DOMAINS)))
    target_X = np.repeat(np.arange(targets), examples)
    return EnsembleSurface(tuple("tuvw"[:targets]), nats_XD, target_X, np.full(len(target_X), 0.01))


def simplex(seed: int, number: int) -> Array:
    return np.random.default_rng(seed + 1).dirichlet(np.full(len(DOMAINS), 0.5), number)


@settings(max_examples=50)
@given(st.integers(0, 10**6), st.floats(0, 1))
def test_surfaces_are_convex(seed: int, part: float) -> None:
    made, (one_D, two_D) = surface(seed), simplex(seed, 2)
    ends_2T = made.loss(np.stack([one_D, two_D]))
    between_T = made.loss((part * one_D + (1 - part) * two_D)[None])[0]
    assert np.all(between_T <= part * ends_2T[0] + (1 - part) * ends_2T[1] + 1e-9)
    assert made.convex(np.ones(2))
    assert not made.convex(np.array([1.0, -1.0]))


@settings(max_examples=50)
@given(st.integers(0, 10**6))
def test_gradients_are_those_of_the_losses(seed: int) -> None:
    made = surface(seed)
    w_D = 0.9 * simplex(seed, 1)[0] + 0.025
    for i in range(len(DOMAINS)):
        step_D = 1e-5 * np.eye(len(DOMAINS))[i]
        numeric_T = np.diff(made.loss(np.stack([w_D - step_D, w_D + step_D])), axis=0)[0] / 2e-5
        assert np.allclose(made.gradient(w_D)[:, i], numeric_T, rtol=1e-4, atol=1e-7)


def test_one_domain_alone_has_its_experts_loss_and_no_likelihood_is_too_small() -> None:
    made = surface(3)
    made = replace(made, nats_XD=made.nats_XD * 1000.0)
    for i, w_D in enumerate(np.eye(len(DOMAINS))):
        own_T = [0.01 * made.nats_XD[made.target_X == t, i].sum() for t in range(2)]
        # what the expert finds impossible, the uniform part of the mixture has others for
        assert np.all(made.loss(w_D[None])[0] <= np.array(own_T) + 1e-6)
        assert np.isfinite(made.loss(w_D[None])).all()
        assert np.isfinite(made.gradient(w_D)).all()


def test_the_mixture_of_two_experts_by_hand() -> None:
    made = EnsembleSurface(("t",), -np.log([[0.5, 0.1], [0.2, 0.8]]), np.zeros(2, int), np.full(2, 1 / math.log(2)))
    expected = -math.log2(0.25 * 0.5 + 0.75 * 0.1) - math.log2(0.25 * 0.2 + 0.75 * 0.8)
    assert made.loss(np.array([[0.25, 0.75]]))[0, 0] == pytest.approx(expected, abs=1e-5)


def played(blocks: int = 1) -> tuple[tuple[str, ...], tuple[Trial, ...]]:
    w = world("law", 1, domains=4)
    plans = experts(w.problem, blocks, "expert", "token_log_likelihoods")
    return w.problem.domains, tuple(w.run(plan) for plan in plans)


def test_surfaces_come_from_the_experts_among_the_trials() -> None:
    domains, trials = played()
    made = ensemble(domains, trials, "expert", "token_log_likelihoods")
    assert made.targets == domains
    own_TT = np.array([[trial.loss(d) for d in domains] for trial in trials])
    assert np.allclose(made.loss(np.eye(4)).diagonal(), own_TT.diagonal(), rtol=0.2)
    reordered = ensemble(domains, trials[::-1], "expert", "token_log_likelihoods")
    assert np.array_equal(made.nats_XD, reordered.nats_XD)


def test_several_blocks_are_the_mean_of_their_surfaces() -> None:
    domains, trials = played(blocks=2)
    both = ensemble(domains, trials, "expert", "token_log_likelihoods")
    single = [
        ensemble(domains, [t for t in trials if t.plan.block == b], "expert", "token_log_likelihoods") for b in (0, 1)
    ]
    w_ND = simplex(0, 5)
    assert np.allclose(both.loss(w_ND), (single[0].loss(w_ND) + single[1].loss(w_ND)) / 2)
    without = ensemble(domains, trials[:-1], "expert", "token_log_likelihoods")
    assert np.allclose(without.loss(w_ND), single[0].loss(w_ND)), "a block that lacks an expert is left out"


def test_a_missing_expert_is_named_and_other_texts_are_not_joined() -> None:
    domains, trials = played()
    with pytest.raises(DataError, match="d3"):
        ensemble(domains, trials[:-1], "expert", "token_log_likelihoods")
    with pytest.raises(DataError, match="ngram"):
        ensemble(domains, trials, "ngram", "token_log_likelihoods")
    other = replace(trials[0], likelihoods=tuple(replace(r, examples="other") for r in trials[0].likelihoods))
    with pytest.raises(DataError, match="different examples"):
        ensemble(domains, (other, *trials[1:]), "expert", "token_log_likelihoods")


def known(made: EnsembleSurface, runs: int, noise: float = 0.0) -> Table:
    """Losses of 0.7 and 0.4 times the surface, a level, block offsets, and a third target that it lacks."""
    rng = generator(5, "known")
    w_ND = simplex(7, runs)
    x_NT = made.loss(w_ND)
    loss_NT = np.column_stack([2 + 0.7 * x_NT[:, 0], 1 + 0.4 * x_NT[:, 1], 3 + w_ND[:, 0]])
    block_N = np.arange(runs) % 4
    loss_NT += rng.normal(size=(4, 3))[block_N] + noise * rng.normal(size=loss_NT.shape)
    ids = tuple(f"{i:03d}" for i in range(runs))
    return Table(DOMAINS, ("t", "u", "own"), w_ND, loss_NT, block_N, ids, np.arange(runs))


def test_the_slopes_of_surfaces_are_found_and_what_they_leave_is_fitted() -> None:
    made, w_ND = surface(11), simplex(99, 40)
    fit = Informed((made,), RidgeLog()).fit_once(known(made, 60), None)
    assert isinstance(fit, InformedFit)
    assert fit.slopes_ST[0] == pytest.approx([0.7, 0.4, 0.0], abs=0.05)
    spread_NT = np.diff(fit.loss(w_ND), axis=0)
    assert np.allclose(spread_NT[:, 0], 0.7 * np.diff(made.loss(w_ND)[:, 0]), atol=0.1)
    assert np.allclose(spread_NT[:, 2], np.diff(w_ND[:, 0]), atol=0.1), "the target without a surface"


def test_few_noisy_runs_do_better_with_what_was_known_before() -> None:
    made, w_ND = surface(11), simplex(99, 200)
    table, truth_N = known(made, 8, noise=0.002), 0.7 * surface(11).loss(w_ND)[:, 0]
    errors = [
        np.std(predictor.fit(table).mean(w_ND)[:, 0] - truth_N)
        for predictor in (Informed((made,), RidgeLog()), RidgeLog(), Corrected())
    ]
    assert errors[0] < 0.5 * min(errors[1:])


def test_a_surface_that_points_the_wrong_way_is_ignored() -> None:
    made = surface(11)
    table = known(made, 24)
    turned = replace(table, loss_NT=-table.loss_NT)
    fit = Informed((made,), RidgeLog()).fit_once(turned, None)
    assert isinstance(fit, InformedFit)
    assert np.all(fit.slopes_ST == 0)
    assert np.allclose(fit.loss(turned.shares_ND), RidgeLog().fit_once(turned, None).loss(turned.shares_ND))


@pytest.mark.parametrize("then", [RidgeLog(), PowerLaw()])
def test_gradients_of_informed_fits(then: Member) -> None:
    fit = smooth(Informed((surface(11), surface(12)), then).fit_once(known(surface(11), 12, noise=0.05), None))
    for w_D in 0.9 * simplex(3, 5) + 0.025:
        for i in range(len(DOMAINS)):
            step_D = 1e-5 * np.eye(len(DOMAINS))[i]
            numeric_T = np.diff(fit.loss(np.stack([w_D - step_D, w_D + step_D])), axis=0)[0] / 2e-5
            assert np.allclose(fit.gradient(w_D)[:, i], numeric_T, rtol=1e-3, atol=1e-5)


def test_convex_where_the_rest_is() -> None:
    made = surface(11)
    fit = smooth(Informed((made,), LogLinear()).fit_once(known(made, 20), None))
    assert fit.convex(np.ones(3))
    assert not fit.convex(np.array([1.0, -1.0, 0.0]))
    assert not smooth(Informed((made,)).fit_once(known(made, 20), None)).convex(np.ones(3)), "a process never is"


def test_blocks_give_intervals() -> None:
    made = surface(11)
    posterior = Informed((made,), RidgeLog()).fit(known(made, 24, noise=0.05))
    assert sorted(posterior.replicates) == [0, 1, 2, 3]
    difference = posterior.difference(np.array([0.7, 0.1, 0.1, 0.1]), np.full(4, 0.25), np.array([1.0, 0.0, 0.0]))
    assert difference.low < difference.mean < difference.high
