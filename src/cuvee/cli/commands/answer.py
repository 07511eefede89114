"""Commands about what to do with the answer: pareto."""

from __future__ import annotations

from typing import Annotated

import typer

from cuvee.cli.command import Json, StudyYaml, app, show

Objective = (
    "A target, or a mean of targets: a guard's, a group's, `objective`, `all-domains`, or names joined by commas."
)


@app.command()
def pareto(
    study_file: StudyYaml,
    a: Annotated[str, typer.Argument(help=Objective)],
    b: Annotated[str, typer.Argument(help="The other one.")],
    points: Annotated[int, typer.Option(help="Weights tried, evenly spaced.", min=3)] = 9,
    as_json: Json = False,
) -> None:
    """What one objective costs in another, predicted from the runs there are; shown in the study's report. Trains nothing."""
    from cuvee.cli.run import front_of
    from cuvee.cli.studyfile import load

    text, value = front_of(load(study_file), a, b, points)
    show(text, value, as_json)
