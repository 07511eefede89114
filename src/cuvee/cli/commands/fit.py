"""The command about tables of past runs: fit."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from cuvee.cli.command import Json, app, show

Names = list[str] | None


@app.command()
def fit(
    mixtures: Annotated[
        Path, typer.Argument(help="One row a run, one column a domain: CSV, TSV, Parquet, JSON Lines; .gz too.")
    ],
    metrics: Annotated[
        Path, typer.Argument(help="One row a run, one column a metric; or long: run, step, metric, value.")
    ],
    target: Annotated[
        Names,
        typer.Option(help="NAME or NAME=WEIGHT: a metric to be good at; repeat. All metrics alike when left out."),
    ] = None,
    maximise: Annotated[Names, typer.Option(help="A metric of which more is better, or `all`; repeat.")] = None,
    minimise: Annotated[
        Names, typer.Option(help="A metric of which less is better although its name is a score's; repeat.")
    ] = None,
    guard: Annotated[
        Names,
        typer.Option(help="NAME or NAME=PART: may get worse than at natural by at most this part (0.01); repeat."),
    ] = None,
    caps: Annotated[str, typer.Option(help="Most share by domain: web=0.3,code=20% or a file.")] = "",
    floors: Annotated[str, typer.Option(help="Least share by domain, the same way.")] = "",
    natural: Annotated[
        str, typer.Option(help="What gains are against: shares or tokens by domain, a file, or the id of a run.")
    ] = "",
    tokens: Annotated[str, typer.Option(help="Tokens there are by domain: web=30B,code=2B or a file.")] = "",
    target_tokens: Annotated[str, typer.Option(help="Tokens of the run that the mixture is for (300B).")] = "",
    max_epochs: Annotated[float | None, typer.Option(help="Most passes over any domain in that run.")] = None,
    block: Annotated[
        str, typer.Option(help="The column, of either file, that tells runs of one seed or batch from others.")
    ] = "",
    holdout: Annotated[
        tuple[Path, Path] | None,
        typer.Option(help="MIXTURES METRICS of other runs to judge the fit by; they change nothing else."),
    ] = None,
    past: Annotated[
        tuple[Path, Path] | None,
        typer.Option(
            help="MIXTURES METRICS of runs from before the domains were edited, as evidence beside the others."
        ),
    ] = None,
    edits: Annotated[
        str,
        typer.Option(
            help="A YAML file: what became of the domains since the runs of --past, or without it since those of MIXTURES."
        ),
    ] = "",
    predictor: Annotated[str, typer.Option(help="The predictor's name; `auto` for the default.")] = "auto",
    aversion: Annotated[
        float, typer.Option(help="Added to the objective per standard error: above 0 keeps to what the runs know.")
    ] = 0.0,
    pull: Annotated[
        float, typer.Option(help="Added per nat of KL divergence from natural, in the objective's unit.")
    ] = 0.0,
    seed: Annotated[int, typer.Option(help="Of the draws behind intervals.")] = 0,
    run_id: Annotated[
        str, typer.Option("--id", help="The column of both files that names runs; recognised when left out.")
    ] = "",
    by_row: Annotated[bool, typer.Option("--by-row", help="Row n of one file is row n of the other.")] = False,
    ignore: Annotated[Names, typer.Option(help="A column that is neither a share nor a metric; repeat.")] = None,
    keep_names: Annotated[
        bool, typer.Option("--keep-names", help="Call domains and metrics as their columns are called.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="A mixture file to write, for `cuvee export`.")] = None,
    as_json: Json = False,
) -> None:
    """What to train on, from tables of past runs: the mixture, how sure, what is predicted. Trains nothing."""
    from cuvee.cli.fit import fit_text
    from cuvee.cli.tokens import token_count
    from cuvee.tables.fit import GUARD
    from cuvee.tables.fit import fit as fit_tables
    from cuvee.tables.values import split_number

    length = token_count(target_tokens, "--target-tokens")
    found = fit_tables(
        mixtures,
        metrics,
        targets=[split_number(text, 1.0) for text in target or []],
        maximise=maximise or (),
        minimise=minimise or (),
        guards=[split_number(text, GUARD) for text in guard or []],
        caps=caps or None,
        floors=floors or None,
        natural=natural or None,
        tokens=tokens or None,
        target_tokens=length,
        max_epochs=max_epochs,
        holdout=holdout,
        past=past,
        edits=edits or (),
        predictor=predictor,
        aversion=aversion,
        pull=pull,
        seed=seed,
        id=run_id,
        by_row=by_row,
        block=block,
        ignore=ignore or (),
        keep_names=keep_names,
    )
    for line in found.warnings:
        print(f"cuvee: {line}", file=sys.stderr)
    if out is not None:
        found.write(out, length)
    file = {"file": str(out)} if out is not None else {}
    show("\n".join([fit_text(found), *map(str, file.values())]), {**found.to_json(), **file}, as_json)
