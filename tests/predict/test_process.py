"""The Gaussian process: derivatives, the exact posterior against a dense one, offsets, closed forms, odd tables."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from cuvee.base.errors import UsageError
from cuvee.mixture.weights import Array
from cuvee.predict.kernel import Kernel, Prior, Seen, unlikely, warped
from cuvee.predict.loglinear import LogLinear
from cuvee.predict.posterior import jackknife
from cuvee.predict.process import ANEW, Process, ProcessFit
from cuvee.predict.surface import Surface
from cuvee.predict.table import Integers, Table

pytestmark = pytest.mark.slow

D, T = 5, 4
DOMAINS = tuple(f"d{i}" for i in range(D))


def law(w_ND: Array) -> Array:
    use_TD = np.eye(T, D) + 0.1
    return 1.0 + (w_ND @ use_TD.T + 0.02) ** -0.4


def table(rows: int = 32, *, blocks: int = 4, noise: float = 0.005, seed: int = 0) -> Table:
    rng = np.random.default_rng(seed)
    w_ND = rng.dirichlet(np.full(D, 0.7), rows)
    loss_NT = law(w_ND) + noise * rng.normal(size=(rows, T))
    return of(w_ND, loss_NT, np.arange(rows) % blocks)


def of(w_ND: Array, loss_NT: Array, block_N: Integers) -> Table:
    count, size = len(w_ND), w_ND.shape[1]
    domains = tuple(f"d{i}" for i in range(size))
    targets = tuple(f"d{i}" for i in range(loss_NT.shape[1]))
    ids = tuple(f"{i:03d}" for i in range(count))
    return Table(domains, targets, w_ND, loss_NT, np.asarray(block_N, np.int64), ids, np.arange(count, dtype=np.int64))


def numeric(value: Callable[[Array], Array], at: Array, step: float = 1e-6) -> Array:
    """Central differences; the derivatives along the last axis."""
    return np.stack([(value(at + e) - value(at - e)) / (2 * step) for e in step * np.eye(len(at))], axis=-1)


@pytest.fixture(scope="module", params=[Process(), Process(warp="log"), Process(mean=LogLinear())], ids=str)
def fit(request: pytest.FixtureRequest) -> ProcessFit:
    predictor: Process = request.param
    return predictor.fit_once(table(), None)


W = np.array([0.1, 0.3, 0.05, 0.35, 0.2])
BASE = np.array([0.3, 0.1, 0.25, 0.05, 0.3])


def test_gradient(fit: ProcessFit) -> None:
    expected_TD = numeric(lambda w: fit.loss(w[None])[0], W)
    np.testing.assert_allclose(fit.gradient(W), expected_TD, rtol=1e-5, atol=1e-6)


def test_spread_and_its_slope(fit: ProcessFit) -> None:
    covariance_T22 = fit.covariance(np.stack([W, BASE]))
    spread_T = covariance_T22[:, 0, 0] + covariance_T22[:, 1, 1] - 2 * covariance_T22[:, 0, 1]
    np.testing.assert_allclose(fit.spread(W, BASE), spread_T, rtol=1e-9)
    expected_TD = numeric(lambda w: fit.spread(w, BASE), W, 1e-4)
    np.testing.assert_allclose(fit.spread_slope(W, BASE), expected_TD, rtol=1e-3, atol=1e-6)
    assert np.all(fit.spread(W, W) < 1e-12)


def test_slopes_are_finite_where_a_domain_is_absent(fit: ProcessFit) -> None:
    corner_D = np.eye(D)[0]
    assert np.all(np.isfinite(fit.gradient(corner_D)))
    assert np.all(np.isfinite(fit.spread_slope(corner_D, BASE)))


def test_misfit_and_its_slope() -> None:
    rng = np.random.default_rng(1)
    z_ND, _ = warped(rng.dirichlet(np.ones(3), 12), "fourth-root")
    flat_NC = np.stack([np.ones(12), np.arange(12) % 2 - 0.5], axis=1)
    prior = Prior(rng.normal(size=6) * 0.3, np.full(6, 0.8))
    objective = unlikely([(z_ND, Seen(rng.normal(size=12), flat_NC, np.ones(12)))], prior)
    log_P = 0.3 * rng.normal(size=6) - 0.5
    expected_P = numeric(lambda p: np.asarray(objective(p)[0]), log_P)
    np.testing.assert_allclose(objective(log_P)[1], expected_P, rtol=1e-5, atol=1e-6)


def test_misfit_is_the_likelihood_of_what_flat_effects_leave() -> None:
    """Up to a constant: the likelihood of contrasts that are orthogonal to the flat effects."""
    rng = np.random.default_rng(2)
    z_ND, _ = warped(rng.dirichlet(np.ones(3), 10), "root")
    y_N = rng.normal(size=10)
    flat_NC = np.stack([np.ones(10), rng.normal(size=10)], axis=1)
    objective = unlikely([(z_ND, Seen(y_N, flat_NC, np.ones(len(y_N))))], Prior(np.zeros(6), np.full(6, 1e9)))
    contrast_NK = np.linalg.qr(np.hstack([flat_NC, np.eye(10)[:, :8]]))[0][:, 2:]

    def dense(log_P: Array) -> float:
        kernel = Kernel(log_P)
        covariance_KK = contrast_NK.T @ (kernel.between(z_ND, z_ND) + kernel.noise * np.eye(10)) @ contrast_NK
        seen_K = contrast_NK.T @ y_N
        return 0.5 * float(seen_K @ np.linalg.solve(covariance_KK, seen_K) + np.linalg.slogdet(covariance_KK)[1])

    one_P, other_P = np.full(6, -0.3), rng.normal(size=6) * 0.5
    assert objective(one_P)[0] - objective(other_P)[0] == pytest.approx(dense(one_P) - dense(other_P), abs=1e-8)


def test_posterior_is_that_of_very_uncertain_effects(fit: ProcessFit) -> None:
    """The flat effects are the limit of a normal prior, with which the posterior is the textbook's."""
    z_MD, _ = warped(np.stack([W, BASE]), fit.warp)
    for surface, flat_NC in zip(fit.surfaces, _flat(table(), fit), strict=True):
        kernel, seen, large = surface.kernel, surface.seen, 1e5
        noisy_NN = kernel.between(surface.z_ND, surface.z_ND) + kernel.noise * np.eye(32)
        noisy_NN += large * flat_NC @ flat_NC.T
        across_MN = kernel.between(z_MD, surface.z_ND) + large * flat_NC[:, 0]
        gain_MN = np.linalg.solve(noisy_NN, across_MN.T).T
        expected_MM = kernel.between(z_MD, z_MD) + large - gain_MN @ across_MN.T
        slope_M = surface.link.slope(surface.value(z_MD))
        np.testing.assert_allclose(surface.value(z_MD), gain_MN @ seen.values_N, atol=1e-4)
        expected_MM = slope_M[:, None] * expected_MM * slope_M
        np.testing.assert_allclose(surface.covariance(z_MD), expected_MM, rtol=1e-2, atol=1e-6)


def _flat(runs: Table, fit: ProcessFit) -> list[Array]:
    """The flat effects of every target, from the link alone: a level, and offsets in the loss that sum to zero."""
    found = []
    for surface in fit.surfaces:
        slope_N = surface.link.slope(surface.seen.values_N) / surface.link.scale
        slope_N /= np.exp(np.mean(np.log(slope_N)))
        columns = [(1.0 * (runs.block_N == b) - (runs.block_N == 3)) / slope_N for b in range(3)]
        found.append(np.stack([np.ones(len(slope_N)), *columns], axis=1))
    return found


def test_left_out_runs_are_those_of_fits_without_them(fit: ProcessFit) -> None:
    residual_NT, error_NT = fit.left_out()
    for t, (surface, flat_NC) in enumerate(zip(fit.surfaces, _flat(table(), fit), strict=True)):
        for row in (0, 7):
            keep_N = np.arange(32) != row
            z_1D = surface.z_ND[[row]]
            kept = Seen(surface.seen.values_N[keep_N], surface.seen.flat_NC[keep_N], np.ones(keep_N.sum()))
            rest = Surface.of(surface.kernel, surface.link, surface.z_ND[keep_N], kept)
            offset = flat_NC[row] @ rest.solved.effects_CN @ rest.seen.values_N - rest.level
            value = rest.value(z_1D) + offset
            residual = surface.link.loss(surface.seen.values_N[[row]]) - surface.link.loss(value)
            assert residual_NT[row, t] == pytest.approx(residual[0], rel=1e-5, abs=1e-8)
            noise = surface.kernel.noise * surface.link.slope(value)[0] ** 2
            assert error_NT[row, t] ** 2 > noise


def test_predicted_errors_are_about_right() -> None:
    residual_NT, error_NT = Process().fit_once(table(64), None).left_out()
    assert 0.6 < np.sqrt(np.mean((residual_NT / error_NT) ** 2)) < 1.5


def test_it_learns() -> None:
    w_ND = np.random.default_rng(9).dirichlet(np.ones(D), 200)
    error_NT = Process().fit_once(table(64), None).loss(w_ND) - law(w_ND)
    assert np.sqrt(np.mean(error_NT**2)) < 0.15 * np.std(law(w_ND))


@pytest.mark.parametrize("predictor", [Process(), Process(mean=LogLinear())], ids=str)
def test_offsets_of_blocks_change_nothing(predictor: Process) -> None:
    runs = table()
    offset_BT = np.random.default_rng(5).normal(size=(4, T))
    offset_BT -= offset_BT.mean(0)
    moved = of(runs.shares_ND, runs.loss_NT + offset_BT[runs.block_N], runs.block_N)
    pair_2D = np.stack([W, BASE])
    one, other = predictor.fit_once(runs, None), predictor.fit_once(moved, None)
    np.testing.assert_allclose(other.loss(pair_2D), one.loss(pair_2D), rtol=1e-4)
    np.testing.assert_allclose(other.spread(W, BASE), one.spread(W, BASE), rtol=1e-3)


def test_replicates_of_few_runs_learn_their_own_hyperparameters() -> None:
    runs = table()
    posterior = Process().fit(runs)
    assert sorted(posterior.replicates) == [0, 1, 2, 3]
    full = posterior.full
    assert isinstance(full, ProcessFit)
    for block, fit in posterior.replicates.items():
        assert isinstance(fit, ProcessFit)
        assert len(fit.surfaces[0].z_ND) == 24
        alone = Process().fit_once(runs.rows(runs.block_N != block), None)
        for own, other, seen in zip(fit.surfaces, alone.surfaces, full.surfaces, strict=True):
            assert not np.allclose(own.kernel.log_P, seen.kernel.log_P, atol=1e-3), "that of all runs saw the block"
            # they begin at those of all runs, and end about where they would without them
            assert own.level == pytest.approx(other.level, abs=0.3)
        np.testing.assert_allclose(fit.loss(W[None]), alone.loss(W[None]), atol=0.02)
    np.testing.assert_array_equal(full.loss(W[None]), Process().fit_once(runs, None).loss(W[None]))
    assert posterior.error(W, BASE, np.full(T, 1 / T)) > 0


def test_replicates_of_many_runs_keep_the_hyperparameters() -> None:
    runs = table(ANEW)
    full = Process().fit_once(runs, None)
    without = Process().fit_once(runs.rows(runs.block_N != 0), full)
    assert [s.kernel for s in without.surfaces] == [s.kernel for s in full.surfaces]


def test_the_same_twice() -> None:
    one, other = (Process().fit_once(table(), None).loss(W[None]) for _ in range(2))
    assert np.array_equal(one, other)


def odd_tables() -> dict[str, Table]:
    runs, rng = table(20), np.random.default_rng(3)
    constant_NT = runs.loss_NT.copy()
    constant_NT[:, 0] = 2.0
    never_ND = rng.dirichlet(np.ones(3), 20) @ np.eye(3, 6)
    many_ND = rng.dirichlet(np.full(110, 0.1), 30)
    repeated = np.repeat(np.arange(5), 4)
    return {
        "five rows": table(5, blocks=1),
        "five blocks of a row": table(5, blocks=5),
        "constant target": of(runs.shares_ND, constant_NT, runs.block_N),
        "same mixture throughout": of(np.tile(W, (20, 1)), runs.loss_NT, runs.block_N),
        "repeated rows": of(runs.shares_ND[repeated], runs.loss_NT[repeated], np.tile(np.arange(4), 5)),
        "one-hot rows": of(np.eye(D)[np.arange(20) % D], law(np.eye(D)[np.arange(20) % D]), np.arange(20) % 4),
        "domains never varied": of(never_ND, runs.loss_NT, runs.block_N),
        "two domains": of(rng.dirichlet(np.ones(2), 12), runs.loss_NT[:12, :1], np.arange(12) % 2),
        "many domains": of(many_ND, law(many_ND[:, :D]), np.arange(30) % 3),
    }


@pytest.mark.parametrize("name", list(odd_tables()))
def test_odd_tables(name: str) -> None:
    runs = odd_tables()[name]
    fit = Process().fit(runs).full
    assert isinstance(fit, ProcessFit)
    w_D, base_D = runs.shares_ND[0], np.full(runs.shares_ND.shape[1], 1 / runs.shares_ND.shape[1])
    loss_NT = fit.loss(np.stack([w_D, base_D]))
    assert np.all(np.isfinite(loss_NT))
    assert np.all(np.abs(loss_NT - runs.loss_NT.mean(0)) < 10 * np.std(runs.loss_NT, axis=0) + 1e-6)
    assert np.all(np.isfinite(fit.gradient(w_D)))
    assert np.all(fit.spread(w_D, base_D) >= 0)
    assert np.all(np.isfinite(fit.spread_slope(w_D, base_D)))


def test_more_runs_than_hyperparameters_are_learned_from() -> None:
    fit = Process().fit_once(table(300), None)
    assert len(fit.surfaces[0].z_ND) == 300
    w_ND = np.stack([W, BASE])
    np.testing.assert_allclose(fit.loss(w_ND), law(w_ND), atol=0.02)


def test_posterior_narrows_with_runs() -> None:
    few, many = (Process().fit_once(table(rows), None).spread(W, BASE) for rows in (16, 96))
    assert np.all(many < few)


@pytest.mark.parametrize("arguments", [{"warp": "cube"}, {"room": 0.0}])
def test_errors(arguments: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        Process(**arguments)  # type: ignore[arg-type]


def test_jackknife_is_that_of_fit_once() -> None:
    runs, predictor = table(), Process()
    one, other = predictor.fit(runs), jackknife(runs, predictor.fit_once)
    assert one.value(W, BASE, np.full(T, 1 / T)) == other.value(W, BASE, np.full(T, 1 / T))


def test_parts_of_many_runs_keep_blocks_whole() -> None:
    """Had the two runs of a block come into different parts, none would say anything."""
    block_N, runs = np.repeat(np.arange(75), 2), table(150)
    offset_BT = 0.3 * np.random.default_rng(6).normal(size=(75, T))
    fit = Process().fit_once(of(runs.shares_ND, runs.loss_NT + offset_BT[block_N], block_N), None)
    for t, surface in enumerate(fit.surfaces):
        lengths_D = surface.kernel.lengths_D
        assert lengths_D[t] < 0.5 * np.median(np.delete(lengths_D, t))
