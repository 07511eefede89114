"""From the evidence of a study to what its report says.

Letters: B blocks, D domains, N trials, S evaluation points.
"""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from cuvee.plan.choice import Check, Choice, Estimate
from cuvee.plan.problem import Problem, smallest_sound_proxy
from cuvee.plan.trial import Trial
from cuvee.report.data import (
    AggregationRow,
    ArmRow,
    CostRow,
    CurveRow,
    Evidence,
    Fact,
    GainRow,
    GuardRow,
    PhaseRow,
    ReportData,
    Role,
    RunRow,
    Usage,
    WeightRow,
)
from cuvee.report.text import count, listed, percent, plural, ratio
from cuvee.report.verdict import finite, label, objective, verdict, verified_arm, warnings, without_stale
from cuvee.study import judge


def assemble(evidence: Evidence) -> ReportData:
    """All that the report of this evidence says."""
    evidence = without_stale(evidence)
    problem, choice, verification = evidence.problem, evidence.choice, evidence.verification
    arm = verified_arm(verification, "choice")
    predicted, verified = choice.predicted if choice else (), arm.estimates if arm else ()
    guards = _guards(problem, predicted, verified)
    runs = _runs(problem, evidence.trials)
    # a verified difference is relative to natural on the verify split, a predicted one to natural on the search split
    level = _natural_level(problem, evidence.verification_trials if arm else evidence.trials)
    arms = verification.arms if verification else ()
    return ReportData(
        study=evidence.name,
        title=f"How to mix {len(problem.domains)} domains for a run of {count(problem.target_tokens)} tokens",
        question=_question(problem, evidence.method),
        verdict=verdict(evidence, level, guards),
        warnings=warnings(evidence, guards),
        why=choice.why if choice else (),
        weights=_weights(problem, choice) if choice else (),
        phases=tuple(PhaseRow(p.start, p.mixture.as_dict()) for p in choice.schedule.phases) if choice else (),
        tolerance=choice.near_optimal[0].tolerance if choice and choice.near_optimal else None,
        gains=_gains(problem, predicted, verified),
        guards=guards,
        aggregations=_aggregations(problem, predicted, verified),
        arms=tuple(ArmRow(a.name, label(a.name), a.estimates[0], a.blocks, a.differences) for a in arms if a.estimates),
        detectable=finite(verification.detectable) if verification else None,
        missing=verification.missing if verification else (),
        checks=choice.checks if choice else (),
        rank_correlation=rank_correlation(choice.checks) if choice else None,
        diagnostics=dict(choice.diagnostics) if choice else {},
        runs=runs,
        curves=tuple(c for t in evidence.trials if (c := _curve(problem, t)) is not None),
        costs=_costs(evidence),
        usage=_usage(evidence, choice) if choice else None,
        provenance=_provenance(evidence, runs),
    )


def _question(problem: Problem, method: str) -> tuple[Fact, ...]:
    total = sum(t.weight for t in problem.objective)
    targets = listed([f"{t.name} ({percent(t.weight / total)})" for t in problem.objective], 12)
    even = len({t.weight for t in problem.objective}) == 1
    if even and {t.name for t in problem.objective} == set(problem.domains):
        targets = f"all {len(problem.domains)} domains, equally"
    facts = [Fact("To be good at", targets)]
    if problem.guards:
        facts.append(
            Fact("Without losing", "; ".join(f"{g.name}, at most {percent(g.tolerance)}" for g in problem.guards))
        )
    bounds = [f"at most {problem.max_epochs:g} epochs of any domain"] if problem.max_epochs is not None else []
    bounds += [f"{plural(len(problem.limits), 'limit')} of single domains"] if problem.limits else []
    bounds += [f"{' + '.join(g.domains)} {percent(g.min_share)} to {percent(g.max_share)}" for g in problem.groups]
    facts += [Fact("Within", "; ".join(bounds))] if bounds else []
    facts.append(Fact("From", f"{count(sum(problem.tokens))} training tokens"))
    return (*facts, Fact("Searched with", f"{method}, on proxies of {problem.proxy.size} parameters"))


def _weights(problem: Problem, choice: Choice) -> tuple[WeightRow, ...]:
    mixture = choice.schedule.mean(problem.target_tokens)
    feasible, ranges = problem.feasible(), {r.domain: r for r in choice.near_optimal}
    epochs_D = problem.epochs(mixture)
    rows = []
    for i, domain in enumerate(problem.domains):
        share, floor, cap = mixture.share(domain), feasible.low[i], feasible.high[i]
        near = ranges.get(domain)
        rows.append(
            WeightRow(
                domain=domain,
                tokens=problem.tokens[i],
                natural=problem.natural.share(domain),
                share=share,
                low=near.low if near else None,
                high=near.high if near else None,
                floor=floor,
                cap=cap,
                epochs=float(epochs_D[i]),
                cap_epochs=cap * problem.target_tokens / problem.tokens[i],
                bound="cap"
                if cap < 1 and share > cap - min(1e-4, 0.02 * cap)
                else "floor"
                if floor > 0 and share < floor + min(1e-4, 0.02 * floor)
                else "",
            )
        )
    return tuple(sorted(rows, key=lambda r: -r.share))


def _gains(problem: Problem, predicted: tuple[Estimate, ...], verified: tuple[Estimate, ...]) -> tuple[GainRow, ...]:
    """The objective, its targets by weight, then whatever else is scored."""
    if not predicted and not verified:
        return ()
    weight = _objective_weights(problem)
    names = sorted(problem.scored, key=lambda d: -weight.get(d, 0))
    rows = (GainRow(d, weight.get(d, 0.0), _of_domain(predicted, d), _of_domain(verified, d)) for d in names)
    known = (r for r in rows if r.predicted or r.verified)
    return (GainRow("objective", 1.0, objective(predicted), objective(verified)), *known)


def _objective_weights(problem: Problem) -> dict[str, float]:
    total = sum(t.weight for t in problem.objective)
    return {t.name: t.weight / total for t in problem.objective}


def _of_domain(estimates: tuple[Estimate, ...], domain: str) -> Estimate | None:
    # the objective stands first and guards last, so that a domain may be called `objective` or `guard:x`
    return next((e for e in estimates[1:] if e.name == domain), None)


def _guards(problem: Problem, predicted: tuple[Estimate, ...], verified: tuple[Estimate, ...]) -> tuple[GuardRow, ...]:
    def find(estimates: tuple[Estimate, ...], name: str) -> Estimate | None:
        return next((e for e in reversed(estimates) if e.name == f"guard:{name}"), None)

    return tuple(
        GuardRow(
            name=g.name,
            targets=tuple(t.name for t in g.targets),
            tolerance=g.tolerance,
            probability=g.probability,
            predicted=find(predicted, g.name),
            verified=find(verified, g.name),
        )
        for g in problem.guards
    )


def _aggregations(
    problem: Problem, predicted: tuple[Estimate, ...], verified: tuple[Estimate, ...]
) -> tuple[AggregationRow, ...]:
    """The declared objective beside two other means and the worst domain."""

    def means(estimates: tuple[Estimate, ...]) -> NDArray[np.float64] | None:
        found = [_of_domain(estimates, d) for d in problem.domains]
        return np.array([e.mean for e in found if e is not None]) if found and all(found) else None

    def row(name: str, weights_D: NDArray[np.float64]) -> AggregationRow:
        values = [None if m is None else float(weights_D @ m) for m in (predicted_D, verified_D)]
        return AggregationRow(name, *values)

    predicted_D, verified_D = means(predicted), means(verified)
    if predicted_D is None and verified_D is None:
        return ()
    declared, count_D = [objective(predicted), objective(verified)], len(problem.domains)
    tokens_D = np.array(problem.tokens, np.float64)
    worst = [None if m is None else float(m.max()) for m in (predicted_D, verified_D)]
    return (
        AggregationRow("The declared objective", *(e.mean if e else None for e in declared)),
        row("Mean over all domains", np.full(count_D, 1 / count_D)),
        row("Mean over all domains by their tokens", tokens_D / tokens_D.sum()),
        AggregationRow("The domain that gains least or loses most", *worst),
    )


def _role(problem: Problem, trial: Trial) -> Role:
    return "natural" if tuple(p.mixture for p in trial.plan.schedule.phases) == (problem.natural,) else "proposed"


def _natural_level(problem: Problem, trials: Iterable[Trial]) -> float:
    """Natural's mean objective in bits/byte; NaN without a finished run of it."""
    found = [judge.value(problem.objective, t) for t in trials if t.status == "done" and _role(problem, t) == "natural"]
    return float(np.mean(found)) if found else math.nan


def _runs(problem: Problem, trials: Iterable[Trial]) -> tuple[RunRow, ...]:
    ordered = sorted(trials, key=lambda t: (t.plan.block, t.id))
    losses = {t.id: judge.value(problem.objective, t) for t in ordered if t.status == "done"}
    natural = {t.plan.block: losses[t.id] for t in ordered if t.id in losses and _role(problem, t) == "natural"}
    return tuple(
        RunRow(
            id=t.id,
            block=t.plan.block,
            role=_role(problem, t),
            status=t.status,
            loss=finite(losses.get(t.id, math.nan)),
            difference=finite(losses.get(t.id, math.nan) - natural.get(t.plan.block, math.nan)),
            seconds=t.cost.seconds,
            message=t.message,
        )
        for t in ordered
    )


def _curve(problem: Problem, trial: Trial) -> CurveRow | None:
    weights = _objective_weights(problem)
    curves = {c.target: c for c in trial.curves if c.target in weights and c.bits_per_byte}
    if set(curves) != set(weights):
        return None
    first = next(iter(curves.values()))
    loss_S = sum(w * np.array(curves[name].bits_per_byte[: len(first.tokens)]) for name, w in weights.items())
    points = [(t, float(v)) for t, v in zip(first.tokens, np.asarray(loss_S), strict=True) if math.isfinite(v)]
    if not points:
        return None
    return CurveRow(trial.id, _role(problem, trial), tuple(t for t, _ in points), tuple(v for _, v in points))


def _costs(evidence: Evidence) -> tuple[CostRow, ...]:
    stages = (("Search", evidence.trials), ("Verification", evidence.verification_trials))
    rows = [
        CostRow(
            stage=name,
            runs=len(trials),
            tokens=sum(sum(t.realised) for t in trials),
            cpu_seconds=sum(t.cost.cpu_seconds for t in trials),
            flops=sum(t.cost.flops for t in trials),
        )
        for name, trials in stages
        if trials
    ]
    if len(rows) > 1:
        a, b = rows
        rows.append(
            CostRow("Together", a.runs + b.runs, a.tokens + b.tokens, a.cpu_seconds + b.cpu_seconds, a.flops + b.flops)
        )
    return tuple(rows)


def _usage(evidence: Evidence, choice: Choice) -> Usage:
    """The shares to paste: of the first phase as YAML, of every phase as JSON."""
    phases = choice.schedule.phases
    shares = [{d: round(s, 6) for d, s in p.mixture.as_dict().items()} for p in phases]
    plain = json.dumps(shares[0], indent=2, ensure_ascii=False)
    phased = json.dumps(
        [{"start": p.start, "shares": s} for p, s in zip(phases, shares, strict=True)], indent=2, ensure_ascii=False
    )
    # JSON strings are YAML strings: quoted, any domain name is safe
    yaml = "\n".join(f"{json.dumps(d, ensure_ascii=False)}: {s:.6f}" for d, s in shares[0].items())
    python = (
        "import cuvee\n\n"
        f"study = cuvee.Study.load({json.dumps(evidence.folder, ensure_ascii=False)})\n"
        "choice = study.choice()\n"
        "loader = cuvee.Loader(study.corpus, choice.schedule, seq_len=2048, seed=0)\n"
        "for batch in loader:\n"
        "    ...  # batch.tokens, batch.domains"
    )
    shell = f"cuvee export {shlex.quote(evidence.folder)} --to megatron --out blend/"
    return Usage(yaml, plain if len(phases) == 1 else phased, shell, python)


def _provenance(evidence: Evidence, runs: tuple[RunRow, ...]) -> tuple[Fact, ...]:
    problem, trials = evidence.problem, (*evidence.trials, *evidence.verification_trials)
    proxy, scale = problem.proxy, problem.proxy.tokens / problem.target_tokens
    smallest = min(zip(problem.pools, problem.domains, strict=True))
    sound = smallest_sound_proxy(problem.tokens, problem.target_tokens, proxy.seq_len)
    noise = judge.noise(problem, evidence.trials)
    recipe = f"{proxy.steps:,} steps of {proxy.sequences_per_step} × {proxy.seq_len} tokens, peak learning rate"
    facts = [
        Fact("r/R", f"{ratio(scale)} ({count(proxy.tokens)} of {count(problem.target_tokens)} tokens)"),
        Fact("Smallest pool", f"{smallest[0] // proxy.seq_len:,} sequences ({smallest[1]}); 100 are sound"),
        Fact("Smallest sound proxy", f"{count(sound)} tokens"),
        Fact("Proxy", f"{proxy.size} parameters, {recipe} {proxy.peak_learning_rate:.2e}, {proxy.precision}"),
        Fact(
            "Paired noise",
            "not known" if math.isnan(noise) else f"{noise:.4f} bits/byte between blocks (standard deviation)",
        ),
        Fact("Blocks", f"{len({r.block for r in runs})} in the search, {_fresh(evidence)} fresh in the verification"),
        Fact("Seed", str(problem.seed)),
        Fact("Corpus fingerprint", evidence.fingerprint),
        Fact("Training recipe", str(evidence.recipe)),
    ]
    for key in dict.fromkeys(k for t in trials for k in t.provenance):
        values = sorted({t.provenance.get(key, "not recorded") for t in trials})
        facts.append(Fact(key.replace("_", " "), ", ".join(values)))
    facts += [Fact("Edited", edit) for edit in evidence.edits]
    return tuple(facts)


def _fresh(evidence: Evidence) -> int:
    arms = evidence.verification.arms if evidence.verification else ()
    return len({b for a in arms for b in a.blocks})


def rank_correlation(checks: tuple[Check, ...]) -> float | None:
    """Spearman's correlation of predicted and measured; None for fewer than three, or for a constant."""
    predicted, measured = [c.predicted for c in checks], [c.measured for c in checks]
    if len(checks) < 3 or len(set(predicted)) == 1 or len(set(measured)) == 1:
        return None
    from scipy.stats import spearmanr

    return float(spearmanr(predicted, measured).statistic)
