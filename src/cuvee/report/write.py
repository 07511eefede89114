"""Write the report of a study: one HTML file that opens offline."""

from __future__ import annotations

from pathlib import Path

from cuvee.base.errors import DataError
from cuvee.base.files import replace
from cuvee.report.assemble import assemble
from cuvee.report.data import Evidence, ReportData
from cuvee.report.onepage import render_page
from cuvee.report.render import render
from cuvee.study.alternatives import about
from cuvee.study.answer import cited
from cuvee.study.study import Study


def write_report(study: Study, path: Path | str) -> Path:
    """Write the report of `study`, finished or not, to the HTML file `path`, replacing it whole; returns the path.

    The page holds everything, plotly.js included (about 5 MB), and makes no requests.

    Raises:
        DataError: `path` cannot be written.
        PartialError: the disk is full.
    """
    from plotly.offline import get_plotlyjs

    return _write(Path(path), render(report_data(study), get_plotlyjs()))


def write_page(study: Study, path: Path | str) -> Path:
    """Write the one page of `study` that a colleague is handed (`report.onepage`) to the HTML file `path`; returns the path.

    Raises:
        DataError: `path` cannot be written.
        PartialError: the disk is full.
    """
    return _write(Path(path), render_page(report_data(study)))


def _write(target: Path, page: str) -> Path:
    try:
        replace(target, page.encode("utf-8"))
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise DataError(f"cannot write {target}: {error.strerror}", fix="name a file in a folder") from error
    return target


def report_data(study: Study) -> ReportData:
    """What the report of `study` says, as values."""
    return assemble(_evidence(study))


def _evidence(study: Study) -> Evidence:
    corpus, choice, alternatives, front = study.corpus, study.choice(), study.alternatives(), study.front()
    now = about(choice) if choice is not None else ""
    return Evidence(
        name=study.path.resolve().name,
        folder=study.path.as_posix(),
        problem=study.problem,
        method=study.config.method.name,
        fingerprint=study.config.corpus.fingerprint,
        recipe=study.config.recipe,
        trials=study.trials(),
        verification_trials=study.verification_trials(),
        choice=choice,
        verification=study.verification(),
        larger=study.verification("large"),
        larger_trials=study.verification_trials("large"),
        transfer=study.transfer(),
        transfer_trials=study.transfer_trials(),
        # what stands beside an earlier choice is not shown
        alternatives=alternatives if alternatives is not None and alternatives.about == now else None,
        front=front if front is not None and front.about == now else None,
        citation=cited(choice) if choice is not None else (),
        tokenizer=corpus.inventory.tokenizer.sha if corpus is not None else "",
        edits=tuple(f"{c.time}: {c.event}, {', '.join(c.keys)}" for c in study.history()),
    )
