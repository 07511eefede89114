"""`cuvee demo`: the whole path on text that any Python installation has. No download, no bundled text."""

from __future__ import annotations

import os
from pathlib import Path

from cuvee.base.files import replace
from cuvee.base.progress import Bar
from cuvee.cli.machines import Machines
from cuvee.cli.render import corpus_text, table
from cuvee.cli.run import Result, run_study
from cuvee.cli.studyfile import load
from cuvee.corpus.found import gather
from cuvee.corpus.prepare import prepare
from cuvee.plan.problem import POOL_FLOOR
from cuvee.shards.corpus import Corpus
from cuvee.study.runners.local import Local

# A pointed question: a model that should read Python code and reference prose, of a corpus that is mostly something
# else. The target run is as long as the smallest domain's pool allows (100 sequences), so every proxy is sound.
STUDY = """\
# Written by `cuvee demo`. Every key: docs/study-file.md
corpus: corpus
study: study
target_tokens: {target}
targets: {{{targets}}}
max_epochs: 4
proxy: {{size: 0.1M, tokens: {tokens}, seq_len: {seq_len}, eval_points: 1}}
method: {{name: auto, runs: 24, blocks: 4}}
verify: {{seeds: 4}}
report: report.html
"""
POINTED = ("python_code", "reference")
PROXY_TOKENS, SEQ_LEN = 140_000, 128


def run_demo(folder: Path, *, workers: int) -> Result:
    """Gather, prepare, run, report inside `folder`; running it again resumes.

    Raises:
        DataError: fewer than two domains of text were found.
    """
    count = workers or os.cpu_count() or 1
    with Bar("prepare", 1) as bar:
        if not (folder / "corpus" / "inventory.json").exists():
            found = gather(folder / "texts")
            rows = [
                {"domain": d.name, "documents": d.documents, "kB": d.bytes // 1000, "what": d.description}
                for d in found
            ]
            bar.say("Text found on this machine:\n" + table(rows))
        corpus = prepare([folder / "texts"], out=folder / "corpus", vocab=2048, workers=count, progress=bar)
        bar.say(corpus_text(corpus, folder / "corpus"))
    study_file = folder / "study.yaml"
    if not study_file.exists():
        replace(study_file, _study(corpus).encode("utf-8"))
    return run_study(load(study_file), Machines(count, Local()), "refuse")


def _study(corpus: Corpus) -> str:
    """The study file for what was found."""
    counts = corpus.train_tokens
    tokens = min(PROXY_TOKENS, sum(counts.values()) // 2)
    target = min(sum(counts.values()), tokens * min(counts.values()) // (POOL_FLOOR * SEQ_LEN))
    pointed = [d for d in POINTED if d in counts] or list(counts)[:2]
    return STUDY.format(
        target=max(target, tokens), tokens=tokens, seq_len=SEQ_LEN, targets=", ".join(f"{d}: 1" for d in pointed)
    )
