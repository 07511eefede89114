"""What weakens the evidence, in sentences."""

from __future__ import annotations

import math

from cuvee.plan.choice import Verification
from cuvee.plan.problem import TRANSFER_FLOOR
from cuvee.plan.trial import Trial
from cuvee.report.data import Evidence, GuardRow
from cuvee.report.text import plural, probability, ratio
from cuvee.study.provenance import recorded


def warnings(evidence: Evidence, guards: tuple[GuardRow, ...]) -> tuple[str, ...]:
    """What weakens the evidence."""
    problem, found = evidence.problem, []
    scale = problem.proxy.tokens / problem.target_tokens
    if scale < TRANSFER_FLOOR:
        found.append(f"Transfer unproven: proxies see {ratio(scale)} of the target run's tokens, less than 1/16.")
    for guard in guards:
        estimate = guard.weakest
        if estimate is not None and guard.state != "holds":
            found.append(
                f"Guard {guard.name} holds with probability {probability(estimate.p_better)}; {guard.probability:.2f} is asked for."
            )
    for status in ("failed", "diverged"):
        number = sum(t.status == status for t in evidence.all_trials)
        if number:
            found.append(f"{plural(number, 'run')} {status}; the report lists them.")
    if evidence.stale:
        found.append("There is a verification, but of an earlier choice: verify again.")
    found += _missing("verification", evidence.verification)
    found += _missing("verification at the larger scale", evidence.larger)
    found += _transfer(evidence)
    blocks = {t.plan.block for t in evidence.trials if t.status == "done"}
    if evidence.choice is not None and evidence.choice.predicted and len(blocks) < 4:
        found.append(f"{plural(len(blocks), 'block')} only: intervals from fewer than four are wide, and rough.")
    if " and " in problem.unit:
        found.append(f"The objective averages {problem.unit}: its weights decide what a unit of each is worth.")
    small = problem.small_pool_domains()
    if small:
        found.append(f"Pools under 100 sequences, so capped at one epoch at the target run: {', '.join(small)}.")
    # differences are taken within a scale, so scales may differ
    small_runs = (*evidence.trials, *evidence.verification_trials)
    mixed = [line for group in (small_runs, evidence.transfer_trials, evidence.larger_trials) for line in _mixed(group)]
    return tuple(dict.fromkeys((*found, *mixed)))


def _missing(name: str, verification: Verification | None) -> list[str]:
    missing = verification.missing if verification is not None else ()
    return [f"Missing from the {name}: {', '.join(missing)}. Their blocks are left out."] if missing else []


def _transfer(evidence: Evidence) -> list[str]:
    """Only a search rests on the order of small runs; a rule without one does not."""
    if evidence.choice is None or not evidence.choice.predicted:
        return []
    found = evidence.transfer
    if found is None:
        return ["Transfer not checked: no mixtures of the search were run again at a larger scale and compared."]
    lost = [f"{plural(len(found.missing), 'run')} missing from the transfer check."] if found.missing else []
    if math.isnan(found.low):
        return [*lost, "Transfer not known: too few mixtures ran at both scales to compare their order."]
    if found.low <= 0:
        return [
            *lost,
            f"Transfer not shown: the rank agreement of the two scales, {found.spearman:.2f}, has an interval that includes 0 "
            f"({found.low:.2f} to {found.high:.2f}).",
        ]
    return lost


def _mixed(trials: tuple[Trial, ...]) -> list[str]:
    """Versions and hardware that differ between trials."""
    mixed = {key: values for key, values in recorded(trials).items() if len(values) > 1}
    return [f"Runs differ in {key}: {', '.join(values)}." for key, values in mixed.items()]
