"""What all commands share: the application, common options, how a result is shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

app = typer.Typer(
    name="cuvee",
    help="Find, schedule and feed the training-data mixture of a language model.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
AllowLeak = Annotated[bool, typer.Option("--allow-leak", help="Go on where a target file is in the training text.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout instead of text.")]
StudyYaml = Annotated[Path, typer.Argument(help="The study file.", metavar="STUDY.yaml")]
StudyFolder = Annotated[Path, typer.Argument(help="The study's folder.", metavar="STUDY")]


Runner = Annotated[
    Literal["local", "ray"] | None, typer.Option(help="Where workers run; as the study file says when left out.")
]
Emitted = Annotated[
    Literal["slurm", "bash"] | None,
    typer.Option(help="Start no workers: write a script that does (exit code 5), and go on when its runs are there."),
]
EmittedTo = Annotated[
    Path | None, typer.Option("--out", help="The folder of that script; `emitted` in the study's folder when left out.")
]


def show(text: str, value: dict[str, Any], as_json: bool) -> None:
    """One result on stdout: text, or JSON with `--json`."""
    print(json.dumps({"format": 1, "ok": True, **value}, ensure_ascii=False) if as_json else text)
