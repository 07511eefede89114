"""A mixture card: one Markdown page that says what a mixture is, how it was found, how sure one is, and what to cite."""

from __future__ import annotations

from collections.abc import Mapping

from cuvee import __version__
from cuvee.mixture.schedule import Schedule
from cuvee.plan.choice import Choice, Estimate, Verification
from cuvee.plan.problem import TRANSFER_FLOOR, Problem
from cuvee.shards.corpus import Corpus


def card(
    choice: Choice | Schedule,
    corpus: Corpus,
    *,
    target_tokens: int,
    problem: Problem | None = None,
    verification: Verification | None = None,
    licences: Mapping[str, str] | None = None,
    name: str = "mixture",
) -> str:
    """The card in Markdown.

    Args:
        choice: The mixture; a bare schedule has no story of how it was found.
        corpus: What it mixes.
        target_tokens: Tokens of the run that it is for.
        problem: The question it answers, where there was one.
        verification: Of this choice; without one the card says that nothing was verified.
        licences: Domain -> licence.
        name: The title.
    """
    found = choice if isinstance(choice, Choice) else None
    schedule = choice.schedule if isinstance(choice, Choice) else choice
    lines = [
        f"# {_text(name)}",
        "",
        f"A training-data mixture for a run of {target_tokens:,} tokens. Shares are shares of tokens.",
        "",
    ]
    lines += _domains(schedule, corpus, target_tokens, found, licences or {})
    lines += ["", "## How it was found", "", *_story(found, problem, target_tokens)]
    lines += ["", "## How sure", "", *_certainty(found, verification)]
    lines += ["", "## Provenance", "", *_provenance(corpus, problem)]
    lines += ["", "## How to cite", "", *[f"- {c}" for c in (found.citation if found else ())]]
    return "\n".join([*lines, f"- Cuvée {__version__}, which made this card", ""])


def _domains(
    schedule: Schedule, corpus: Corpus, total: int, choice: Choice | None, licences: Mapping[str, str]
) -> list[str]:
    ranges = {r.domain: f"{r.low:.1%} to {r.high:.1%}" for r in (choice.near_optimal if choice else ())}
    mean = schedule.mean(total)
    lines = [
        "## What is in it",
        "",
        "| domain | share | near-optimal range | tokens in the run | tokens available | epochs | licence |",
        "|---|---|---|---|---|---|---|",
    ]
    for domain, share in sorted(mean.as_dict().items(), key=lambda item: -item[1]):
        available, used = corpus.train_tokens[domain], share * total
        lines.append(
            f"| {_text(domain)} | {share:.2%} | {ranges.get(domain, '-')} | {used:,.0f} | {available:,} | {used / available:.2f} | "
            f"{_text(licences.get(domain, 'not stated'))} |"
        )
    if len(schedule.phases) > 1:
        lines += ["", "Shares above are means over the run. Phases:", ""]
        for phase in schedule.phases:
            shares = ", ".join(f"{_text(d)} {s:.2%}" for d, s in phase.mixture.as_dict().items() if s > 0)
            ramp = f" over {phase.ramp:,}" if phase.ramp else ""
            lines.append(f"- from {phase.start:,} tokens{ramp}: {shares}")
    return lines


def _story(choice: Choice | None, problem: Problem | None, target_tokens: int) -> list[str]:
    if choice is None:
        return ["Given as shares; no search stands behind it here."]
    lines = [f"Method: {choice.method}, on {len(choice.evidence)} runs."]
    if problem is not None and choice.evidence:
        proxy = problem.proxy
        ratio = proxy.tokens / target_tokens
        lines.append(
            f"Proxies of {proxy.size} parameters and {proxy.tokens:,} tokens stand for the run (r/R = {ratio:.4f}); smallest pool "
            f"{problem.smallest_pool[1]:,} sequences of {proxy.seq_len} tokens."
        )
        if ratio < TRANSFER_FLOOR:
            lines.append("r/R is below 1/16: that the choice transfers to the run is unproven.")
    if problem is not None:
        lines.append("Objective: " + ", ".join(f"{_text(t.name)} x {t.weight:g}" for t in problem.objective) + ".")
    return [*lines, *(_text(sentence) for sentence in choice.why)]


def _certainty(choice: Choice | None, verification: Verification | None) -> list[str]:
    lines = []
    if choice is not None and choice.predicted:
        lines.append(f"- predicted: {_estimate(choice.predicted[0])}")
    if verification is None or not any(a.name == "choice" and a.estimates for a in verification.arms):
        return [*lines, "- **not verified**: no fresh runs have compared it with natural."]
    chosen = verification.arm("choice")
    lines.append(f"- verified in {len(chosen.blocks)} fresh blocks: {_estimate(chosen.estimates[0])}")
    lines.append(f"- detectable gain, as known before: {verification.detectable:.4f} bits/byte")
    for estimate in chosen.estimates[1:]:
        if estimate.name.startswith("guard:"):
            lines.append(f"- {_text(estimate.name)}: {estimate.mean:+.2%}, P(holds) {estimate.p_better:.2f}")
    better = [a for a in verification.arms if a.estimates and a.estimates[0].mean < chosen.estimates[0].mean]
    lines += [f"- {a.name} did better in the same blocks: {_estimate(a.estimates[0])}" for a in better]
    return lines


def _estimate(e: Estimate) -> str:
    return f"{e.mean:+.4f} bits/byte against natural (90 % interval {e.low:+.4f} to {e.high:+.4f}, P(better) {e.p_better:.2f})"


def _provenance(corpus: Corpus, problem: Problem | None) -> list[str]:
    tokenizer = corpus.inventory.tokenizer
    lines = [
        f"- corpus fingerprint {corpus.fingerprint}",
        f"- tokenizer {tokenizer.kind}, {tokenizer.vocab_size:,} entries, {tokenizer.sha}",
    ]
    return [*lines, *([f"- seed {problem.seed}"] if problem else [])]


def _text(value: str) -> str:
    """`value` as Markdown prints it, in a table too."""
    for mark in ("\\", "|", "*", "_", "`", "<", "[", "]"):
        value = value.replace(mark, f"\\{mark}")
    return " ".join(value.split())
