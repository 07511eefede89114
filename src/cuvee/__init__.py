"""Cuvée: find, schedule and feed the training-data mixture of a language model.

From folders of text to the proportions to train on, with the evidence that they are better:

    corpus = cuvee.prepare("texts/", out="work/corpus")
    problem = cuvee.Problem.from_corpus(corpus, target_tokens=30_000_000, targets={"math": 1.0}, max_epochs=4)
    study = cuvee.Study.open("work/study", problem, corpus, Auto(runs=48))   # from cuvee.methods
    study.run(workers=8)
    choice = study.choose()

Names load on first use, so that `import cuvee` needs no torch, scipy or pyarrow.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cuvee.corpus.opening import open_sources
    from cuvee.corpus.prepare import prepare
    from cuvee.interop.card import card
    from cuvee.interop.export import export
    from cuvee.interop.importmix import import_mix
    from cuvee.interop.materialise import materialise
    from cuvee.mixture.schedule import Schedule
    from cuvee.mixture.weights import Mixture
    from cuvee.plan.problem import Problem
    from cuvee.report.write import write_report
    from cuvee.shards.corpus import Corpus
    from cuvee.stream.loader import Loader
    from cuvee.study.study import Study
    from cuvee.tables.fit import fit

__version__ = "0.1.0"

_WHERE = {
    "Corpus": "cuvee.shards.corpus",
    "Loader": "cuvee.stream.loader",
    "Mixture": "cuvee.mixture.weights",
    "Problem": "cuvee.plan.problem",
    "Schedule": "cuvee.mixture.schedule",
    "Study": "cuvee.study.study",
    "card": "cuvee.interop.card",
    "export": "cuvee.interop.export",
    "fit": "cuvee.tables.fit",
    "import_mix": "cuvee.interop.importmix",
    "materialise": "cuvee.interop.materialise",
    "open_sources": "cuvee.corpus.opening",
    "prepare": "cuvee.corpus.prepare",
    "write_report": "cuvee.report.write",
}

__all__ = [
    "Corpus",
    "Loader",
    "Mixture",
    "Problem",
    "Schedule",
    "Study",
    "card",
    "export",
    "fit",
    "import_mix",
    "materialise",
    "open_sources",
    "prepare",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'cuvee' has no attribute {name!r}")
    value = getattr(import_module(_WHERE[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
