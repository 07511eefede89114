"""Study: a folder with a question, its rounds of runs, the choice and its verification. Running again resumes.

A study is a loop over files. A round is proposed only when the one before is terminal, with randomness that depends on
the study's seed and the round's number alone, and it is written once; so a killed study proposes what it would have
proposed, and any number of processes may work on one study at a time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from cuvee.base.errors import DataError, PartialError, UsageError
from cuvee.base.progress import Progress, Silent
from cuvee.base.rng import generator
from cuvee.methods.contract import Method
from cuvee.plan.choice import Choice, Verification
from cuvee.plan.problem import Problem, Proxy
from cuvee.plan.trial import RECIPE, Plan, Trial
from cuvee.shards.corpus import Corpus
from cuvee.study import answer, cost, judge, transfer
from cuvee.study.alternatives import Alternatives, Front, pareto
from cuvee.study.checks import check_larger, check_plan, check_some_done, power
from cuvee.study.editing import Accept, Changes, changes, refuse_losses, settle
from cuvee.study.layout import Change, Config, CorpusRef, Lineup, MethodRef, Planned, Round
from cuvee.study.runners.local import Local, Runner
from cuvee.study.status import StudyStatus, status
from cuvee.study.store import Store, VerifyScale, portable
from cuvee.study.transfer import Transfer
from cuvee.study.worker import check_applies


class Study:
    """One question about one corpus, in one folder. Make or resume it with `open`, read it with `load`."""

    def __init__(
        self, store: Store, config: Config, corpus: Corpus | None, method: Method | None, reuse: tuple[Store, ...] = ()
    ) -> None:
        self._store, self._config, self._corpus, self._method, self._reuse = store, config, corpus, method, reuse

    @classmethod
    def open(
        cls,
        path: Path | str,
        problem: Problem,
        corpus: Corpus,
        method: Method,
        *,
        reuse: Sequence[Path | str] = (),
        changed_evidence: Accept = "refuse",
    ) -> Study:
        """The study in the folder `path`, made or resumed.

        A question that changed (objective, guards, bounds, method) is noted in the history and keeps all runs. Evidence
        that changed (tokens, proxies, seed, corpus, training code) makes the runs worthless.

        Args:
            path: The study's folder.
            problem: The question.
            corpus: What it is about.
            method: How to search and choose.
            reuse: Folders of other studies, whose runs are taken over where they are the very same runs.
            changed_evidence: `refuse`, or `restart`: put rounds and results aside and begin again.

        Raises:
            UsageError: the evidence changed; says how many runs no longer apply.
            DataError: the corpus changed, a domain has no held-out text, or the folder cannot be read or written.
        """
        store = Store(Path(path))
        config = _config(store, problem, corpus, method)
        store.create(config)
        settle(store, config, changed_evidence)
        return cls(store, config, corpus, method, tuple(Store(Path(other)) for other in reuse))

    @classmethod
    def preview(
        cls,
        path: Path | str,
        problem: Problem,
        corpus: Corpus,
        method: Method,
        *,
        changed_evidence: Accept = "refuse",
    ) -> Study:
        """The study as `open` would make or resume it, to ask for its cost; writes nothing.

        Raises:
            UsageError, DataError: as `open`.
        """
        store = Store(Path(path))
        config = _config(store, problem, corpus, method)
        if store.exists() and changes(store.config(), config).evidence:
            refuse_losses(store, config, changed_evidence)
            store = Store(store.folder / ".restarted")  # no such folder: nothing is made yet
        return cls(store, config, corpus, method)

    @classmethod
    def load(cls, path: Path | str, corpus: Corpus | None = None) -> Study:
        """The study in the folder `path`, to read: for reports and status. The corpus may be absent.

        Raises:
            DataError: no study there, one written by a newer Cuvée, or one about another corpus than the one given.
        """
        store = Store(Path(path))
        config = store.config()
        if corpus is not None and corpus.fingerprint != config.corpus.fingerprint:
            raise DataError(
                f"the study in {path} is about another corpus: got the fingerprint {corpus.fingerprint}",
                wanted=config.corpus.fingerprint,
            )
        return cls(store, config, corpus, None)

    @property
    def path(self) -> Path:
        """The study's folder."""
        return self._store.folder

    @property
    def problem(self) -> Problem:
        """The question."""
        return self._config.problem

    @property
    def config(self) -> Config:
        """The question with method and corpus, as the folder holds it."""
        return self._config

    @property
    def corpus(self) -> Corpus | None:
        """The corpus; None when it is neither given nor where the study expects it, or is another one by now."""
        if self._corpus is None:
            try:
                found = Corpus.open(self.path / self._config.corpus.path)
            except DataError:
                return None
            self._corpus = found if found.fingerprint == self._config.corpus.fingerprint else None
        return self._corpus

    def rounds(self) -> tuple[tuple[Plan, ...], ...]:
        """The plans of every round so far."""
        return tuple(tuple(p.plan for p in r.plans) for r in self._store.rounds())

    def trials(self) -> tuple[Trial, ...]:
        """The runs of the search that have ended, whatever their status, sorted by id."""
        return self._store.trials(p for r in self._store.rounds() for p in r.plans)

    def history(self) -> tuple[Change, ...]:
        """Edits of the study, in order."""
        return self._store.history()

    def run(self, workers: int = 1, progress: Progress | None = None, runner: Runner | None = None) -> None:
        """Search: rounds of proposals and runs until the method has seen enough. Calling it again resumes.

        Args:
            workers: Worker processes, one thread each.
            progress: Advanced by one for every run that ends meanwhile.
            runner: Where workers run; this machine when left out.

        Raises:
            PartialError: the disk is full or workers crash; what was finished is kept.
            DataError: no run of a round ended well.
            UsageError: the method proposes what no study can run, or the folder was edited meanwhile.
        """
        number = 0
        while (round_ := self._round(number)) is not None:
            self._finish(round_.plans, workers, progress or Silent(), runner or Local())
            check_some_done(number, self._store.trials(round_.plans))
            number += 1

    def choose(self) -> Choice:
        """The method's choice from the runs that have ended, written to `choice.json`, and beside it what other objectives
        would choose, to `alternatives.json`."""
        method, trials = self._method_in_hand(), self.trials()
        chosen = method.choose(self.problem, trials, generator(self.problem.seed, "choose", 0))
        choice = answer.complete(chosen, self._config, self.corpus, method, trials)
        self._check_unchanged()
        self._store.write_choice(choice)
        answer.ask_otherwise(self._store, self.problem, trials, method, choice)
        return choice

    def alternatives(self) -> Alternatives | None:
        """What the choice would be under other objectives; None before there is a choice."""
        return self._store.alternatives()

    def pareto(self, a: str, b: str, points: int = 9) -> Front:
        """The front of two objectives (`study.alternatives.pareto`), written to `pareto.json`; trains nothing."""
        front = pareto(self.problem, self.trials(), self._method_in_hand(), self.choose(), a, b, points)
        self._store.write_front(front)
        return front

    def front(self) -> Front | None:
        """The latest front of two objectives; None before there is one."""
        return self._store.front()

    def choice(self) -> Choice | None:
        """The choice as written; None before there is one."""
        return self._store.choice()

    def verify(
        self,
        choice: Choice,
        seeds: int = 4,
        workers: int = 1,
        progress: Progress | None = None,
        runner: Runner | None = None,
        *,
        at: Proxy | None = None,
    ) -> Verification:
        """Run the choice, natural, uniform, UniMax and the best mixture seen in fresh blocks, and judge them on the
        verify split, which the search never reads. More seeds later reuse the runs made.

        Args:
            choice: What to verify.
            seeds: Fresh blocks; five or more for figures to publish.
            workers, progress, runner: As for `run`; the gain that can be detected is said before any run is made.
            at: Larger runs than the study's proxies, with pools of their own: a test of transfer.

        Raises:
            UsageError: fewer than one block, or runs that are no larger.
            InfeasibleError: a pool of the larger runs is under the floor.
            PartialError: as for `run`.
        """
        if seeds < 1:
            raise UsageError(f"got {seeds} seeds", wanted="at least 1 fresh block, better 4 or more")
        corpus, progress = self._corpus_in_hand(), progress or Silent()
        if at is not None:
            check_larger(at, self.problem.proxy)
        scale: VerifyScale = "proxy" if at is None else "large"
        lineup = judge.lineup(self.problem, choice, self.trials(), seeds, corpus.fingerprint, at)
        self._check_unchanged()
        self._store.write_lineup(lineup, scale)
        which = "" if at is None else f" of {at.size} parameters and {at.tokens:,} tokens"
        progress.say(
            f"verification: {len(lineup.plans)} runs{which} in {seeds} fresh blocks; {power(lineup.detectable)}"
        )
        self._finish(lineup.plans, workers, progress, runner or Local())
        verification = judge.verdict(self.problem, lineup, self._store.trials(lineup.plans), at)
        self._check_unchanged()  # the runs may have taken hours
        self._store.write_verification(verification, scale)
        return verification

    def verification(self, scale: VerifyScale = "proxy") -> Verification | None:
        """The latest verification at the proxies' or the larger scale; None before there is one."""
        return self._store.verification(scale)

    def verification_trials(self, scale: VerifyScale = "proxy") -> tuple[Trial, ...]:
        """The runs of that verification that have ended, sorted by id; empty before there is one."""
        latest = self._store.verification(scale)
        return self._found(latest.trials if latest else ())

    def check_transfer(
        self,
        at: Proxy,
        mixtures: int = 16,
        workers: int = 1,
        progress: Progress | None = None,
        runner: Runner | None = None,
    ) -> Transfer:
        """Run mixtures of the first round again at a larger scale, in their blocks, and compare their order.

        Args:
            at: The larger runs, with pools of their own.
            mixtures: How many, besides natural in every block.
            workers, progress, runner: As for `run`.

        Raises:
            UsageError: nothing was searched yet, fewer than four mixtures, or runs that are no larger.
            PartialError: as for `run`.
        """
        corpus, rounds, progress = self._corpus_in_hand(), self._store.rounds(), progress or Silent()
        if not rounds or mixtures < transfer.FEWEST:
            raise UsageError(
                f"got {mixtures} mixtures and {len(rounds)} rounds of the search",
                wanted=f"at least {transfer.FEWEST} mixtures of a search that has begun",
            )
        check_larger(at, self.problem.proxy)
        pairs = transfer.plans(self.problem, [p.plan for p in rounds[0].plans], at, mixtures)
        fingerprint = corpus.fingerprint
        small, large = (tuple(Planned(p[i].id(fingerprint), p[i]) for p in pairs) for i in (0, 1))
        self._check_unchanged()
        self._store.write_lineup(Lineup(math.nan, {"small": small, "large": large}), "transfer")
        progress.say(f"transfer check: {len(large)} runs of {at.size} parameters and {at.tokens:,} tokens")
        self._finish((*small, *large), workers, progress, runner or Local())
        ids = [(a.id, b.id) for a, b in zip(small, large, strict=True)]
        found = transfer.check(self.problem, ids, self._store.trials((*small, *large)), at)
        self._check_unchanged()
        self._store.write_transfer(found)
        return found

    def transfer(self) -> Transfer | None:
        """The latest transfer check; None before there is one."""
        return self._store.transfer()

    def transfer_trials(self) -> tuple[Trial, ...]:
        """The larger runs of the latest transfer check that have ended, natural's among them; empty before there is one."""
        lineups = self._store.lineups("transfer") if self._store.transfer() else []
        return self._found(sorted({p.id for p in lineups[-1].arms["large"]}) if lineups else ())

    def _found(self, ids: Iterable[str]) -> tuple[Trial, ...]:
        return tuple(t for i in ids if (t := self._store.trial(i)) is not None)

    def status(self) -> StudyStatus:
        """What is done and what is left."""
        return status(self._store)

    def cost(self, workers: int = 1, verify_seeds: int = 4, speed: cost.Speed = "measured") -> cost.CostEstimate:
        """What is left to spend, with a verification of `verify_seeds` fresh blocks. Trains for seconds to
        learn the speed unless it is to be assumed."""
        rounds = self._store.rounds()
        planned = [p for r in rounds for p in r.plans]
        done = [p.plan for p in planned if self._store.has(p.id)]
        left = [p.plan for p in planned if not self._store.has(p.id)]
        if not left and self._method is not None:
            left = list(self._propose(len(rounds)))
        return cost.estimate(
            self.problem,
            self._corpus_in_hand(),
            [*done, *left],
            finished=len(done),
            budget=int(getattr(self._method, "runs", 0)),
            workers=workers,
            verify_seeds=verify_seeds,
            speed=speed if left or verify_seeds else "assumed",
        )

    # rounds

    def _round(self, number: int) -> Round | None:
        """The round of that number, proposed and written now if need be; None when the method has seen enough."""
        rounds = self._store.rounds()
        if number < len(rounds):
            return rounds[number]
        plans = self._propose(number)
        if not plans:
            return None
        fingerprint = self._corpus_in_hand().fingerprint
        planned = tuple(Planned(plan.id(fingerprint), plan) for plan in plans)
        if {p.id for p in planned} <= {p.id for r in rounds for p in r.plans}:
            raise UsageError(
                f"method {self._config.method.name!r} proposes only runs that earlier rounds have",
                wanted="new runs, or none when it has seen enough",
            )
        self._check_unchanged()
        self._store.write_round(number, Round(planned))
        return self._store.rounds()[number]

    def _propose(self, number: int) -> tuple[Plan, ...]:
        rng = generator(self.problem.seed, "propose", number)
        plans = tuple(dict.fromkeys(self._method_in_hand().propose(self.problem, self.trials(), rng)))
        for plan in plans:
            check_plan(plan, self.problem)
        return plans

    def _finish(self, planned: Sequence[Planned], workers: int, progress: Progress, runner: Runner) -> None:
        """Make the runs that are missing, and return when all have ended."""
        store, corpus = self._store, self._corpus_in_hand()
        store.trials(planned)
        for trial in store.unreadable():
            progress.say(
                f"trial {trial} could not be read; set aside as {store.set_aside(trial).name}, running it again"
            )
        self._take_over(planned)
        left = {p.id for p in planned if not store.has(p.id)}
        for run in planned:
            if run.id in left:
                check_applies(run, corpus.fingerprint)

        def poll() -> None:
            landed = {i for i in left if store.has(i)}
            left.difference_update(landed)
            if landed:
                progress.advance(len(landed))

        if left:
            count = max(1, min(workers, len(left)))
            ids = [p.id for p in planned]
            starts = [len(ids) * k // count for k in range(count)]
            runner.run([store.write_job(corpus.path, (*ids[s:], *ids[:s])) for s in starts], poll)
            poll()
        if left:
            raise PartialError(
                f"{len(left)} of {len(planned)} runs have not ended", fix="run the same command again; it goes on"
            )
        store.sweep(planned)

    def _take_over(self, planned: Sequence[Planned]) -> None:
        """Copy runs that another study has made: the same id is the same run."""
        for run in planned:
            for other in self._reuse:
                if not self._store.has(run.id) and (trial := other.trial(run.id)) is not None:
                    self._store.publish_trial(trial)

    # what must be in hand

    def _method_in_hand(self) -> Method:
        if self._method is None:
            raise UsageError(
                "this study was loaded to be read", fix="Study.open(path, problem, corpus, method) runs it"
            )
        return self._method

    def _corpus_in_hand(self) -> Corpus:
        corpus = self.corpus
        if corpus is None:
            raise DataError(
                f"the corpus of {self.path} is not at {self._config.corpus.path}",
                wanted=f"the corpus with fingerprint {self._config.corpus.fingerprint}",
                fix="move it back beside the study, or give it to Study.load",
            )
        return corpus

    def _check_unchanged(self) -> None:
        """Refuse to write results of a question that another process has edited since."""
        found = changes(self._store.config(), self._config)
        if found != Changes((), ()):
            raise UsageError(
                f"{self.path} was edited by another process: {', '.join((*found.question, *found.evidence))}",
                wanted="one question at a time in one study",
                fix="run again with the question you want; the runs are kept",
            )


def _config(store: Store, problem: Problem, corpus: Corpus, method: Method) -> Config:
    if problem.domains != corpus.domains:
        raise UsageError(
            f"the problem is about {', '.join(problem.domains)}", wanted=f"the corpus's: {', '.join(corpus.domains)}"
        )
    for domain in problem.domains:
        for split in ("search", "verify"):
            corpus.bytes_per_token(domain, split)  # a domain that cannot be scored would fail every run
    ref = CorpusRef(corpus.fingerprint, portable(corpus.path, store.folder), corpus.vocab_size)
    return Config(problem, MethodRef.of(method), ref, RECIPE)
