"""Commands that look at others and at ourselves: infer, bench."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cuvee.base.codec import to_json
from cuvee.base.errors import UsageError
from cuvee.base.progress import Bar
from cuvee.cli.command import Json, app, show

BENCHES = (
    "edits",
    "halving",
    "hparams",
    "infer",
    "order",
    "precision",
    "proxies",
    "replay",
    "search",
    "stream",
    "truth",
    "worlds",
)


@app.command()
def infer(
    tokenizer: Annotated[
        Path, typer.Argument(help="tokenizer.json, merges.txt or tiktoken ranks.", metavar="TOKENIZER")
    ],
    samples: Annotated[list[Path], typer.Argument(help="Text, a folder or file a category.", metavar="SAMPLES...")],
    merges: Annotated[int, typer.Option(help="Merges used, from the first.", min=10)] = 1000,
    simulations: Annotated[int, typer.Option(help="For intervals and the unknown; 0 for none.", min=0)] = 6,
    domains: Annotated[str, typer.Option(help="As in `prepare`: auto, file, folder or field:NAME.")] = "auto",
    text_field: Annotated[str, typer.Option(help="The field of rows that holds text.")] = "text",
    most: Annotated[str, typer.Option(help="Bytes read of each category at most.")] = "64M",
    cache: Annotated[Path | None, typer.Option(help="A folder that keeps counted words for the next time.")] = None,
    report: Annotated[Path | None, typer.Option(help="An HTML page to write.")] = None,
    as_prior: Annotated[Path | None, typer.Option(help="A mixture file to write; needs --corpus.")] = None,
    corpus: Annotated[
        Path | None, typer.Option(help="The corpus whose domains the categories are, for --as-prior.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seeds the simulations.")] = 0,
    as_json: Json = False,
) -> None:
    """What a published BPE tokenizer was trained on: shares of the categories of SAMPLES, with intervals."""
    from cuvee.cli.audit import run_infer

    with Bar("infer", 1) as bar:
        text, value = run_infer(
            tokenizer,
            samples,
            merges,
            simulations,
            domains,
            text_field,
            most,
            cache,
            report,
            as_prior,
            corpus,
            seed,
            bar,
        )
    show(text, value, as_json)


@app.command()
def bench(
    name: Annotated[str, typer.Argument(help=f"{', '.join(BENCHES)}.")],
    corpus: Annotated[
        Path | None, typer.Option(help="The corpus that `halving`, `hparams`, `order` and `precision` train on.")
    ] = None,
    samples: Annotated[
        Path | None, typer.Option(help="Categories for `infer`; else text found on this machine.")
    ] = None,
    corpora: Annotated[
        Path | None,
        typer.Option(help="The folder of the ten domains that `truth` and `search` are about, as JSONL.gz."),
    ] = None,
    work: Annotated[
        Path,
        typer.Option(
            help="Where `truth`, `search` and `stream` keep corpora, studies and environments; again = resume."
        ),
    ] = Path("truth"),
    workers: Annotated[int, typer.Option(help="Worker processes of `replay`, `search` and `truth`.", min=1)] = 2,
    published: Annotated[Path, typer.Option(help="RegMix's tables at 1M, for `replay`: train and test.")] = Path(
        "../shared/published/regmix"
    ),
    repeats: Annotated[int, typer.Option(help="Timings of each loader in `stream`, and seeds of `order`.", min=1)] = 5,
    loader: Annotated[list[str] | None, typer.Option(help="Loaders of `stream`; all if none is named.")] = None,
    as_json: Json = False,
) -> None:
    """The project's own benchmarks: `edits` (new runs saved by those from before an edit of the domains), `halving` (what
    successive halving saves and loses: in worlds, and its rungs on a corpus if one is given), `hparams` (learning-rate rule;
    does the rate change the order of mixtures), `infer` (tokenizers of known mixtures), `order` (exact against random order in
    trainings), `precision` (do faster ways change differences), `proxies` (speed of training), `replay` (predictors and
    searches on RegMix's published runs), `search` (methods on real trainings), `stream` (this loader and others', each in an
    environment of its own), `truth` (predicted gains against verified ones), `worlds` (methods against best-of-n random,
    coverage of intervals)."""
    from cuvee.cli.render import table
    from cuvee.shards.corpus import Corpus

    tables: dict[str, list[dict[str, Any]]] = {}
    if name == "worlds":
        from cuvee.bench import worlds

        tables["rows"] = [
            {"setting": s, "method": m, **figures}
            for s, table_ in worlds.run().items()
            for m, figures in table_.items()
        ]
        tables["coverage"] = [vars(row) for row in worlds.coverage()]
    elif name == "edits":
        from cuvee.bench import edits

        with Bar("edits", edits.SEEDS * len(edits.EDITED)) as bar:
            tables["rows"] = edits.run(progress=bar)
    elif name == "halving":
        from cuvee.bench import halving
        from cuvee.bench.worlds import SETTINGS

        if corpus is not None:
            with Bar("halving", halving.METHOD.runs * halving.METHOD.rungs) as bar:
                tables |= halving.run(Corpus.open(corpus), progress=bar)
        with Bar("halving in worlds", halving.SEEDS * len(SETTINGS)) as bar:
            tables["worlds"] = halving.in_worlds(progress=bar)
    elif name in ("hparams", "precision"):
        from cuvee.bench import hparams, paired

        if corpus is None:
            raise UsageError(f"`bench {name}` trains on a corpus and got none", fix=f"cuvee bench {name} --corpus DIR")
        opened = Corpus.open(corpus)
        if name == "hparams":
            tables["rows"] = [dict(row) for row in hparams.run(opened)["rows"]]
        tables["order"] = [vars(row) for row in (hparams.order if name == "hparams" else paired.precision)(opened)]
    elif name == "proxies":
        from cuvee.bench import proxies, scaling

        with Bar("proxies", len(proxies.SIZES)) as bar:
            speed = proxies.run(progress=bar)
        pool = scaling.on_made_up_text()
        shown = [table([vars(row) for row in speed.rows]), table([speed.ratios()]), table([vars(pool)])]
        show("\n\n".join(shown), to_json(speed) | {"worker_scaling": to_json(pool)}, as_json)
        return
    elif name == "infer":
        from cuvee.cli.audit import bench_infer

        tables = bench_infer(samples)
    elif name == "replay":
        from cuvee.bench import replay

        with Bar("replay", replay.RESPLITS) as bar:
            tables = replay.run(published, workers, bar)
    elif name == "search":
        from cuvee.bench import search

        if corpora is None:
            raise UsageError("`bench search` needs texts and got none", fix="cuvee bench search --corpora DIR")
        tables = search.run(corpora, work, workers)
    elif name == "stream":
        from cuvee.bench import stream

        with Bar("stream", repeats) as bar:
            tables = stream.run(work, loaders=loader or (), repeats=repeats, progress=bar)
    elif name == "order":
        from cuvee.bench import order

        if corpus is None:
            raise UsageError("`bench order` trains on a corpus and got none", fix="cuvee bench order --corpus DIR")
        with Bar("order", 2 * repeats) as bar:
            tables = order.run(Corpus.open(corpus), seeds=repeats, progress=bar)
    elif name == "truth":
        from cuvee.bench import truth

        if corpora is None:
            raise UsageError("`bench truth` needs texts and got none", fix="cuvee bench truth --corpora DIR")
        found = truth.run(corpora, work, workers)
        shares = {key: value for key, value in found.items() if not isinstance(value, list)}
        tables = {key: value for key, value in found.items() if isinstance(value, list)}
        show("\n\n".join(table(rows) for rows in [*tables.values(), [shares]]), found, as_json)
        return
    else:
        raise UsageError(f"no benchmark {name!r}", wanted=f"one of {', '.join(BENCHES)}")
    show("\n\n".join(table(rows) for rows in tables.values()), tables, as_json)
