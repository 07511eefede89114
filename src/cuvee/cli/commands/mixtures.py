"""Commands about mixtures in other people's formats: export, exporters, import-mix, materialise, card."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from cuvee.base.codec import to_json
from cuvee.base.errors import UsageError
from cuvee.base.progress import Bar
from cuvee.cli.command import Json, app, show

Mix = Annotated[Path, typer.Argument(help="A study's folder, an export's folder or a mixture file.", metavar="MIX")]
CorpusFolder = Annotated[Path | None, typer.Option(help="The corpus; needed for a mixture file, else the study's own.")]
RunTokens = Annotated[
    str, typer.Option("--tokens", help="Tokens of the run (30M); the study's target run when left out.")
]
RampSteps = Annotated[
    int, typer.Option(help="Phases of constant weights to cut each ramp into; 0 refuses ramps.", min=0)
]
MaxEpochs = Annotated[float | None, typer.Option(help="Most passes over any domain; the study's bounds when left out.")]


@app.command()
def export(
    mix: Mix,
    to: Annotated[str, typer.Option(help="The trainer; `cuvee exporters` lists them.")],
    out: Annotated[Path, typer.Option(help="The folder to write.")],
    corpus: CorpusFolder = None,
    tokens: RunTokens = "",
    max_epochs: MaxEpochs = None,
    ramp_steps: RampSteps = 0,
    data: Annotated[
        str, typer.Option(help="Where the trainer finds a domain: a pattern with {slug} or {domain}.")
    ] = "",
    seq_len: Annotated[int, typer.Option(help="Tokens of a sequence, where the format counts them.", min=1)] = 2048,
    batch: Annotated[int, typer.Option(help="Sequences of a step, where the format counts steps.", min=1)] = 512,
    row_limit: Annotated[
        int, typer.Option(help="Tokens at which the trainer cuts documents, for weights of documents; 0 for none.")
    ] = 0,
    tolerance: Annotated[float, typer.Option(help="Largest difference of a share of tokens.")] = 0.001,
    seed: Annotated[int, typer.Option(help="For the trainer's own shuffling.")] = 0,
    as_json: Json = False,
) -> None:
    """The mixture in a trainer's own format, parsed back and compared with what was asked for."""
    from cuvee.cli.mix import load_mix
    from cuvee.cli.tokens import token_count
    from cuvee.interop.export import export as export_choice

    found = load_mix(mix, corpus, token_count(tokens), max_epochs).stepped(ramp_steps)
    exported = export_choice(
        found.choice,
        to,
        found.corpus,
        out=out,
        tokens=found.tokens,
        data=data or None,
        caps=found.caps,
        seq_len=seq_len,
        batch=batch,
        seed=seed,
        row_limit=row_limit or None,
        tolerance=tolerance,
    )
    show(str(exported), {"export": to_json(exported)}, as_json)


Names = Annotated[list[str], typer.Option("--map", help="PATH=DOMAIN where the path does not say it; repeat.")]
Starts = Annotated[
    list[str], typer.Option(help="Tokens at which a phase begins, where the files do not say it; one a phase.")
]


@app.command()
def exporters(as_json: Json = False) -> None:
    """The trainers that `export` writes for: what their weights count, phases, caps, what was tested."""
    from cuvee.cli.render import exporters_text

    show(*exporters_text(), as_json)


@app.command(name="import-mix")
def import_mix(
    files: Annotated[list[Path], typer.Argument(help="A trainer's files; several where each is a phase.")],
    out: Annotated[Path, typer.Option(help="The mixture file to write.")] = Path("mixture.json"),
    corpus: Annotated[
        Path | None, typer.Option(help="The corpus whose domains the file's paths are, for names and units.")
    ] = None,
    source: Annotated[str, typer.Option("--from", help="The format; recognised when left out.")] = "",
    names: Names = [],  # noqa: B006  typer reads the default and never changes it
    starts: Starts = [],  # noqa: B006  as above
    row_limit: Annotated[int | None, typer.Option(help="Tokens at which the trainer cuts documents.", min=1)] = None,
    as_json: Json = False,
) -> None:
    """A team's present blend as a mixture in shares of tokens: a study's baseline and prior (`present:`)."""
    from cuvee.cli.mix import pairs
    from cuvee.cli.tokens import start_tokens
    from cuvee.interop.importmix import import_mix as read
    from cuvee.interop.mixturefile import write_mixture
    from cuvee.shards.corpus import Corpus

    opened = Corpus.open(corpus) if corpus else None
    begins = [start_tokens(text) for text in starts]
    found = read(files, opened, source=source or None, names=pairs(names, "--map"), starts=begins, row_limit=row_limit)
    write_mixture(out, found.schedule, corpus=opened.fingerprint if opened else "", origin=f"import:{found.exporter}")
    show(f"{found}\n{out}", {"import": to_json(found), "file": str(out)}, as_json)


@app.command()
def materialise(
    mix: Mix,
    out: Annotated[Path, typer.Option(help="The folder to write.")],
    form: Annotated[
        Literal["megatron", "jsonl", "parquet"], typer.Option("--as", help="Token shards, or text in rows.")
    ] = "jsonl",
    layout: Annotated[
        Literal["by-domain", "mixed"], typer.Option(help="A folder a domain, or one sequence of mixed shards.")
    ] = "by-domain",
    corpus: CorpusFolder = None,
    tokens: RunTokens = "",
    max_epochs: MaxEpochs = None,
    ramp_steps: RampSteps = 0,
    workers: Annotated[int, typer.Option(help="Worker processes; 0 for one a core.", min=0)] = 0,
    seed: Annotated[int, typer.Option(help="Which documents, and their order.")] = 0,
    as_json: Json = False,
) -> None:
    """Sampled and upsampled shards that any trainer can read as they are. Again = resume."""
    import os

    from cuvee.cli.mix import load_mix
    from cuvee.cli.tokens import token_count
    from cuvee.interop.materialise import materialise as write

    found = load_mix(mix, corpus, token_count(tokens), max_epochs).stepped(ramp_steps)
    if found.tokens is None:
        raise UsageError("how many tokens to write is not said", fix="--tokens 30M")
    with Bar("materialise", 1) as bar:
        manifest = write(
            found.schedule,
            found.corpus,
            out=out,
            tokens=found.tokens,
            form=form,
            layout=layout,
            seed=seed,
            workers=workers or os.cpu_count() or 1,
            caps=found.caps,
            progress=bar,
        )
    show(f"{manifest}\n{out}", {"manifest": to_json(manifest), "folder": str(out)}, as_json)


@app.command()
def card(
    mix: Mix,
    out: Annotated[Path, typer.Option(help="The Markdown file to write.")] = Path("MIXTURE.md"),
    corpus: CorpusFolder = None,
    tokens: RunTokens = "",
    licence: Annotated[list[str], typer.Option(help="DOMAIN=LICENCE; repeat.")] = [],  # noqa: B006  as above
    name: Annotated[str, typer.Option(help="The card's title.")] = "",
    as_json: Json = False,
) -> None:
    """A mixture card: what is in it, how it was found, how sure, how to cite the method."""
    from cuvee.cli.mix import load_mix, write_card
    from cuvee.cli.tokens import token_count

    found = load_mix(mix, corpus, token_count(tokens), None)
    write_card(found, out, licence, name or mix.resolve().name)
    show(str(out), {"card": str(out)}, as_json)
