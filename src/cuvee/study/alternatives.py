"""What the choice would be if it were asked otherwise: other means of the targets, and the front between two of them.

Methods are pure, so the same runs answer every objective: nothing is trained. Where a method can predict mixtures that it
did not choose (`methods.contract.Predictive`), every answer is valued under the declared objective too.

Letters: P points of a front.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from cuvee.base.codec import content_id, nearest
from cuvee.base.errors import UsageError
from cuvee.base.rng import generator
from cuvee.methods.contract import Method, Predictive
from cuvee.mixture.weights import Mixture
from cuvee.plan.choice import Choice, Estimate
from cuvee.plan.problem import ALL_DOMAINS, Problem, Target
from cuvee.plan.trial import Trial

Targets = tuple[Target, ...]


@dataclass(frozen=True)
class Alternative:
    """The mixture that the method takes for another mean of targets.

    Args:
        name: The mean.
        declared: Its predicted difference to natural under the objective that the study declares; None where the method
            predicts nothing.
        own: The same under the mean it was chosen for.
    """

    name: str
    mixture: Mixture
    declared: Estimate | None
    own: Estimate | None


@dataclass(frozen=True)
class Alternatives:
    """`alternatives.json`: the declared choice first. `about` is the content of the choice that they stand beside."""

    about: str
    choices: tuple[Alternative, ...]


@dataclass(frozen=True)
class FrontPoint:
    """The mixture for (1 - weight) of the first objective and `weight` of the second, with both differences to natural."""

    weight: float
    mixture: Mixture
    a: Estimate
    b: Estimate


@dataclass(frozen=True)
class Front:
    """`pareto.json`: what one objective costs in the other.

    Args:
        about: The content of the choice that the front stands beside.
        a, b: Names of the objectives.
        points: From the best for `a` to the best for `b`.
        duplicates, dominated: Points left out: the same mixture again, or another that is better for both.
        marks: The choice, and the present blend if there is one, in the same figure.
    """

    about: str
    a: str
    b: str
    points: tuple[FrontPoint, ...]
    duplicates: int
    dominated: int
    marks: Mapping[str, FrontPoint] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [f"{'weight':>6}  {self.a} against {self.b}, bits/byte against natural"]
        lines += [_line(f"{p.weight:.2f}", p) for p in self.points]
        lines += [_line(name, p) for name, p in self.marks.items()]
        return "\n".join([*lines, f"left out: {self.duplicates} duplicates, {self.dominated} dominated"])


def _line(name: str, p: FrontPoint) -> str:
    pairs = "   ".join(f"{e.mean:+.4f} ({e.low:+.4f} to {e.high:+.4f})" for e in (p.a, p.b))
    return f"{name:>6}  {pairs}"


def about(choice: Choice) -> str:
    """The content of a choice, to tell whether something stands beside this one or an earlier one."""
    return content_id(choice)


def alternatives(problem: Problem, trials: Sequence[Trial], method: Method, choice: Choice) -> Alternatives:
    """The choice beside those for the mean over all scored domains, plain and by their tokens."""
    scored = [(d, n) for d, n in zip(problem.domains, problem.tokens, strict=True) if d in problem.scored]
    means: dict[str, Targets] = {"The declared objective": problem.objective}
    if len(scored) > 1:
        means["Mean over all domains"] = tuple(Target(d) for d, _ in scored)
        means["Mean over all domains by their tokens"] = tuple(Target(d, float(n)) for d, n in scored)
    chosen = {
        name: choice if targets == problem.objective else _choose(problem, trials, method, targets)
        for name, targets in means.items()
    }
    mixtures = [c.schedule.mean(problem.target_tokens) for c in chosen.values()]
    declared = _predict(problem, trials, method, mixtures)
    return Alternatives(
        about(choice),
        tuple(
            Alternative(name, mixture, value, c.predicted[0] if c.predicted else None)
            for (name, c), mixture, value in zip(chosen.items(), mixtures, declared, strict=True)
        ),
    )


def pareto(
    problem: Problem, trials: Sequence[Trial], method: Method, choice: Choice, a: str, b: str, points: int = 9
) -> Front:
    """The front of two objectives by weighted sums, from the best for `a` to the best for `b`.

    Weighted sums find only the convex part of a front; where losses are convex in the mixture, that is all of it.

    Args:
        choice: The study's, marked in the front.
        a, b: Targets, or means of targets: a guard's, a group's, `objective`, `all-domains`, or names joined by commas.
        points: Weights tried, evenly spaced.

    Raises:
        UsageError: an unknown name, the same objective twice, fewer than three points, a method that predicts nothing.
    """
    ends = (targets_of(problem, a), targets_of(problem, b))
    if points < 3 or shares(ends[0]) == shares(ends[1]):
        raise UsageError(f"got {points} points between {a} and {b}", wanted="two different objectives, three points")
    weights = [i / (points - 1) for i in range(points)]
    chosen = [
        _choose(problem, trials, method, _between(*ends, w)).schedule.mean(problem.target_tokens) for w in weights
    ]
    marks = {"choice": choice.schedule.mean(problem.target_tokens)}
    if problem.present is not None:
        marks["present blend"] = problem.feasible().project_mixture(problem.present)
    mixtures = [*chosen, *marks.values()]
    values = [_predict(replace(problem, objective=end), trials, method, mixtures) for end in ends]
    valued = [
        FrontPoint(w, mixture, replace(x, name=a), replace(y, name=b))
        for w, mixture, x, y in zip([*weights, *(-1.0 for _ in marks)], mixtures, *values, strict=True)
        if x is not None and y is not None
    ]
    if len(valued) < len(mixtures):
        raise UsageError(
            f"the method {method.name} predicts nothing of mixtures that it did not choose, or too few runs are done",
            wanted="a method with `predict`, such as auto",
        )
    once = sorted({p.mixture: p for p in reversed(valued[:points])}.values(), key=lambda p: p.weight)
    kept = tuple(p for p in once if not any(_better(q, p) for q in once))
    return Front(
        about(choice),
        a,
        b,
        kept,
        points - len(once),
        len(once) - len(kept),
        dict(zip(marks, valued[points:], strict=True)),
    )


def targets_of(problem: Problem, name: str) -> Targets:
    """The targets that a name stands for: one target, a guard's, a group's, the objective's, all domains, or several by commas.

    Raises:
        UsageError: none of these.
    """
    if name in problem.scored:
        return (Target(name),)
    known: dict[str, Targets] = {g.name: tuple(Target(d) for d in g.domains) for g in problem.groups}
    known |= {g.name: g.targets for g in problem.guards}
    known |= {"objective": problem.objective, ALL_DOMAINS: tuple(Target(d) for d in problem.domains)}
    found = known.get(name) or tuple(Target(part.strip()) for part in name.split(","))
    for target in found:
        if target.name not in problem.scored:
            raise UsageError(
                f"no target {target.name!r} is scored",
                wanted=f"one of {', '.join((*problem.scored, *known))}, or several joined by commas",
                fix=nearest(target.name, (*problem.scored, *known)),
            )
    return found


def shares(targets: Targets) -> dict[str, float]:
    """Each target's part of the weights."""
    total = sum(t.weight for t in targets)
    found: dict[str, float] = {}
    for t in targets:
        found[t.name] = found.get(t.name, 0.0) + t.weight / total
    return found


def _between(a: Targets, b: Targets, weight: float) -> Targets:
    """(1 - weight) of the mean over `a` and `weight` of that over `b`."""
    ours, theirs = shares(a), shares(b)
    mixed = {n: (1 - weight) * ours.get(n, 0.0) + weight * theirs.get(n, 0.0) for n in {**ours, **theirs}}
    return tuple(Target(name, share) for name, share in mixed.items() if share > 0)


def _better(q: FrontPoint, p: FrontPoint) -> bool:
    """Whether `q` is at least as good for both objectives and better for one."""
    return q.a.mean <= p.a.mean and q.b.mean <= p.b.mean and (q.a.mean, q.b.mean) != (p.a.mean, p.b.mean)


def _choose(problem: Problem, trials: Sequence[Trial], method: Method, targets: Targets) -> Choice:
    rng = generator(problem.seed, "choose", 0)
    return method.choose(replace(problem, objective=targets), trials, rng)


def _predict(
    problem: Problem, trials: Sequence[Trial], method: Method, mixtures: Sequence[Mixture]
) -> list[Estimate | None]:
    """The objective's predicted difference to natural of each mixture; None where the method predicts nothing."""
    if not isinstance(method, Predictive):
        return [None] * len(mixtures)
    return [found[0] if found else None for found in method.predict(problem, trials, mixtures)]
