"""The choice as a study keeps it: what it rests on and what to cite beside it, and what other objectives would choose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cuvee.methods.contract import Method
from cuvee.methods.registry import citation
from cuvee.plan.choice import Choice
from cuvee.plan.problem import Problem
from cuvee.plan.trial import Trial
from cuvee.shards.corpus import Corpus
from cuvee.study.alternatives import about, alternatives
from cuvee.study.layout import Config
from cuvee.study.provenance import provenance
from cuvee.study.store import Store


def complete(choice: Choice, config: Config, corpus: Corpus | None, method: Method, trials: Sequence[Trial]) -> Choice:
    """The method's choice with its citation, and with what its runs were where it rests on any."""
    tokenizer = corpus.inventory.tokenizer.sha if corpus is not None else ""
    used = [t for t in trials if t.id in set(choice.evidence)]
    found = provenance(
        config.problem, used, fingerprint=config.corpus.fingerprint, recipe=config.recipe, tokenizer=tokenizer
    )
    why = tuple(line.replace("bits/byte", config.problem.unit) for line in choice.why)
    return replace(
        choice, unit=config.problem.unit, why=why, provenance=found, citation=tuple(getattr(method, "citation", ()))
    )


def ask_otherwise(store: Store, problem: Problem, trials: Sequence[Trial], method: Method, choice: Choice) -> None:
    """Write what other objectives would choose, unless it stands there for this very choice: methods may take a while."""
    known = store.alternatives()
    if known is None or known.about != about(choice):
        store.write_alternatives(alternatives(problem, trials, method, choice))


def cited(choice: Choice) -> tuple[str, ...]:
    """What to cite; of choices written before citations were kept, what the method of that name says now."""
    return choice.citation or citation(choice.method)
