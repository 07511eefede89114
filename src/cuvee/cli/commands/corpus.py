"""Commands about corpora: demo, prepare, sources."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from cuvee.base.progress import Bar
from cuvee.cli.command import Json, app, show


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(help="Where to work.", metavar="[DIR]")] = Path("demo"),
    workers: Annotated[int, typer.Option(help="Worker processes; 0 for one a core.", min=0)] = 0,
    as_json: Json = False,
) -> None:
    """Text found on this machine -> corpus -> study -> report, in minutes. Again = resume."""
    from cuvee.cli.demo import run_demo

    show(*run_demo(folder, workers=workers), as_json)


@app.command()
def prepare(
    sources: Annotated[
        list[Path], typer.Argument(help="Files or folders: JSONL (.gz, .zst), Parquet, plain text.", metavar="SRC...")
    ],
    out: Annotated[Path, typer.Option(help="The corpus folder to make.")],
    vocab: Annotated[int, typer.Option(help="Vocabulary of the byte-level BPE that is trained.")] = 4096,
    tokenizer: Annotated[
        str, typer.Option(help="A tokenizer.json, or `bytes`; trained on the train split when left out.")
    ] = "",
    domains: Annotated[str, typer.Option(help="What makes a domain: auto, file, folder or field:NAME.")] = "auto",
    text_field: Annotated[str, typer.Option(help="The field that holds the text.")] = "text",
    on_bad_line: Annotated[
        Literal["skip", "fail"], typer.Option(help="Bad lines are counted and shown; go on or stop.")
    ] = "skip",
    search: Annotated[float, typer.Option(help="Share of documents held out for scoring proxies.")] = 0.05,
    verify: Annotated[
        float, typer.Option(help="Share of documents held out for verification, never read by the search.")
    ] = 0.05,
    min_held_out_bytes: Annotated[
        int, typer.Option(help="Least text a domain holds out, per held-out split.")
    ] = 60_000,
    decontaminate: Annotated[
        list[Path],
        typer.Option(help="A target file; train documents with 13 words in a row of it are left out. Repeat."),
    ] = [],  # noqa: B006  typer reads the default and never changes it
    workers: Annotated[int, typer.Option(help="Worker processes; 0 for one a core.", min=0)] = 0,
    seed: Annotated[int, typer.Option(help="Seeds the split and the tokenizer's sample.")] = 0,
    as_json: Json = False,
) -> None:
    """Text -> corpus: token shards, three splits that do not leak, inventory.json. Again = resume."""
    import os

    from cuvee.cli.render import corpus_text, corpus_value
    from cuvee.corpus.prepare import prepare as prepare_corpus

    with Bar("prepare", 1) as bar:
        corpus = prepare_corpus(
            sources,
            out=out,
            vocab=vocab,
            tokenizer=None if not tokenizer else "bytes" if tokenizer == "bytes" else Path(tokenizer),
            domains=domains,
            text_field=text_field,
            on_bad_line=on_bad_line,
            search=search,
            verify=verify,
            min_held_out_bytes=min_held_out_bytes,
            decontaminate=decontaminate,
            workers=workers or os.cpu_count() or 1,
            seed=seed,
            progress=bar,
        )
    show(corpus_text(corpus, out), corpus_value(corpus, out), as_json)


@app.command()
def sources(
    file: Annotated[
        Path, typer.Argument(help="The sources file: domains and where their shards lie.", metavar="SOURCES.yaml")
    ],
    full: Annotated[bool, typer.Option("--full", help="Read every token and every index, not samples.")] = False,
    as_json: Json = False,
) -> None:
    """Look at tokenised shards before training on them: formats, tokens, documents' ends, ids, fingerprint."""
    from cuvee.cli.render import sources_text, sources_value
    from cuvee.corpus.opening import open_sources

    with Bar("sources", 1) as bar:
        opened = open_sources(file, progress=bar)
        if full:
            opened.check()
    value = sources_value(opened)
    show(sources_text(value), value, as_json)
