"""What every figure rests on, as the one line beside it and as the list of facts at the report's end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cuvee.plan.problem import POOL_FLOOR, Problem, Proxy, smallest_sound_proxy
from cuvee.plan.provenance import Provenance
from cuvee.plan.trial import Trial
from cuvee.report.data import Evidence, Fact
from cuvee.report.text import count, plural, ratio, runs_of
from cuvee.study.provenance import provenance


def standing(evidence: Evidence, trials: Sequence[Trial], at: Proxy | None = None) -> Provenance:
    """The provenance of figures from `trials`, runs of the proxy's size or of `at`."""
    problem = evidence.problem if at is None else replace(evidence.problem, proxy=at)
    return provenance(
        problem, trials, fingerprint=evidence.fingerprint, recipe=evidence.recipe, tokenizer=evidence.tokenizer
    )


def basis(found: Provenance) -> str:
    """The line beside a figure: scale, smallest pool, noise, blocks and seed."""
    noise = (
        "not measured: no mixture ran in two blocks"
        if found.paired_noise is None
        else f"{found.paired_noise:.4f} bits/byte"
    )
    return "; ".join(
        (
            f"r/R {ratio(found.ratio)} ({count(found.tokens)} of {count(found.target_tokens)} tokens, {found.size} parameters)",
            f"smallest pool {found.smallest_pool:,} sequences ({found.smallest_pool_domain})",
            f"paired noise {noise}",
            f"{plural(found.runs, 'run')}, blocks {runs_of(found.blocks)}, seed {found.seed}",
        )
    )


def facts(evidence: Evidence) -> tuple[Fact, ...]:
    """Everything at the report's end, of the whole study."""
    problem, proxy = evidence.problem, evidence.problem.proxy
    found = standing(evidence, evidence.trials)
    everything = standing(evidence, evidence.all_trials)
    sound = smallest_sound_proxy(problem.tokens, problem.target_tokens, proxy.seq_len)
    noise = found.paired_noise
    fresh = [len({t.plan.block for t in ts if t.status == "done"}) for ts in evidence.stages.values()]
    lines = [
        Fact("r/R", f"{ratio(found.ratio)} ({count(proxy.tokens)} of {count(problem.target_tokens)} tokens)"),
        Fact(
            "Smallest pool",
            f"{found.smallest_pool:,} sequences ({found.smallest_pool_domain}); {POOL_FLOOR} are sound",
        ),
        Fact("Smallest sound proxy", f"{count(sound)} tokens"),
        Fact("Proxy", recipe_of(proxy)),
        *_larger(evidence, problem),
        Fact(
            "Paired noise",
            "not known" if noise is None else f"{noise:.4f} bits/byte between blocks (standard deviation)",
        ),
        Fact("Blocks", f"{fresh[0]} in the search, {fresh[2]} fresh in the verification" + _more(fresh[3])),
        Fact("Seed", str(problem.seed)),
        Fact("Corpus fingerprint", evidence.fingerprint),
        Fact("Tokenizer", evidence.tokenizer or "not known: the corpus was not at hand"),
        Fact("Training recipe", str(evidence.recipe)),
        *(Fact("Runs from before", past.story()) for past in problem.past),
    ]
    lines += [Fact(key.replace("_", " "), value) for key, value in everything.versions.items()]
    return (*lines, *(Fact("Edited", edit) for edit in evidence.edits))


def _more(blocks: int) -> str:
    return f", {blocks} at the larger scale" if blocks else ""


def _larger(evidence: Evidence, problem: Problem) -> list[Fact]:
    lines = []
    scales = {
        "Larger runs": evidence.larger.proxy if evidence.larger else None,
        "Runs of the transfer check": evidence.transfer.proxy if evidence.transfer else None,
    }
    for name, at in scales.items():
        if at is not None:
            lines.append(Fact(name, f"{recipe_of(at)}; r/R {ratio(at.tokens / problem.target_tokens)}"))
    return lines


def recipe_of(proxy: Proxy) -> str:
    """How runs of this scale train."""
    steps = f"{proxy.steps:,} steps of {proxy.sequences_per_step} × {proxy.seq_len} tokens"
    return f"{proxy.size} parameters, {steps}, peak learning rate {proxy.peak_learning_rate:.2e}, {proxy.precision}"
