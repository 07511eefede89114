"""Commands for a trainer of one's own: suggest, tell."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from cuvee.base.errors import UsageError
from cuvee.cli.command import AllowLeak, Json, StudyYaml, app, show


@app.command()
def suggest(
    study_file: StudyYaml,
    out: Annotated[Path, typer.Option(help="The folder for plans, pools and held-out text.")],
    pools: Annotated[str, typer.Option(help="How to write pools: megatron, jsonl or none.")] = "megatron",
    allow_leak: AllowLeak = False,
    as_json: Json = False,
) -> None:
    """What your trainer is to run next, as plan files; after the last run the choice, its verification, the report."""
    from cuvee.cli.leaks import check_leaks
    from cuvee.cli.outside import run_suggest
    from cuvee.cli.studyfile import load

    forms: dict[str, Literal["megatron", "jsonl", "none"]] = {"megatron": "megatron", "jsonl": "jsonl", "none": "none"}
    if pools not in forms:
        raise UsageError(f"--pools {pools}", wanted=f"one of {', '.join(forms)}")
    question = load(study_file)
    check_leaks(question, allow_leak)
    text, value = run_suggest(question, study_file, out, forms[pools])
    show(text, value, as_json)


@app.command()
def tell(
    study_file: StudyYaml,
    run: Annotated[
        str, typer.Argument(help="The run's id; left out where a file names its runs.", metavar="[RUN]")
    ] = "",
    metric: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE, NAME=VALUE±ERROR or NAME=VALUE,ERROR; repeat.")
    ] = None,
    unit: Annotated[
        list[str] | None, typer.Option(help="The unit of the values, or NAME=UNIT; checked against the study's.")
    ] = None,
    realised: Annotated[
        list[str] | None,
        typer.Option(help="DOMAIN=TOKENS trained on, of every domain; repeat. As planned if left out."),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "--from", help="A results file, or metrics of lm-evaluation-harness, W&B, MLflow, TensorBoard, a table."
        ),
    ] = None,
    source: Annotated[str, typer.Option(help="What wrote the file, where that is not recognised.")] = "",
    mapped: Annotated[
        list[str] | None, typer.Option("--map", help="METRIC=TARGET where a file calls a target otherwise; repeat.")
    ] = None,
    diverged: Annotated[bool, typer.Option("--diverged", help="The run diverged; metrics may be left out.")] = False,
    failed: Annotated[str, typer.Option(help="The run failed; why.")] = "",
    as_json: Json = False,
) -> None:
    """Take the metrics of runs that your trainer has made. Telling a run again changes nothing."""
    from cuvee.cli.outside import Given, run_tell
    from cuvee.cli.studyfile import load

    given = Given(
        run=run,
        metrics=metric or [],
        units=unit or [],
        realised=realised or [],
        file=file,
        source=source or None,
        mapped=mapped or [],
        status="failed" if failed else "diverged" if diverged else "done",
        message=failed,
    )
    text, value = run_tell(load(study_file), given)
    show(text, value, as_json)
