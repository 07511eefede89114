"""The contract suite of methods. Authors subclass it:

    class TestMine(MethodSuite):
        method = Mine(runs=12)

Give a cheap instance: every check plays it in small worlds. Without pytest, `failures(method)` says what is broken.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import math
import pickle
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from cuvee.base.codec import from_json, to_json
from cuvee.base.rng import generator
from cuvee.methods.contract import Method
from cuvee.methods.random import Random
from cuvee.mixture.feasible import Group
from cuvee.plan.choice import Choice
from cuvee.plan.experts import expert
from cuvee.plan.problem import Guard, Limit, Problem, Target
from cuvee.plan.trial import Plan, Trial
from cuvee.testing.worlds import MOST_ROUNDS, World, play, world


class MethodSuite:
    """Tests of the contract for the method in the attribute `method`; each is a function of this module."""

    method: Method

    def test_card(self) -> None:
        """See `check_card`."""
        check_card(self.method)

    def test_repeatable(self) -> None:
        """See `check_repeatable`."""
        check_repeatable(self.method)

    def test_order_of_trials(self) -> None:
        """See `check_order_of_trials`."""
        check_order_of_trials(self.method)

    def test_plans(self) -> None:
        """See `check_plans`."""
        check_plans(self.method)

    def test_choice(self) -> None:
        """See `check_choice`."""
        check_choice(self.method)

    def test_json(self) -> None:
        """See `check_json`."""
        check_json(self.method)

    def test_failures(self) -> None:
        """See `check_failures`."""
        check_failures(self.method)

    def test_strange_trials(self) -> None:
        """See `check_strange_trials`."""
        check_strange_trials(self.method)

    def test_strange_problems(self) -> None:
        """See `check_strange_problems`."""
        check_strange_problems(self.method)


def check_card(method: Method) -> None:
    """A frozen dataclass with a name and a docstring that is its card, and picklable."""
    assert isinstance(getattr(method, "name", None), str), "a method has a class attribute `name`"
    assert dataclasses.is_dataclass(method), "a method is a dataclass of its hyperparameters"
    assert type(method).__dataclass_params__.frozen, "a method is a frozen dataclass: it keeps no state"
    assert len(inspect.getdoc(type(method)) or "") > 40, "the docstring is the method's card: say what it does"
    assert not (type(method).__doc__ or "").startswith(f"{type(method).__name__}("), (
        "the docstring is the generated one"
    )
    assert pickle.loads(pickle.dumps(method)) == method, "a method survives pickling"


def check_repeatable(method: Method) -> None:
    """The same arguments give the same plans and choice, again and in another process; arguments stay as they are."""
    small = _world()
    first, again = play(small, method), play(small, method)
    assert first.trials == again.trials, "the same study proposes the same plans again"
    assert _same(first.choice, again.choice), "the same trials give the same choice again"
    copied = play(small, pickle.loads(pickle.dumps(method)))
    assert _same(first.choice, copied.choice), "a copy of the method chooses the same"
    trials = list(first.trials)
    before = pickle.dumps(trials)
    method.choose(small.problem, trials, _rng())
    method.propose(small.problem, trials, _rng())
    assert pickle.dumps(trials) == before, "the trials given are not changed"


def check_order_of_trials(method: Method) -> None:
    """Which run ended first says nothing: shuffled trials give the same plans and choice."""
    small = _world()
    trials = play(small, method).trials
    rounds = _part(trials), trials
    for known in rounds:
        shuffled = tuple(reversed(known))
        one, two = (method.propose(small.problem, t, _rng()) for t in (known, shuffled))
        assert one == two, "the order of trials changes the plans"
        chosen, other = (method.choose(small.problem, t, _rng()) for t in (known, shuffled))
        assert chosen.schedule == other.schedule, "the order of trials changes the choice"


def check_plans(method: Method) -> None:
    """Plans are those of `problem.plan`, in the feasible set or natural, or experts; new every time, and they end."""
    for w in (_world(), _tight()):
        problem, seen, trials = w.problem, set[str](), dict[str, Trial]()
        for turn in range(MOST_ROUNDS + 1):
            plans = method.propose(problem, tuple(trials[i] for i in sorted(trials)), generator(0, "propose", turn))
            assert isinstance(plans, tuple), "propose returns a tuple"
            if not plans:
                break
            for plan in plans:
                _check_plan(plan, problem)
                trial = w.run(plan)
                assert trial.id not in seen, "a plan is proposed twice"
                seen.add(trial.id)
                trials[trial.id] = trial
        assert turn < MOST_ROUNDS, f"still proposes after {MOST_ROUNDS} rounds: an empty tuple means enough"


def check_choice(method: Method) -> None:
    """The choice is feasible, names the method, rests on trials that exist, and its figures are figures."""
    for w in (_world(), _tight(), _guarded()):
        played = play(w, method)
        _check_choice(method, played.choice, w.problem, played.trials)
    for w in (_world(), _tight()):
        _check_choice(method, method.choose(w.problem, (), _rng()), w.problem, ())


def check_json(method: Method) -> None:
    """Plans, trials and choice survive JSON, and what survived gives the same plans and choice."""
    small = _world()
    played = play(small, method)
    text = json.dumps(to_json(played.choice), allow_nan=False)
    assert to_json(from_json(Choice, json.loads(text))) == json.loads(text), "the choice does not survive JSON"
    back = tuple(from_json(Trial, json.loads(json.dumps(to_json(t)))) for t in played.trials)
    assert back == played.trials, "a trial does not survive JSON"
    problem = from_json(Problem, json.loads(json.dumps(to_json(small.problem))))
    assert _same(method.choose(problem, back, generator(small.problem.seed, "choose")), played.choice), (
        "JSON changes the choice"
    )
    known = _part(back)
    again = method.propose(problem, known, _rng())
    assert again == method.propose(small.problem, _part(played.trials), _rng()), "JSON changes the plans"


def check_failures(method: Method) -> None:
    """Failed and diverged runs, some or all, are neither chosen, nor proposed again, nor a reason to stop."""
    for share in (0.3, 1.0):
        w = replace(_world(), failing=share)
        played = play(w, method)
        done = [t for t in played.trials if t.status == "done"]
        _check_choice(method, played.choice, w.problem, played.trials)
        assert set(played.choice.evidence) <= {t.id for t in done}, "the choice rests on runs that failed"
        ids = [w.run(p).id for p in method.propose(w.problem, played.trials, _rng())]
        assert not set(ids) & {t.id for t in played.trials}, "a failed plan is proposed again"
        assert len(played.rounds) < MOST_ROUNDS, "failures keep it proposing"


def check_strange_trials(method: Method) -> None:
    """Trials of another method, of one block, or with equal losses are evidence too."""
    small = _world()
    for other in (Random(runs=12, blocks=3), Random(runs=5, blocks=1)):
        trials = play(small, other).trials
        method.propose(small.problem, trials, _rng())
        _check_choice(method, method.choose(small.problem, trials, _rng()), small.problem, trials)
    flat = tuple(_flat(t) for t in play(small, Random(runs=12, blocks=3)).trials)
    _check_choice(method, method.choose(small.problem, flat, _rng()), small.problem, flat)
    method.propose(small.problem, flat, _rng())


def check_strange_problems(method: Method) -> None:
    """One domain with nearly all tokens, many domains, two domains, caps that leave one mixture."""
    heavy = world("law", 3, domains=4)
    tokens = (100_000_000, 300_000, 200_000, 200_000)
    heavy = replace(heavy, problem=_sized(heavy.problem, tokens))
    pair, many = world("power", 4, domains=2), world("law", 5, domains=12)
    only = _world()
    only = replace(
        only, problem=replace(only.problem, max_epochs=only.problem.target_tokens / sum(only.problem.tokens))
    )
    for w in (heavy, pair, many, only):
        played = play(w, method)
        _check_choice(method, played.choice, w.problem, played.trials)


CHECKS: dict[str, Callable[[Method], None]] = {
    "card": check_card,
    "repeatable": check_repeatable,
    "order of trials": check_order_of_trials,
    "plans": check_plans,
    "choice": check_choice,
    "json": check_json,
    "failures": check_failures,
    "strange trials": check_strange_trials,
    "strange problems": check_strange_problems,
}


def failures(method: Method) -> dict[str, str]:
    """Check -> what is broken, for the checks that do not pass; any exception of the method counts."""
    broken = {}
    for name, check in CHECKS.items():
        try:
            check(method)
        except Exception as error:
            broken[name] = f"{type(error).__name__}: {error}"
    return broken


def _check_plan(plan: Plan, problem: Problem) -> None:
    mixture = plan.schedule.at(0)
    assert plan.split == "search", "search reads the search split only"
    assert plan.block >= 0, "blocks are numbered from 0"
    if plan.kind in ("expert", "ngram"):
        domain = max(problem.domains, key=mixture.share)
        assert plan.wants, "an expert records likelihoods: without `wants` it is no evidence of anything"
        ours = expert(problem, domain, plan.block, plan.kind, plan.wants[0])
        assert replace(plan, wants=ours.wants) == ours, "plans of experts come from cuvee.plan.experts"
        return
    feasible = problem.feasible().contains(mixture.shares)
    assert feasible or mixture == problem.natural, f"a plan outside the feasible set: {mixture.as_dict()}"
    ours = problem.plan(mixture, plan.block)
    if plan.kind == "short":
        matched = tuple(min(n, n * plan.tokens // problem.target_tokens) for n in problem.tokens)
        assert plan.tokens < ours.tokens, "a short run sees fewer tokens than the proxies"
        assert plan.pools == matched, "a short run has pools matched at its own tokens"
        plan = replace(plan, steps=ours.steps, batch=ours.batch, learning_rate=ours.learning_rate, pools=ours.pools)
    assert replace(plan, schedule=ours.schedule, kind=ours.kind, requires=(), wants=()) == ours, (
        "plans come from problem.plan"
    )


def _check_choice(method: Method, choice: Choice, problem: Problem, trials: Sequence[Trial]) -> None:
    assert choice.method == method.name, f"the choice says method {choice.method!r}"
    for phase in choice.schedule.phases:
        assert phase.mixture.domains == problem.domains, "the choice is over the problem's domains"
        assert problem.feasible().contains(phase.mixture.shares), f"an infeasible choice: {phase.mixture.as_dict()}"
    assert set(choice.evidence) <= {t.id for t in trials}, "the evidence names trials that were not given"
    assert choice.why, "a choice says why"
    assert all(isinstance(line, str) and line for line in choice.why), "`why` holds sentences"
    if choice.predicted:
        names = ["objective", *problem.scored, *(f"guard:{g.name}" for g in problem.guards)]
        assert [e.name for e in choice.predicted] == names, f"estimates are of {', '.join(names)}, in that order"
    for e in choice.predicted:
        assert math.isfinite(e.mean), f"{e.name}: the mean is {e.mean}"
        assert math.isnan(e.low) or e.low <= e.mean <= e.high, f"{e.name}: {e.mean} outside {e.low} to {e.high}"
        assert math.isnan(e.p_better) or 0 <= e.p_better <= 1, f"{e.name}: P {e.p_better}"
    for r in choice.near_optimal:
        share = choice.schedule.at(0).share(r.domain)
        assert r.low - 1e-6 <= share <= r.high + 1e-6, f"{r.domain}: the choice lies outside its near-optimal range"
        assert math.isfinite(r.tolerance), f"{r.domain}: the tolerance is {r.tolerance}"
    assert {c.trial for c in choice.checks} <= {t.id for t in trials}, "a check names a trial that was not given"


def _same(one: Choice, two: Choice) -> bool:
    """Equal, NaN included."""
    return bool(to_json(one) == to_json(two))


def _part(trials: tuple[Trial, ...]) -> tuple[Trial, ...]:
    """The trials as they might be after an earlier round: two thirds of them, by id."""
    return trials[: 2 * len(trials) // 3]


def _rng() -> np.random.Generator:
    return generator(7, "suite")


def _world() -> World:
    return world("law", 1, domains=4)


def _tight() -> World:
    """Caps, a floor and a group that exclude natural."""
    base = world("power", 2, domains=4)
    share = base.problem.natural.shares
    last, first = base.problem.domains[-1], base.problem.domains[0]
    limit = Limit(last, min_share=float(min(2 * share[-1], 0.3)))
    group = Group("big", (first,), 0.0, float(0.8 * share[0]))
    return replace(base, problem=replace(base.problem, limits=(limit,), groups=(group,), max_epochs=6.0))


def _guarded() -> World:
    base = world("law", 2, domains=4, pointed=True)
    guard = Guard("rest", tuple(Target(d) for d in base.problem.domains[:2]), 0.01)
    return replace(base, problem=replace(base.problem, guards=(guard,)))


def _sized(problem: Problem, tokens: tuple[int, ...]) -> Problem:
    proxy = replace(problem.proxy, tokens=sum(tokens))
    return replace(problem, tokens=tokens, target_tokens=sum(tokens), proxy=proxy)


def _flat(trial: Trial) -> Trial:
    """The trial with every loss 1."""
    return replace(trial, curves=tuple(replace(c, bits_per_byte=(1.0,) * len(c.tokens)) for c in trial.curves))
