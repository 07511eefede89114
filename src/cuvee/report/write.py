"""Write the report of a study: one HTML file that opens offline."""

from __future__ import annotations

from pathlib import Path

from cuvee.base.errors import DataError
from cuvee.base.files import replace
from cuvee.report.assemble import assemble
from cuvee.report.data import Evidence, ReportData
from cuvee.report.render import render
from cuvee.study.study import Study


def write_report(study: Study, path: Path | str) -> Path:
    """Write the report of `study`, finished or not, to the HTML file `path`, replacing it whole; returns the path.

    The page holds everything, plotly.js included (about 5 MB), and makes no requests.

    Raises:
        DataError: `path` cannot be written.
        PartialError: the disk is full.
    """
    from plotly.offline import get_plotlyjs

    target = Path(path)
    page = render(report_data(study), get_plotlyjs())
    try:
        replace(target, page.encode("utf-8"))
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise DataError(f"cannot write {target}: {error.strerror}", fix="name a file in a folder") from error
    return target


def report_data(study: Study) -> ReportData:
    """What the report of `study` says, as values."""
    return assemble(_evidence(study))


def _evidence(study: Study) -> Evidence:
    corpus = study.corpus
    return Evidence(
        name=study.path.resolve().name,
        folder=study.path.as_posix(),
        problem=study.problem,
        method=study.config.method.name,
        fingerprint=study.config.corpus.fingerprint,
        recipe=study.config.recipe,
        trials=study.trials(),
        verification_trials=study.verification_trials(),
        choice=study.choice(),
        verification=study.verification(),
        larger=study.verification("large"),
        larger_trials=study.verification_trials("large"),
        transfer=study.transfer(),
        transfer_trials=study.transfer_trials(),
        tokenizer=corpus.inventory.tokenizer.sha if corpus is not None else "",
        edits=tuple(f"{c.time}: {c.event}, {', '.join(c.keys)}" for c in study.history()),
    )
