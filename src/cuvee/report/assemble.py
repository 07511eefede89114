"""From the evidence of a study to what its report says.

Letters: B blocks, D domains, N trials, S evaluation points.
"""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np

from cuvee.plan.choice import Choice, Verification
from cuvee.plan.problem import Problem
from cuvee.plan.trial import Trial
from cuvee.report.basis import basis, facts, standing
from cuvee.report.caveats import warnings
from cuvee.report.data import (
    ArmRow,
    CostRow,
    CurveRow,
    Evidence,
    Fact,
    PhaseRow,
    ReportData,
    Role,
    RunRow,
    ScaleRows,
    TransferRows,
    Usage,
    WeightRow,
)
from cuvee.report.gains import aggregations, gains, guards, is_natural, trains_on_natural
from cuvee.report.text import count, finite, listed, percent, plural
from cuvee.report.verdict import arm_label, verdict, without_stale
from cuvee.study import judge
from cuvee.study.alternatives import shares


def assemble(evidence: Evidence) -> ReportData:
    """All that the report of this evidence says."""
    evidence = without_stale(evidence)
    problem, choice = evidence.problem, evidence.choice
    guard_rows = guards(evidence)
    return ReportData(
        study=evidence.name,
        title=f"How to mix {len(problem.domains)} domains for a run of {count(problem.target_tokens)} tokens",
        question=_question(problem, evidence.method),
        verdict=verdict(evidence, guard_rows),
        warnings=warnings(evidence, guard_rows),
        why=choice.why if choice else (),
        weights=_weights(problem, choice) if choice else (),
        phases=tuple(PhaseRow(p.start, p.mixture.as_dict(), p.ramp) for p in choice.schedule.phases) if choice else (),
        tolerance=choice.near_optimal[0].tolerance if choice and choice.near_optimal else None,
        simplified=choice.simplified if choice else None,
        gains=gains(evidence),
        guards=guard_rows,
        aggregations=aggregations(evidence),
        alternatives=evidence.alternatives.choices if evidence.alternatives else (),
        front=evidence.front,
        verifications=_verifications(evidence),
        transfer=_transfer(evidence),
        checks=choice.checks if choice else (),
        rank_correlation=finite(choice.diagnostics.get("lobo_spearman")) if choice else None,
        diagnostics=dict(choice.diagnostics) if choice else {},
        runs=_runs(problem, evidence.trials),
        curves=tuple(c for t in evidence.trials if (c := _curve(problem, t)) is not None),
        costs=_costs(evidence),
        usage=_usage(evidence, choice) if choice else None,
        provenance=facts(evidence),
        basis=basis(standing(evidence, evidence.trials)),
        citation=evidence.citation,
    )


def _verifications(evidence: Evidence) -> tuple[ScaleRows, ...]:
    found: list[ScaleRows] = []
    scales: tuple[tuple[Literal["proxy", "large"], Verification | None, tuple[Trial, ...]], ...] = (
        ("proxy", evidence.verification, evidence.verification_trials),
        ("large", evidence.larger, evidence.larger_trials),
    )
    for scale, verification, trials in scales:
        if verification is not None:
            at = verification.proxy or evidence.problem.proxy
            where = "Proxy scale" if scale == "proxy" else "Larger scale"
            found.append(
                ScaleRows(
                    scale=scale,
                    title=f"{where}: {at.size} parameters, {count(at.tokens)} tokens",
                    arms=tuple(
                        ArmRow(a.name, arm_label(evidence.problem, a), a.estimates[0], a.blocks, a.differences)
                        for a in verification.arms
                        if a.estimates
                    ),
                    detectable=finite(verification.detectable),
                    missing=verification.missing,
                    basis=basis(standing(evidence, trials, at)),
                )
            )
    return tuple(found)


def _transfer(evidence: Evidence) -> TransferRows | None:
    found = evidence.transfer
    if found is None:
        return None
    return TransferRows(
        title=f"From {evidence.problem.proxy.size} to {found.proxy.size} parameters, {count(found.proxy.tokens)} tokens",
        pairs=found.pairs,
        spearman=finite(found.spearman),
        low=finite(found.low),
        high=finite(found.high),
        sign=finite(found.sign),
        missing=len(found.missing),
        basis=basis(standing(evidence, evidence.transfer_trials, found.proxy)),
    )


def _question(problem: Problem, method: str) -> tuple[Fact, ...]:
    targets = listed([f"{name} ({percent(share)})" for name, share in shares(problem.objective).items()], 12)
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
    bounds += [f"{plural(len(problem.rows), 'linear bound')} of shares"] if problem.rows else []
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


def _role(problem: Problem, trial: Trial) -> Role:
    if trial.plan.kind != "train":
        return "shorter" if trial.plan.kind == "short" else "expert"
    return "natural" if is_natural(problem, trial) else "proposed"


def _runs(problem: Problem, trials: Iterable[Trial]) -> tuple[RunRow, ...]:
    ordered = sorted(trials, key=lambda t: (t.plan.block, t.id))
    losses = {t.id: judge.value(problem.objective, t) for t in ordered if t.status == "done"}
    done = [t for t in ordered if t.id in losses and trains_on_natural(problem, t)]
    natural = {(t.plan.block, t.plan.tokens): losses[t.id] for t in done}
    return tuple(
        RunRow(
            id=t.id,
            block=t.plan.block,
            role=_role(problem, t),
            status=t.status,
            loss=finite(losses.get(t.id, math.nan)),
            difference=finite(losses.get(t.id, math.nan) - natural.get((t.plan.block, t.plan.tokens), math.nan)),
            seconds=t.cost.seconds,
            message=t.message,
        )
        for t in ordered
    )


def _curve(problem: Problem, trial: Trial) -> CurveRow | None:
    weights = shares(problem.objective)
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
    stages = {name: trials for name, trials in evidence.stages.items() if trials}
    rows = [_cost(name, trials) for name, trials in stages.items()]
    return tuple(rows) if len(rows) < 2 else (*rows, _cost("Together", evidence.all_trials))


def _cost(name: str, trials: Sequence[Trial]) -> CostRow:
    return CostRow(
        stage=name,
        runs=len(trials),
        tokens=sum(sum(t.realised) for t in trials),
        cpu_seconds=sum(t.cost.cpu_seconds for t in trials),
        flops=sum(t.cost.flops for t in trials),
    )


def _usage(evidence: Evidence, choice: Choice) -> Usage:
    """The shares to paste: of the first phase as YAML, of every phase as JSON."""
    phases = choice.schedule.phases
    shares = [{d: round(s, 6) for d, s in p.mixture.as_dict().items()} for p in phases]
    plain = json.dumps(shares[0], indent=2, ensure_ascii=False)
    phased = json.dumps(
        [
            {"start": p.start, **({"ramp": p.ramp} if p.ramp else {}), "shares": s}
            for p, s in zip(phases, shares, strict=True)
        ],
        indent=2,
        ensure_ascii=False,
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
