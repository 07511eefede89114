"""`cuvee`: the commands. Results go to stdout (`--json` for machines), everything else to stderr.

Exit codes: 0 ok, 2 usage or config, 3 data, 4 infeasible, 5 partly done (run again to go on).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from cuvee.base.codec import to_json
from cuvee.base.errors import CuveeError, UsageError
from cuvee.base.progress import Bar

app = typer.Typer(
    name="cuvee",
    help="Find, schedule and feed the training-data mixture of a language model.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout instead of text.")]
StudyYaml = Annotated[Path, typer.Argument(help="The study file.", metavar="STUDY.yaml")]
StudyFolder = Annotated[Path, typer.Argument(help="The study's folder.", metavar="STUDY")]


def main(arguments: Sequence[str] | None = None) -> None:
    """The entry point: run the command, render errors, exit with the documented code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        app(given)
    except CuveeError as error:
        if "--json" in given:
            body = {"type": type(error).__name__, "what": error.what, "wanted": error.wanted, "fix": error.fix}
            print(json.dumps({"format": 1, "ok": False, "error": body}, ensure_ascii=False))
        print(f"cuvee: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from error
    except KeyboardInterrupt:
        print("cuvee: stopped; the same command goes on from here", file=sys.stderr)
        raise SystemExit(5) from None


def _show(text: str, value: dict[str, Any], as_json: bool) -> None:
    print(json.dumps({"format": 1, "ok": True, **value}, ensure_ascii=False) if as_json else text)


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(help="Where to work.", metavar="[DIR]")] = Path("demo"),
    workers: Annotated[int, typer.Option(help="Worker processes; 0 for one a core.", min=0)] = 0,
    as_json: Json = False,
) -> None:
    """Text found on this machine -> corpus -> study -> report, in minutes. Again = resume."""
    from cuvee.cli.demo import run_demo

    _show(*run_demo(folder, workers=workers), as_json)


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
    workers: Annotated[int, typer.Option(help="Worker processes; 0 for one a core.", min=0)] = 0,
    seed: Annotated[int, typer.Option(help="Seeds the split and the tokenizer's sample.")] = 0,
    as_json: Json = False,
) -> None:
    """Text -> corpus: token shards, three splits that do not leak, inventory.json. Again = resume."""
    import os

    from cuvee.cli.render import corpus_text
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
            workers=workers or os.cpu_count() or 1,
            seed=seed,
            progress=bar,
        )
    value = {"corpus": str(out), "fingerprint": corpus.fingerprint, "inventory": to_json(corpus.inventory)}
    _show(corpus_text(corpus, out), value, as_json)


@app.command()
def check(study_file: StudyYaml, as_json: Json = False) -> None:
    """Read a study file and its corpus, and say what would be asked. Spends nothing."""
    from cuvee.cli.render import problem_text
    from cuvee.cli.studyfile import load

    question = load(study_file)
    _show(
        problem_text(question),
        {"problem": to_json(question.problem), "fingerprint": question.corpus.fingerprint},
        as_json,
    )


@app.command()
def run(
    study_file: StudyYaml,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print runs, tokens, epochs, time and disk; spend nothing.")
    ] = False,
    workers: Annotated[
        int, typer.Option(help="Worker processes, one thread each; 0 for the file's number.", min=0)
    ] = 0,
    accept: Annotated[
        bool, typer.Option("--accept", help="Restart a study whose evidence changed; its runs are kept aside.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Rounds of proposals, proxy runs, choice, verification, report. Again = resume."""
    from cuvee.cli.run import dry_run as estimate
    from cuvee.cli.run import run_study
    from cuvee.cli.studyfile import load

    question = load(study_file)
    count = workers or question.file.workers
    changed: Literal["refuse", "restart"] = "restart" if accept else "refuse"
    if dry_run:
        text, value = estimate(question, count, changed)
    else:
        text, value = run_study(question, count, changed)
    _show(text, value, as_json)


@app.command()
def verify(
    study_file: StudyYaml,
    seeds: Annotated[int, typer.Option(help="Fresh blocks.", min=2)] = 5,
    workers: Annotated[int, typer.Option(help="Worker processes; 0 for the file's number.", min=0)] = 0,
    as_json: Json = False,
) -> None:
    """Verify the study's choice again on more fresh blocks; finished runs are reused."""
    from cuvee.cli.run import verify_study
    from cuvee.cli.studyfile import load

    question = load(study_file)
    text, value = verify_study(question, seeds, workers or question.file.workers)
    _show(text, value, as_json)


@app.command()
def report(
    study: StudyFolder,
    out: Annotated[
        Path | None, typer.Option(help="The HTML file; report.html in the study's folder when left out.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write the report of a study, finished or not: one HTML file that opens offline."""
    from cuvee.report.write import report_data, write_report
    from cuvee.study.study import Study

    loaded = Study.load(study)
    path = write_report(loaded, out or study / "report.html")
    _show(str(path), {"report": str(path), "data": to_json(report_data(loaded))}, as_json)


@app.command()
def status(study: StudyFolder, as_json: Json = False) -> None:
    """What a study has done and what is left."""
    from cuvee.study.study import Study

    found = Study.load(study).status()
    _show(str(found), {"status": to_json(found)}, as_json)


@app.command()
def methods(
    name: Annotated[str, typer.Argument(help="A method, for its card.", metavar="[NAME]")] = "",
    as_json: Json = False,
) -> None:
    """The methods, or one method's card with its options."""
    from cuvee.cli.render import method_cards

    text, value = method_cards(name)
    _show(text, value, as_json)


@app.command()
def export(
    study: StudyFolder,
    to: Annotated[str, typer.Option(help="The trainer: megatron.")],
    out: Annotated[Path, typer.Option(help="The folder to write.")],
    as_json: Json = False,
) -> None:
    """The study's choice in a trainer's own format."""
    from cuvee.interop.export import export as export_choice
    from cuvee.study.study import Study

    loaded = Study.load(study)
    choice = loaded.choice()
    if choice is None:
        raise UsageError(f"{study} has no choice yet", wanted="a finished search", fix="cuvee run STUDY.yaml")
    if loaded.corpus is None:
        raise UsageError(
            f"the corpus of {study} is not where the study expects it", fix="move it back beside the study"
        )
    files = export_choice(choice, to, loaded.corpus, out=out)
    _show("\n".join(map(str, files)), {"files": [str(f) for f in files]}, as_json)


@app.command()
def bench(
    name: Annotated[str, typer.Argument(help="hparams or worlds.")],
    corpus: Annotated[Path | None, typer.Option(help="The corpus that `hparams` trains on.")] = None,
    as_json: Json = False,
) -> None:
    """The project's own benchmarks: `hparams` (learning-rate rule), `worlds` (methods against best-of-n random)."""
    from cuvee.cli.render import table
    from cuvee.shards.corpus import Corpus

    rows: list[dict[str, Any]]
    if name == "worlds":
        from cuvee.bench import worlds

        rows = [
            {"setting": s, "method": m, **figures}
            for s, table_ in worlds.run().items()
            for m, figures in table_.items()
        ]
    elif name == "hparams":
        from cuvee.bench import hparams

        if corpus is None:
            raise UsageError("`bench hparams` trains on a corpus and got none", fix="cuvee bench hparams --corpus DIR")
        rows = [dict(row) for row in hparams.run(Corpus.open(corpus))["rows"]]
    else:
        raise UsageError(f"no benchmark {name!r}", wanted="hparams or worlds")
    _show(table(rows), {"rows": rows}, as_json)
