"""What `cuvee run` and `cuvee verify` do: open, cost, search, choose, verify, report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cuvee.base.codec import to_json
from cuvee.base.errors import UsageError
from cuvee.base.progress import Bar
from cuvee.cli.machines import Machines
from cuvee.cli.studyfile import Question
from cuvee.plan.choice import Choice, Verification
from cuvee.plan.problem import Proxy
from cuvee.predict.detect import detectable
from cuvee.report.write import write_report
from cuvee.study.checks import power
from cuvee.study.cost import CostEstimate, total
from cuvee.study.editing import Accept
from cuvee.study.judge import judges
from cuvee.study.pilot import NO_PILOT
from cuvee.study.power import Gain, detect
from cuvee.study.store import VerifyScale
from cuvee.study.study import Study

Result = tuple[str, dict[str, Any]]


def open_study(question: Question, accept: Accept) -> Study:
    """The study of a question, made or resumed."""
    q = question
    return Study.open(
        q.folder,
        q.problem,
        q.corpus,
        q.method,
        reuse=q.reuse,
        inputs=q.inputs,
        weights=q.weights,
        changed_evidence=accept,
    )


def dry_run(question: Question, workers: int, accept: Accept, gain: Gain | None, again: str) -> Result:
    """The cost of the study before anything is spent, and what it can find; writes nothing.

    Args:
        gain: What is to be found; None when that is not asked.
        again: The command that runs the study.
    """
    q = question
    study = Study.preview(q.folder, q.problem, q.corpus, q.method, changed_evidence=accept)
    cost = study.cost(workers=workers, verify_seeds=q.file.verify.seeds, large=q.large)
    noise, found = study.noise(), None
    lines = [str(cost)]
    if gain is not None:
        found = detect(study, gain, cost, q.file.verify.seeds)
        lines += ["", str(found)]
    elif noise is not None and q.file.verify.seeds:
        lines.append(f"verification: {power(detectable(noise.sd, q.file.verify.seeds))}")
    if noise is None:
        lines.append(_to_measure(cost, again))
    return "\n".join(lines), {"cost": to_json(cost), "noise": to_json(noise), "detect": to_json(found)}


def _to_measure(cost: CostEstimate, again: str) -> str:
    """How to measure the noise that the gain to be found hangs on."""
    if not cost.pilot_runs:
        return f"what gain can be found is not known before the noise is measured, by {NO_PILOT}"
    bill = total([(cost.pilot_runs, cost.each, cost.blocks)], cost.workers)
    return (
        "what gain can be found is not known before the noise is measured, by the first round's own runs of natural and one "
        f"more mixture ({cost.pilot_runs} runs, {bill}):\n  {again} --pilot"
    )


def run_pilot(question: Question, at: Machines, accept: Accept, again: str) -> Result:
    """The runs of the first round that measure the noise, and what gain can then be found; the study goes on from them."""
    study = open_study(question, accept)
    with Bar("pilot", 0) as bar:
        noise = study.pilot(at.workers, bar, at.runner)
    after = f"{again} goes on from here; {again} --dry-run --detect 0.5% plans for a gain"
    return f"{noise}\n{noise.table()}\n{after}", {"noise": to_json(noise), "study": str(question.folder)}


def run_study(question: Question, at: Machines, accept: Accept) -> Result:
    """Search, choose, verify, report; every step resumes."""
    if question.problem.trainer == "outside":
        raise UsageError(
            "the runs of this study are made by an outside trainer",
            wanted="cuvee suggest and cuvee tell",
            fix="cuvee suggest STUDY.yaml --out DIR; or trainer: proxies, in a study folder of its own",
        )
    study = open_study(question, accept)
    # a resume should not train for seconds to learn the speed again; the bar soon has an ETA of its own
    seeds = question.file.verify.seeds
    cost = study.cost(workers=at.workers, verify_seeds=seeds, speed="assumed", large=question.large)
    with Bar("proxies", cost.runs) as bar:
        bar.say(str(cost))
        study.run(at.workers, bar, at.runner)
    choice = study.choose()
    found = [_verify(study, choice, seeds, at, None)] if seeds else []
    if (large := question.large) is not None:
        if large.transfer:
            with Bar("transfer check", 0) as bar:
                bar.say(str(study.check_transfer(large.proxy, large.transfer, at.workers, bar, at.runner)))
        if large.seeds:
            found.append(_verify(study, choice, large.seeds, at, large.proxy))
    return finish(question, study, choice, found)


def verify_study(question: Question, seeds: int, at: Machines, scale: VerifyScale) -> Result:
    """More fresh blocks for the choice that the study has."""
    study = open_study(question, "refuse")
    choice = study.choose()
    if scale == "large" and question.large is None:
        raise UsageError(
            "the study file names no larger runs", fix="verify: {large: {size: 0.6M, tokens: 2M}}, with yours"
        )
    proxy = question.large.proxy if question.large is not None and scale == "large" else None
    return finish(question, study, choice, [_verify(study, choice, seeds, at, proxy)])


def _seeds_so_far(study: Study, choice: Choice, at: Proxy | None) -> int:
    """Fresh blocks that this very choice has been verified in: running again must not throw them away."""
    verification = study.verification("proxy" if at is None else "large")
    if verification is None or (at is not None and verification.proxy != at):
        return 0
    return len(verification.arm("choice").blocks) if judges(verification, choice, study.problem) else 0


def _verify(study: Study, choice: Choice, seeds: int, at: Machines, proxy: Proxy | None) -> Verification:
    with Bar("verification", 0) as bar:
        count = max(seeds, _seeds_so_far(study, choice, proxy))
        return study.verify(choice, count, at.workers, bar, at.runner, at=proxy)


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


def front_of(question: Question, a: str, b: str, points: int) -> Result:
    """The front of two objectives, and the report with it."""
    study = open_study(question, "refuse")
    front = study.pareto(a, b, points)
    path = write_report(study, question.report)
    return f"{front}\nreport: {path}", {"front": to_json(front), "report": str(path)}
