"""What `cuvee run` and `cuvee verify` do: open, cost, search, choose, verify, report."""

from __future__ import annotations

from typing import Any

from cuvee.base.codec import to_json
from cuvee.base.progress import Bar
from cuvee.cli.studyfile import Question
from cuvee.plan.choice import Choice, Verification
from cuvee.report.write import write_report
from cuvee.study.editing import Accept
from cuvee.study.judge import scaled
from cuvee.study.study import Study

Result = tuple[str, dict[str, Any]]


def open_study(question: Question, accept: Accept) -> Study:
    """The study of a question, made or resumed."""
    q = question
    return Study.open(q.folder, q.problem, q.corpus, q.method, reuse=q.reuse, changed_evidence=accept)


def dry_run(question: Question, workers: int, accept: Accept) -> Result:
    """The cost of the study before anything is spent; writes nothing."""
    q = question
    study = Study.preview(q.folder, q.problem, q.corpus, q.method, changed_evidence=accept)
    cost = study.cost(workers=workers, verify_seeds=q.file.verify.seeds)
    return str(cost), {"cost": to_json(cost)}


def run_study(question: Question, workers: int, accept: Accept) -> Result:
    """Search, choose, verify, report; every step resumes."""
    study = open_study(question, accept)
    # a resume should not train for seconds to learn the speed again; the bar soon has an ETA of its own
    cost = study.cost(workers=workers, verify_seeds=question.file.verify.seeds, speed="assumed")
    with Bar("proxies", cost.runs) as bar:
        bar.say(str(cost))
        study.run(workers=workers, progress=bar)
    choice = study.choose()
    verification = None
    if question.file.verify.seeds:
        verification = _verify(study, choice, max(question.file.verify.seeds, _seeds_so_far(study, choice)), workers)
    return _finish(question, study, choice, verification)


def verify_study(question: Question, seeds: int, workers: int) -> Result:
    """More fresh blocks for the choice that the study has."""
    study = open_study(question, "refuse")
    choice = study.choose()
    return _finish(question, study, choice, _verify(study, choice, seeds, workers))


def _seeds_so_far(study: Study, choice: Choice) -> int:
    """Fresh blocks that this very choice has been verified in: running again must not throw them away."""
    arms = [a for a in (study.verification() or Verification((), 0.0, ())).arms if a.name == "choice"]
    same = arms and arms[0].schedule == scaled(choice.schedule, study.problem)
    return len(arms[0].blocks) if same else 0


def _verify(study: Study, choice: Choice, seeds: int, workers: int) -> Verification:
    with Bar("verification", 0) as bar:
        return study.verify(choice, seeds=seeds, workers=workers, progress=bar)


def _finish(question: Question, study: Study, choice: Choice, verification: Verification | None) -> Result:
    path = write_report(study, question.report)
    text = "\n".join([choice.summary(), *([str(verification)] if verification else []), f"report: {path}"])
    value = {
        "choice": to_json(choice),
        "verification": to_json(verification),
        "report": str(path),
        "study": str(question.folder),
    }
    return text, value


def front_of(question: Question, a: str, b: str, points: int) -> Result:
    """The front of two objectives, and the report with it."""
    study = open_study(question, "refuse")
    front = study.pareto(a, b, points)
    path = write_report(study, question.report)
    return f"{front}\nreport: {path}", {"front": to_json(front), "report": str(path)}
