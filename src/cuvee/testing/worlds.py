"""Worlds without training: losses that are functions of the mixture, with the best mixture known, and seeded noise.

    L_t(w, block, run) = f_t(w) + a_t(block) + b_t(block) . (sqrt(w) - sqrt(natural)) + e_t(run)

`a` is the block's offset, `b` bends all runs of a block together (the part that more runs never average out), `e` is the
run's own. A run of fewer tokens shows it less well (`Fidelity`). Every f is convex in the shares, so the best mixture under
the caps is the one that the optimality conditions single out, and it is known to the solver's tolerance.

Letters: N mixtures, D domains (and as many targets, T = D).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, minimize

from cuvee.base.rng import generator, key64
from cuvee.methods.contract import Method
from cuvee.mixture.weights import Array, Mixture
from cuvee.plan.choice import Choice
from cuvee.plan.problem import Problem, Proxy, Target
from cuvee.plan.trial import Cost, Curve, Likelihoods, Plan, Trial
from cuvee.predict.table import mean_weights

Kind = Literal["law", "power", "repeat"]
KINDS: tuple[Kind, ...] = ("law", "power", "repeat")
MOST_ROUNDS = 20
EXAMPLES, KNOWN = 64, 1.5
"""Examples of a target that experts score, and how much easier an expert finds those of its own kind, bits/byte."""


@dataclass(frozen=True)
class Noise:
    """Standard deviations in bits/byte: of a block's offset, of its bending between natural and a distant mixture, of a run.

    The defaults are those of 0.6M-parameter proxies at 0.6M tokens: about 0.02 on a loss, 0.016 on paired differences.
    """

    offset: float = 0.02
    bend: float = 0.012
    run: float = 0.01


@dataclass(frozen=True)
class Fidelity:
    """What is otherwise in a run that sees a share f of the proxies' tokens (kind `short`), h = log2(1 / f) halvings:

        L_t(w) = f_t(natural) + level h + slope^h (f_t(w) - f_t(natural)) + bend h B_t . (sqrt(w) - sqrt(natural)) + noise^h (...)

    with B drawn once per world: a bias of short runs that is alike in all blocks, which no number of them averages out.
    """

    level: float = 0.15
    slope: float = 0.8
    bend: float = 0.01
    noise: float = 1.2


@dataclass(frozen=True, eq=False)
class World:
    """A problem whose losses are known.

    Args:
        kind: `law`: the log-linear law. `power`: a power of the domains' useful tokens. `repeat`: the same with tokens
            that are worth less each time they are seen again.
        problem: Domains, tokens, caps, objective; its seed seeds the noise.
        floor_T, height_T: Least loss of each target, and what can be learned.
        use_TD: How much each domain teaches each target.
        noise: Standard deviations.
        failing: Share of the runs that end as failed or diverged.
        fidelity: What shorter runs show of all this.
    """

    kind: Kind
    problem: Problem
    floor_T: Array
    height_T: Array
    use_TD: Array
    noise: Noise = field(default_factory=Noise)
    failing: float = 0.0
    fidelity: Fidelity = field(default_factory=Fidelity)

    def losses(self, w_ND: Array) -> Array:
        """Expected losses in bits/byte, shape N x T."""
        if self.kind == "law":
            return np.asarray(self.floor_T + self.height_T * np.exp(-3.0 * w_ND @ self.use_TD.T), np.float64)
        useful_NT = self._useful(w_ND) @ self.use_TD.T + 0.02
        return np.asarray(self.floor_T + 0.35 * self.height_T * useful_NT**-0.3, np.float64)

    def value(self, w_D: Array) -> float:
        """The expected objective in bits/byte against natural's."""
        loss_2T = self.losses(np.stack([w_D, self.problem.natural.shares]))
        return float((loss_2T[0] - loss_2T[1]) @ self._weights)

    def regret(self, mixture: Mixture) -> float:
        """How much worse than the best mixture, bits/byte."""
        return self.value(mixture.shares) - self.value(self.best_D)

    @cached_property
    def best_D(self) -> Array:
        """The best mixture under the caps, shape D."""
        feasible = self.problem.feasible()
        linear = [LinearConstraint(np.ones((1, len(feasible.domains))), 1.0, 1.0)]
        linear += [LinearConstraint(*feasible.sums)] if feasible.groups or feasible.rows else []

        def value(w_D: Array) -> float:
            return 100 * self.value(np.maximum(w_D, 0))

        def slope(w_D: Array) -> Array:
            return _numeric(value, w_D)

        found = minimize(
            value,
            feasible.project(np.full(len(feasible.domains), 1 / len(feasible.domains))),
            jac=slope,
            method="SLSQP",
            bounds=Bounds(feasible.low_D, feasible.high_D),
            constraints=linear,
            options={"maxiter": 500, "ftol": 1e-12},
        )
        return feasible.project(np.asarray(found.x, np.float64))

    def run(self, plan: Plan) -> Trial:
        """The trial that training `plan` would end as: the same each time."""
        identity = plan.id(self._fingerprint)
        own = generator(key64(0, identity) >> 1, "world run")
        failed = own.random() < self.failing
        status: Literal["done", "diverged", "failed"] = ("failed", "diverged")[own.integers(2)] if failed else "done"
        realised = plan.schedule.mean(plan.tokens).tokens(plan.tokens)
        w_D = np.array(realised, np.float64) / plan.tokens
        noise_T = self._block_noise(plan.block, w_D) + self.noise.run * own.normal(size=len(w_D))
        loss_T = self.losses(w_D[None])[0] + noise_T if plan.kind != "short" else self._short(plan, w_D, noise_T)
        return Trial(
            id=identity,
            plan=plan,
            status=status,
            curves=() if status == "failed" else _curves(plan, loss_T * (math.nan if status == "diverged" else 1.0)),
            realised=realised,
            cost=Cost(0.0, 0.0, 0.0),
            provenance={"world": self.kind},
            message="made to fail" if failed else "",
            likelihoods=self._likelihoods(plan, loss_T) if status == "done" else (),
        )

    def _short(self, plan: Plan, w_D: Array, noise_T: Array) -> Array:
        """Losses of a shorter run, shape T, given the noise of a proxy."""
        what, natural_D = self.fidelity, self.problem.natural.shares
        halvings = math.log2(self.problem.proxy.trained_tokens / plan.tokens)
        natural_T, loss_T = self.losses(np.stack([natural_D, w_D]))
        bend_TD = generator(self.problem.seed, "world short").normal(size=(len(w_D), len(w_D)))
        bias_T = what.level + what.bend * bend_TD @ (np.sqrt(w_D) - np.sqrt(natural_D))
        expected_T = natural_T + what.slope**halvings * (loss_T - natural_T) + halvings * bias_T
        return np.asarray(expected_T + what.noise**halvings * noise_T, np.float64)

    def _likelihoods(self, plan: Plan, loss_T: Array) -> tuple[Likelihoods, ...]:
        """Of experts: made up, for worlds have no texts. A target's examples are of as many kinds as there are domains, in the
        proportions in which the domains teach it; a domain's expert has its loss on the whole, and finds its own kind
        `KNOWN` bits/byte easier than the others. So the best mixture of experts has the shares of the kinds, not the world's
        best ones."""
        if not plan.wants:
            return ()
        own = int(np.argmax(plan.schedule.at(0).shares))
        found = []
        for name, loss, use_D in zip(plan.targets, loss_T, self.use_TD, strict=True):
            kind_X = np.searchsorted(np.cumsum(use_D) / use_D.sum(), (np.arange(EXAMPLES) + 0.5) / EXAMPLES)
            bits_X = loss + KNOWN * (np.mean(kind_X == own) - (kind_X == own))
            found += [
                Likelihoods.of(want, name, f"{self._fingerprint} {name}", math.log(2) * bits_X, np.ones(EXAMPLES))
                for want in plan.wants
            ]
        return tuple(found)

    def _block_noise(self, block: int, w_D: Array) -> Array:
        """The block's offset and bending, shape T; a function of the problem's seed and the block."""
        rng = generator(self.problem.seed, "world block", block)
        size = len(w_D)
        offset_T = self.noise.offset * rng.normal(size=size)
        # root shares of distant mixtures differ by about 1 in norm, so `bend` is the noise of their difference
        bend_TD = self.noise.bend * rng.normal(size=(size, size))
        return np.asarray(offset_T + bend_TD @ (np.sqrt(w_D) - np.sqrt(self.problem.natural.shares)), np.float64)

    def _useful(self, w_ND: Array) -> Array:
        """Shares, or with `repeat` shares discounted by 1 - exp(-epochs / 4) over epochs / 4. Concave in w."""
        if self.kind != "repeat":
            return w_ND
        once_D = 4.0 * np.array(self.problem.tokens, np.float64) / self.problem.target_tokens
        return np.asarray(once_D * -np.expm1(-w_ND / once_D), np.float64)

    @property
    def _weights(self) -> Array:
        return mean_weights(self.problem.objective, self.problem.domains)

    @property
    def _fingerprint(self) -> str:
        return f"world {self.kind} {self.problem.seed}"


def world(kind: Kind, seed: int, *, domains: int = 6, pointed: bool = False) -> World:
    """A random world: domains of very different sizes, caps of four epochs, each domain teaching the others a little.

    Args:
        kind: The family of losses.
        seed: Draws the world and its noise.
        domains: D.
        pointed: Whether the objective is two small domains rather than the mean over all.
    """
    rng = generator(seed, f"world {kind}")
    names = tuple(f"d{i}" for i in range(domains))
    tokens = tuple(int(n) for n in 1e6 * np.sort(rng.lognormal(0.0, 1.0, domains) + 0.15)[::-1])
    targets = names[-2:] if pointed else names
    problem = Problem(
        domains=names,
        tokens=tokens,
        target_tokens=int(1.2 * sum(tokens)),
        objective=tuple(Target(name) for name in targets),
        proxy=Proxy(tokens=int(0.6 * sum(tokens)), seq_len=128, batch=64, eval_points=2),
        max_epochs=4.0,
        seed=seed,
    )
    use_TD = np.eye(domains) + rng.uniform(0.0, 0.35, (domains, domains)) * (rng.random((domains, domains)) < 0.5)
    floor_T, height_T = rng.uniform(0.8, 1.4, domains), rng.uniform(0.5, 1.2, domains)
    return World(kind, problem, floor_T, height_T, use_TD)


@dataclass(frozen=True)
class Played:
    """A study of a world: all trials, sorted by id, the sizes of the rounds, and the choice."""

    trials: tuple[Trial, ...]
    rounds: tuple[int, ...]
    choice: Choice


def play(world: World, method: Method) -> Played:
    """Run `method` in `world` as a study would: rounds until it proposes nothing, then the choice."""
    seed, trials, rounds = world.problem.seed, dict[str, Trial](), list[int]()
    for turn in range(MOST_ROUNDS):
        ordered = tuple(trials[i] for i in sorted(trials))
        plans = method.propose(world.problem, ordered, generator(seed, "propose", turn))
        if not plans:
            break
        ended = [world.run(plan) for plan in plans]
        trials |= {trial.id: trial for trial in ended}
        rounds.append(len(plans))
    ordered = tuple(trials[i] for i in sorted(trials))
    return Played(ordered, tuple(rounds), method.choose(world.problem, ordered, generator(seed, "choose")))


def with_noise(world: World, noise: Noise) -> World:
    """The same world with other noise."""
    return replace(world, noise=noise)


def _curves(plan: Plan, loss_T: Array) -> tuple[Curve, ...]:
    points = [plan.tokens * (i + 1) // plan.eval_points for i in range(plan.eval_points)]
    above = [0.5 * (len(points) - 1 - i) for i in range(len(points))]
    return tuple(
        Curve(name, tuple(points), tuple(3.0 * (float(v) + a) for a in above), tuple(float(v) + a for a in above))
        for name, v in zip(plan.targets, loss_T, strict=True)
    )


def _numeric(function: Callable[[Array], float], w_D: Array, step: float = 1e-6) -> Array:
    """Central differences, one-sided at zero shares."""
    slope_D = np.empty(len(w_D))
    for i in range(len(w_D)):
        up_D, down_D = w_D.copy(), w_D.copy()
        up_D[i] += step
        down_D[i] = max(down_D[i] - step, 0.0)
        slope_D[i] = (function(up_D) - function(down_D)) / (up_D[i] - down_D[i])
    return slope_D
