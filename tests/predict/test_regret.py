"""What is at stake, against closed forms and brute force on Gaussian posteriors."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy.stats import norm

from cuvee.base.errors import UsageError
from cuvee.mixture.feasible import FeasibleSet
from cuvee.mixture.weights import Array
from cuvee.predict.question import GuardRule, Question
from cuvee.predict.regret import Batch, Stakes, batch
from tests.predict.gaussian import Gaussian
from tests.predict.tables import make

ANYTHING = FeasibleSet(("d0", "d1", "d2"), (0.0,) * 3, (1.0,) * 3)
A_T = np.array([0.25, 0.75])


def bowls(w_ND: Array) -> Array:
    return np.stack([(w_ND[:, 0] - 0.3) ** 2, (w_ND[:, 1] - 0.6) ** 2], axis=1)


def gaussian_stakes(mean_M: Array, covariance_MM: Array, count: int = 4000, seed: int = 0) -> Stakes:
    drawn_SM = np.random.default_rng(seed).multivariate_normal(mean_M, covariance_MM, count)
    ones_M = np.ones(len(mean_M))
    return Stakes(np.eye(len(mean_M)), drawn_SM, ones_M, ones_M > 0)


def exact_regret(mean_M: Array, covariance_MM: Array, picks: tuple[int, ...], noise: float, seed: int = 1) -> float:
    """The expected regret of the best choice after runs at `picks`, by simulating truths and results."""
    rng = np.random.default_rng(seed)
    truth_SM = rng.multivariate_normal(mean_M, covariance_MM, 20_000)
    index = list(picks)
    result_SK = truth_SM[:, index] + noise * rng.normal(size=(len(truth_SM), len(index)))
    gain_KM = np.linalg.solve(covariance_MM[np.ix_(index, index)] + noise**2 * np.eye(len(index)), covariance_MM[index])
    after_SM = mean_M + (result_SK - mean_M[index]) @ gain_KM
    chosen_S = truth_SM[np.arange(len(truth_SM)), after_SM.argmin(1)]
    return float(np.mean(chosen_S - truth_SM.min(1)))


def test_regret_of_two_candidates_is_the_closed_form() -> None:
    table = make(bowls, runs=16, domains=3, noise=0.05)
    posterior = Gaussian(noise=0.05).fit(table)
    pair_2D = np.array([[0.2, 0.5, 0.3], [0.5, 0.4, 0.1]])
    moments_SNT = posterior.draws(pair_2D, 50_000, np.random.default_rng(1))
    difference_S = (moments_SNT[:, 0] - moments_SNT[:, 1]) @ A_T
    mean, sd = difference_S.mean(), difference_S.std()
    expected = mean * norm.cdf(mean / sd) + sd * norm.pdf(mean / sd)
    stakes = Stakes.of(Question(posterior, ANYTHING, pair_2D[0], A_T), pair_2D, np.random.default_rng(2), count=50_000)
    assert stakes.regret(0) == pytest.approx(expected, rel=0.05)


def test_a_mixture_alone_has_no_regret_and_the_best_of_known_ones_neither() -> None:
    posterior = Gaussian(noise=1e-5).fit(make(bowls, runs=60, domains=3))
    w_MD = np.random.default_rng(0).dirichlet(np.ones(3), 30)
    values = [posterior.mean(w_D[None])[0] @ A_T for w_D in w_MD]
    best, worst = int(np.argmin(values)), int(np.argmax(values))
    asked = Question(posterior, ANYTHING, w_MD[0], A_T)
    assert Stakes.of(asked, w_MD[:1], np.random.default_rng(1)).regret(0) == 0
    stakes = Stakes.of(asked, w_MD, np.random.default_rng(1))
    assert stakes.regret(best) < 1e-3
    assert stakes.regret(worst) == pytest.approx(max(values) - min(values), abs=0.01)


MEAN = np.array([0.0, 0.001, 0.01, -0.002, 0.03])
SD = np.array([0.05, 0.05, 0.05, 0.001, 0.005])


def twins() -> Array:
    """Candidates 0 and 1 are all but one, 2 is as unsure and apart, 3 and 4 are known."""
    covariance_MM = np.diag(SD**2)
    covariance_MM[0, 1] = covariance_MM[1, 0] = 0.99 * SD[0] * SD[1]
    return covariance_MM


@pytest.mark.parametrize("noise", [0.0, 0.02, 0.1])
def test_a_batch_is_the_best_pair(noise: float) -> None:
    covariance_MM = twins()
    found = batch(gaussian_stakes(MEAN, covariance_MM), noise, np.ones(5, np.int64), 2, np.random.default_rng(3))
    pairs = {pair: exact_regret(MEAN, covariance_MM, pair, noise) for pair in combinations(range(5), 2)}
    assert pairs[tuple(sorted(found.picks))] <= min(pairs.values()) + 0.0005  # type: ignore[index]
    assert set(found.picks) != {0, 1}


def test_the_regret_foreseen_is_what_comes() -> None:
    rng = np.random.default_rng(5)
    factor_MK = 0.03 * rng.normal(size=(8, 4))
    covariance_MM = factor_MK @ factor_MK.T + 1e-4 * np.eye(8)
    mean_M = 0.02 * rng.normal(size=8)
    found = batch(gaussian_stakes(mean_M, covariance_MM), 0.02, np.full(8, 3), 4, rng)
    for count in (0, 1, 2, 4):
        exact = exact_regret(mean_M, covariance_MM, found.picks[:count], 0.02) if count else None
        exact = (
            exact
            if exact is not None
            else gaussian_stakes(mean_M, covariance_MM, 40_000, 9).regret(int(mean_M.argmin()))
        )
        assert found.regret[count] == pytest.approx(exact, rel=0.1, abs=0.0005)
    assert list(found.regret) == sorted(found.regret, reverse=True)


def test_limits_are_kept_and_used_up() -> None:
    stakes = gaussian_stakes(MEAN, twins())
    found = batch(stakes, 0.02, np.array([0, 1, 2, 0, 0]), 8, np.random.default_rng(0))
    assert sorted(found.picks) == [1, 2, 2]
    assert batch(stakes, 0.02, np.zeros(5, np.int64), 3, np.random.default_rng(0)).picks == ()


def question(allowed: float) -> Question:
    """Losses known all but exactly; the guard is on the first target."""
    posterior = Gaussian(noise=1e-3).fit(make(bowls, runs=60, domains=3))
    rule = GuardRule("first", np.array([1.0, 0.0]), allowed, 0.9)
    return Question(posterior, ANYTHING, np.array([0.3, 0.3, 0.4]), np.array([0.0, 1.0]), (rule,))


def test_guards_bound_what_may_be_chosen_and_tasted() -> None:
    w_MD = np.array([[0.3, 0.3, 0.4], [0.3, 0.6, 0.1], [0.9, 0.05, 0.05], [0.05, 0.6, 0.35]])
    stakes = Stakes.of(question(0.02), w_MD, np.random.default_rng(0))
    assert stakes.allowed_M.tolist() == [True, True, False, False], "they rise by 0.36 and 0.0625"
    assert stakes.regret(1) < 1e-3
    found = batch(stakes, 0.01, np.ones(4, np.int64), 2, np.random.default_rng(0))
    assert set(found.picks) == {0, 1}


def test_where_nothing_keeps_the_guards_something_is_still_tasted() -> None:
    w_MD = np.array([[0.9, 0.05, 0.05], [0.05, 0.6, 0.35]])
    stakes = Stakes.of(question(0.0), w_MD, np.random.default_rng(0))
    assert not stakes.allowed_M.any()
    found = batch(stakes, 0.01, np.ones(2, np.int64), 1, np.random.default_rng(0))
    assert len(found.picks) == 1


def test_shares_of_the_best_are_narrow_where_losses_are_known_and_wide_where_not() -> None:
    w_MD = np.random.default_rng(0).dirichlet(np.ones(3), 200)
    widths = []
    for runs, noise in ((60, 1e-4), (8, 0.3)):
        posterior = Gaussian(noise=noise).fit(make(bowls, runs=runs, domains=3, noise=noise))
        low_D, high_D = Stakes.of(
            Question(posterior, ANYTHING, w_MD[0], A_T), w_MD, np.random.default_rng(1)
        ).best_shares()
        assert np.all(low_D <= high_D)
        widths.append(float(np.max(high_D - low_D)))
    assert widths[0] < 0.25 < widths[1]


def test_no_candidates_is_an_error() -> None:
    posterior = Gaussian().fit(make(bowls, runs=16, domains=3))
    with pytest.raises(UsageError, match="no candidates"):
        Stakes.of(Question(posterior, ANYTHING, np.ones(3) / 3, A_T), np.empty((0, 3)), np.random.default_rng(0))


def test_a_batch_says_what_it_expects() -> None:
    found = batch(gaussian_stakes(MEAN, twins()), 0.02, np.ones(5, np.int64), 3, np.random.default_rng(0))
    assert isinstance(found, Batch)
    assert len(found.regret) == len(found.picks) + 1
    assert found.regret[-1] < 0.7 * found.regret[0]
