"""Commands about studies: check, run, verify, report, status, methods."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Literal

import typer

from cuvee.base.codec import to_json
from cuvee.cli.command import AllowLeak, Emitted, EmittedTo, Json, Runner, StudyFolder, StudyYaml, app, show


@app.command()
def check(study_file: StudyYaml, allow_leak: AllowLeak = False, as_json: Json = False) -> None:
    """Read a study file and its corpus, and say what would be asked. Spends nothing."""
    from cuvee.cli.leaks import check_leaks
    from cuvee.cli.render import problem_text
    from cuvee.cli.studyfile import load

    question = load(study_file)
    leaks = check_leaks(question, allow_leak)
    show(
        problem_text(question),
        {"problem": to_json(question.problem), "fingerprint": question.corpus.fingerprint, "leaks": to_json(leaks)},
        as_json,
    )


@app.command()
def run(
    study_file: StudyYaml,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print runs, tokens, epochs, time and disk; spend nothing.")
    ] = False,
    detect: Annotated[
        str,
        typer.Option(
            help="With --dry-run: what it takes to find this gain with 80 % power, such as 0.5% or 0.004 (bits/byte).",
            metavar="GAIN",
        ),
    ] = "",
    pilot: Annotated[
        bool, typer.Option("--pilot", help="Make only the first round's runs that measure the noise; run goes on.")
    ] = False,
    workers: Annotated[
        int, typer.Option(help="Worker processes (or tasks), one thread each; 0 for the file's number.", min=0)
    ] = 0,
    runner: Runner = None,
    emit: Emitted = None,
    out: EmittedTo = None,
    accept: Annotated[
        bool, typer.Option("--accept", help="Restart a study whose evidence changed; its runs are kept aside.")
    ] = False,
    allow_leak: AllowLeak = False,
    as_json: Json = False,
) -> None:
    """Rounds of proposals, proxy runs, choice, verification, report. Again = resume."""
    from cuvee.base.errors import UsageError
    from cuvee.cli.leaks import check_leaks
    from cuvee.cli.machines import machines
    from cuvee.cli.run import dry_run as estimate
    from cuvee.cli.run import run_pilot, run_study
    from cuvee.cli.studyfile import load
    from cuvee.study.power import Gain

    if (detect and not dry_run) or (pilot and dry_run):
        raise UsageError("--detect plans and --pilot spends", wanted="--dry-run, --dry-run --detect GAIN, or --pilot")
    gain = Gain.parse(detect) if detect else None
    question = load(study_file)
    check_leaks(question, allow_leak)
    at = machines(question, workers, runner, emit, out)
    changed: Literal["refuse", "restart"] = "restart" if accept else "refuse"
    again = f"cuvee run {shlex.quote(str(study_file))}"
    if dry_run:
        text, value = estimate(question, at.workers, changed, gain, again)
    elif pilot:
        text, value = run_pilot(question, at, changed, again)
    else:
        text, value = run_study(question, at, changed)
    show(text, value, as_json)


@app.command()
def verify(
    study_file: StudyYaml,
    seeds: Annotated[int, typer.Option(help="Fresh blocks.", min=2)] = 5,
    large: Annotated[bool, typer.Option("--large", help="At the study file's larger scale.")] = False,
    workers: Annotated[int, typer.Option(help="Worker processes; 0 for the file's number.", min=0)] = 0,
    runner: Runner = None,
    emit: Emitted = None,
    out: EmittedTo = None,
    as_json: Json = False,
) -> None:
    """Verify the study's choice again on more fresh blocks; finished runs are reused."""
    from cuvee.cli.machines import machines
    from cuvee.cli.run import verify_study
    from cuvee.cli.studyfile import load

    question = load(study_file)
    text, value = verify_study(
        question, seeds, machines(question, workers, runner, emit, out), "large" if large else "proxy"
    )
    show(text, value, as_json)


@app.command()
def report(
    study: StudyFolder,
    out: Annotated[
        Path | None, typer.Option(help="The HTML file; report.html in the study's folder when left out.")
    ] = None,
    page: Annotated[
        Path | None, typer.Option(help="One printed page to hand to a colleague, beside it (HTML).")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write the report of a study, finished or not: one HTML file that opens offline."""
    from cuvee.report.write import report_data, write_page, write_report
    from cuvee.study.study import Study

    loaded = Study.load(study)
    path = write_report(loaded, out or study / "report.html")
    paths = [str(path), *([str(write_page(loaded, page))] if page else [])]
    value = {"report": paths[0], "page": paths[1] if page else None, "data": to_json(report_data(loaded))}
    show("\n".join(paths), value, as_json)


@app.command()
def status(study: StudyFolder, as_json: Json = False) -> None:
    """What a study has done and what is left."""
    from cuvee.study.study import Study

    found = Study.load(study).status()
    show(str(found), {"status": to_json(found)}, as_json)


@app.command()
def methods(
    name: Annotated[str, typer.Argument(help="A method, for its card.", metavar="[NAME]")] = "",
    as_json: Json = False,
) -> None:
    """The methods, or one method's card with its options."""
    from cuvee.cli.render import method_cards

    text, value = method_cards(name)
    show(text, value, as_json)
