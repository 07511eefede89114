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


Mix = Annotated[Path, typer.Argument(help="A study's folder, an export's folder or a mixture file.", metavar="MIX")]
CorpusFolder = Annotated[Path | None, typer.Option(help="The corpus; needed for a mixture file, else the study's own.")]
RunTokens = Annotated[
    str, typer.Option("--tokens", help="Tokens of the run (30M); the study's target run when left out.")
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

    found = load_mix(mix, corpus, token_count(tokens), max_epochs)
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
    _show(str(exported), {"export": to_json(exported)}, as_json)


Names = Annotated[list[str], typer.Option("--map", help="PATH=DOMAIN where the path does not say it; repeat.")]
Starts = Annotated[
    list[str], typer.Option(help="Tokens at which a phase begins, where the files do not say it; one a phase.")
]


@app.command()
def exporters(as_json: Json = False) -> None:
    """The trainers that `export` writes for: what their weights count, phases, caps, what was tested."""
    from cuvee.cli.render import exporters_text

    _show(*exporters_text(), as_json)


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
    _show(f"{found}\n{out}", {"import": to_json(found), "file": str(out)}, as_json)


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
    workers: Annotated[int, typer.Option(help="Worker processes; 0 for one a core.", min=0)] = 0,
    seed: Annotated[int, typer.Option(help="Which documents, and their order.")] = 0,
    as_json: Json = False,
) -> None:
    """Sampled and upsampled shards that any trainer can read as they are. Again = resume."""
    import os

    from cuvee.cli.mix import load_mix
    from cuvee.cli.tokens import token_count
    from cuvee.interop.materialise import materialise as write

    found = load_mix(mix, corpus, token_count(tokens), max_epochs)
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
    _show(f"{manifest}\n{out}", {"manifest": to_json(manifest), "folder": str(out)}, as_json)


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
    _show(str(out), {"card": str(out)}, as_json)


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
    _show(text, value, as_json)


@app.command()
def bench(
    name: Annotated[str, typer.Argument(help="hparams, infer or worlds.")],
    corpus: Annotated[Path | None, typer.Option(help="The corpus that `hparams` trains on.")] = None,
    samples: Annotated[
        Path | None, typer.Option(help="Categories for `infer`; else text found on this machine.")
    ] = None,
    as_json: Json = False,
) -> None:
    """The project's own benchmarks: `hparams` (learning-rate rule), `infer` (tokenizers of known mixtures), `worlds`
    (methods against best-of-n random, coverage of intervals)."""
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
    elif name == "hparams":
        from cuvee.bench import hparams

        if corpus is None:
            raise UsageError("`bench hparams` trains on a corpus and got none", fix="cuvee bench hparams --corpus DIR")
        tables["rows"] = [dict(row) for row in hparams.run(Corpus.open(corpus))["rows"]]
    elif name == "infer":
        from cuvee.cli.audit import bench_infer

        tables = bench_infer(samples)
    else:
        raise UsageError(f"no benchmark {name!r}", wanted="hparams, infer or worlds")
    _show("\n\n".join(table(rows) for rows in tables.values()), tables, as_json)
