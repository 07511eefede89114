"""What `cuvee run` and `cuvee verify` do: open, cost, search, choose, verify, report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from cuvee.base.codec import to_json
from cuvee.base.errors import UsageError
from cuvee.base.progress import Bar
from cuvee.cli.studyfile import Question
from cuvee.plan.choice import Choice, Verification
from cuvee.plan.problem import Proxy
from cuvee.report.write import write_report
from cuvee.study.editing import Accept
from cuvee.study.judge import scaled
from cuvee.study.store import VerifyScale
from cuvee.study.study import Study

Result = tuple[str, dict[str, Any]]


def open_study(question: Question, accept: Accept) -> Study:
    """The study of a question, made or resumed."""
    q = question
    return Study.open(q.folder, q.problem, q.corpus, q.method, reuse=q.reuse, inputs=q.inputs, changed_evidence=accept)


def dry_run(question: Question, workers: int, accept: Accept) -> Result:
    """The cost of the study before anything is spent; writes nothing."""
    q = question
    study = Study.preview(q.folder, q.problem, q.corpus, q.method, changed_evidence=accept)
    cost = study.cost(workers=workers, verify_seeds=q.file.verify.seeds)
    return str(cost), {"cost": to_json(cost)}


def run_study(question: Question, workers: int, accept: Accept) -> Result:
    """Search, choose, verify, report; every step resumes."""
    if question.problem.trainer == "outside":
        raise UsageError(
            "the runs of this study are made by an outside trainer",
            wanted="cuvee suggest and cuvee tell",
            fix="cuvee suggest STUDY.yaml --out DIR; or trainer: proxies, in a study folder of its own",
        )
    study = open_study(question, accept)
    # a resume should not train for seconds to learn the speed again; the bar soon has an ETA of its own
    cost = study.cost(workers=workers, verify_seeds=question.file.verify.seeds, speed="assumed")
    with Bar("proxies", cost.runs) as bar:
        bar.say(str(cost))
        study.run(workers=workers, progress=bar)
    choice = study.choose()
    verify = question.file.verify
    found = [_verify(study, choice, verify.seeds, workers, None)] if verify.seeds else []
    if question.large is not None and verify.large is not None:
        if verify.large.transfer:
            with Bar("transfer check", 0) as bar:
                bar.say(str(study.check_transfer(question.large, verify.large.transfer, workers, bar)))
        if verify.large.seeds:
            found.append(_verify(study, choice, verify.large.seeds, workers, question.large))
    return finish(question, study, choice, found)


def verify_study(question: Question, seeds: int, workers: int, scale: VerifyScale) -> Result:
    """More fresh blocks for the choice that the study has."""
    study = open_study(question, "refuse")
    choice = study.choose()
    large = question.large if scale == "large" else None
    if scale == "large" and large is None:
        raise UsageError(
            "the study file names no larger runs", fix="verify: {large: {size: 0.6M, tokens: 2M}}, with yours"
        )
    return finish(question, study, choice, [_verify(study, choice, seeds, workers, large)])


def _seeds_so_far(study: Study, choice: Choice, at: Proxy | None) -> int:
    """Fresh blocks that this very choice has been verified in: running again must not throw them away."""
    verification = study.verification("proxy" if at is None else "large")
    if verification is None or (at is not None and verification.proxy != at):
        return 0
    arm = next((a for a in verification.arms if a.name == "choice"), None)
    problem = study.problem if at is None else replace(study.problem, proxy=at)
    return len(arm.blocks) if arm and arm.schedule == scaled(choice.schedule, problem) else 0


def _verify(study: Study, choice: Choice, seeds: int, workers: int, at: Proxy | None) -> Verification:
    with Bar("verification", 0) as bar:
        count = max(seeds, _seeds_so_far(study, choice, at))
        return study.verify(choice, seeds=count, workers=workers, progress=bar, at=at)


def finish(question: Question, study: Study, choice: Choice, found: Sequence[Verification]) -> Result:
    """Write the report; the results as text and as JSON."""
    path = write_report(study, question.report)
    text = "\n".join([choice.summary(), *map(str, found), f"report: {path}"])
    value = {
        "choice": to_json(choice),
        "verification": to_json(study.verification()),
        "verification_large": to_json(study.verification("large")),
        "transfer": to_json(study.transfer()),
        "report": str(path),
        "study": str(question.folder),
    }
    return text, value
