"""What a changed question means for a study that exists: which keys differ, and whether its trials still apply.

Keys of the evidence decide what a run measures, keys of the question decide what is asked of the runs (design 5.5).
Where things lie and how they are run is neither.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from cuvee.base.codec import canonical, to_json
from cuvee.base.errors import DataError, UsageError
from cuvee.methods.contract import Method
from cuvee.plan.problem import Problem
from cuvee.plan.trial import RECIPE
from cuvee.shards.corpus import Corpus
from cuvee.study.layout import Change, Config, CorpusRef, MethodRef
from cuvee.study.members import settled
from cuvee.study.store import FOLDERS, VERIFICATIONS, Store, portable

Accept = Literal["refuse", "restart"]
RESULTS = ("choice.json", *VERIFICATIONS.values(), "transfer.json", "alternatives.json", "pareto.json")
MADE = ("rounds", *FOLDERS.values(), "jobs", *RESULTS)
EVIDENCE = ("domains", "tokens", "target_tokens", "proxy", "seed", "measures", "trainer", "reference")


def config_of(store: Store, problem: Problem, corpus: Corpus, method: Method) -> Config:
    """The config of a study in that folder, `together: auto` settled.

    Raises:
        UsageError: no prepared corpus; a problem about other domains; or K is to come from the memory of a GPU, and there is
            none, or too little.
        DataError: a domain that is to be scored has no held-out text.
    """
    if not isinstance(corpus, Corpus):
        raise UsageError(
            f"got {type(corpus).__name__}, which have no held-out splits",
            wanted="a corpus of `cuvee prepare`",
            fix="cuvee prepare, then Corpus.open",
        )
    if problem.domains != corpus.domains:
        raise UsageError(
            f"the problem is about {', '.join(problem.domains)}", wanted=f"the corpus's: {', '.join(corpus.domains)}"
        )
    for domain in problem.domains:
        for split in ("search", "verify") if domain in problem.scored else ():
            corpus.bytes_per_token(domain, split)  # a domain that cannot be scored would fail every run
    ref = CorpusRef(corpus.fingerprint, portable(corpus.path, store.folder), corpus.vocab_size)
    return Config(settled(store, problem, corpus, method), MethodRef.of(method), ref, RECIPE)


def begin(store: Store, problem: Problem, corpus: Corpus, method: Method) -> Config:
    """The config, written into the folder unless there is one; raises what `config_of` does."""
    store.create(config_of(store, problem, corpus, method))
    return config_of(store, problem, corpus, method)  # another process may have begun it, with another K for `auto`


@dataclass(frozen=True)
class Changes:
    """Names of the keys that differ, of the question and of the evidence."""

    question: tuple[str, ...]
    evidence: tuple[str, ...]


def changes(old: Config, new: Config) -> Changes:
    """The keys in which two configs differ."""
    before, after = _keys(old.problem), _keys(new.problem)
    differ = [name for name in before if before[name] != after[name]]
    decisive = (*EVIDENCE, *_never_told(old.problem, new.problem))
    question = [n for n in differ if n not in decisive]
    evidence = [n for n in differ if n in decisive]
    if (old.method.name, old.method.text) != (new.method.name, new.method.text):
        question.append("method")
    if old.corpus.fingerprint != new.corpus.fingerprint:
        evidence.append("corpus")
    if old.recipe != new.recipe:
        evidence.append("recipe")
    return Changes(tuple(question), tuple(evidence))


def _never_told(old: Problem, new: Problem) -> tuple[str, ...]:
    """The keys that ask for targets which no run has: proxies score everything, an outside trainer what it was asked for."""
    if new.trainer != "outside":
        return ()
    asked = {"objective": new.objective, "guards": tuple(t for g in new.guards for t in g.targets)}
    return tuple(key for key, targets in asked.items() if not {t.name for t in targets} <= set(old.scored))


def _keys(problem: Problem) -> dict[str, Any]:
    """The canonical form of every key, in which 4 and 4.0 are the same."""
    found: dict[str, Any] = json.loads(canonical(problem))
    return found


def settle(store: Store, config: Config, changed_evidence: Accept) -> None:
    """Make the config in the folder `config`, or refuse."""
    old = store.config()
    found = changes(old, config)
    if found.evidence:
        refuse_losses(store, config, changed_evidence)
        _note(store, "restart", (*found.evidence, *found.question), old)
        store.retire(MADE)
    elif found.question:
        _note(store, "question", found.question, old)
        store.retire(RESULTS)
    if old != config:
        store.edit(config)


def check_unchanged(store: Store, config: Config) -> None:
    """Refuse to write results of a question that another process has edited since."""
    found = changes(store.config(), config)
    if found != Changes((), ()):
        raise UsageError(
            f"{store.folder} was edited by another process: {', '.join((*found.question, *found.evidence))}",
            wanted="one question at a time in one study",
            fix="run again with the question you want; the runs are kept",
        )


def refuse_losses(store: Store, new: Config, changed_evidence: Accept) -> None:
    """Refuse evidence that changed, unless nothing is lost by it or the loss is accepted."""
    old, lost = store.config(), len(store.trials(store.planned().values()))
    if not lost or changed_evidence == "restart":
        return
    keys = changes(old, new).evidence
    fix = "use another folder, or restart this study with --accept (changed_evidence='restart'): its runs are put aside"
    if "corpus" in keys:
        raise DataError(
            f"the corpus of {store.folder} has changed: fingerprint {new.corpus.fingerprint}; "
            f"{lost} trials no longer apply",
            wanted=old.corpus.fingerprint,
            fix=fix,
        )
    was = [f"{key}: {getattr(old.problem, key)}" for key in keys if key != "recipe"]
    raise UsageError(
        f"{', '.join(keys)} changed in {store.folder}: {lost} trials no longer apply",
        wanted=f"the evidence as it was ({'; '.join(was) or f'training code recipe {old.recipe}'})",
        fix=fix,
    )


def _note(store: Store, event: str, keys: tuple[str, ...], old: Config) -> None:
    store.remember(Change(datetime.now(UTC).isoformat(timespec="seconds"), event, keys, to_json(old)))
