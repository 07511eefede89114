"""From text to a mixture, its evidence and the trainer, in one program of about two minutes on two cores.

Run it anywhere: it uses text that the Python installation has.

    python tutorials/01_first_mixture.py [FOLDER]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import cuvee
from cuvee.corpus.found import gather
from cuvee.methods import Auto
from cuvee.plan.problem import Proxy


def main(folder: Path) -> None:
    # 1. Text. One folder per domain; these come from the Python installation itself.
    for domain in gather(folder / "texts", limit_bytes_per_domain=400_000, most_domains=6):
        print(f"{domain.name:16s} {domain.documents:5d} documents {domain.bytes // 1000:6d} kB  {domain.description}")

    # 2. A corpus: a tokenizer trained on the train split, token shards, three splits that do not leak.
    corpus = cuvee.prepare([folder / "texts"], out=folder / "corpus", vocab=1024, min_held_out_bytes=20_000, workers=2)
    total = sum(corpus.train_tokens.values())
    print(f"\n{len(corpus.domains)} domains, {total:,} training tokens, fingerprint {corpus.fingerprint}")

    # 3. A question: which mixture is best for Python code and reference prose, when no domain may be repeated more than
    #    4 times? Proxies are tiny here so that the program is quick, and so few runs leave the prediction unsure: look at
    #    its interval, and at what the fresh runs say. A real study uses more and larger ones (docs/quickstart.md).
    targets = [d for d in ("python_code", "reference") if d in corpus.domains] or corpus.domains[:1]
    problem = cuvee.Problem.from_corpus(
        corpus,
        target_tokens=total,
        targets=dict.fromkeys(targets, 1.0),
        max_epochs=4,
        proxy=Proxy(size="0.1M", tokens=min(80_000, total), seq_len=64, eval_points=1),
        small_pools="cap",
    )

    # 4. The study: a folder. Running this program again on the same folder resumes.
    study = cuvee.Study.open(folder / "study", problem, corpus, Auto(runs=16, blocks=4))
    study.run(workers=2)
    choice = study.choose()
    print(f"\n{choice.summary()}")

    # 5. Fresh runs, text that the search has never read.
    print(f"\n{study.verify(choice, seeds=2, workers=2)}")

    # 6. For people, and for the trainer.
    print("\nreport:", cuvee.write_report(study, folder / "report.html"))
    print(cuvee.export(choice, "megatron", corpus, out=folder / "blend"))
    loader = cuvee.Loader(corpus, choice.schedule, seq_len=64, seed=0)
    batch = next(loader)
    print("a batch:", batch.tokens.shape, "from", sorted({corpus.domains[i] for i in batch.domains}))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary))
