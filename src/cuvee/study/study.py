"""Study: a folder with a question, its rounds of runs, the choice and its verification. Running again resumes.

A study is a loop over files. A round is proposed only when the one before is terminal, with randomness that depends on
the study's seed and the round's number alone, and it is written once; so a killed study proposes what it would have
proposed, and any number of processes may work on one study at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from cuvee.base.errors import DataError, UsageError
from cuvee.base.progress import Progress, Silent
from cuvee.base.rng import generator
from cuvee.methods.contract import Method
from cuvee.plan.choice import Choice, Verification
from cuvee.plan.problem import Problem, Proxy
from cuvee.plan.trial import Plan, Status, Trial
from cuvee.proxies.start import Weights
from cuvee.shards.corpus import Corpus
from cuvee.shards.examples import Tokenised
from cuvee.study import answer, cost, judge, pilot, transfer
from cuvee.study.alternatives import Alternatives, Front, pareto
from cuvee.study.checks import check_corpus, check_larger, check_plan, check_reuse, check_some_done, keep_inputs, power
from cuvee.study.editing import Accept, begin, changes, check_unchanged, config_of, refuse_losses, settle
from cuvee.study.layout import Change, Config, Planned, Round
from cuvee.study.making import make
from cuvee.study.outside import Ended, Suggestion, Told, plain, suggest, tell
from cuvee.study.pilot import Noise
from cuvee.study.runners.local import Local, Runner
from cuvee.study.status import StudyStatus, status
from cuvee.study.store import Store, VerifyScale
from cuvee.study.transfer import Transfer


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
        inputs: Sequence[Tokenised] = (),
        weights: Weights | None = None,
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
            inputs: What the problem's measures score (`interop.targets`); kept in the folder, so needed once.
            weights: Of the checkpoint that proxies start from (`interop.checkpoint`); kept in the folder, so needed once.
            changed_evidence: `refuse`, or `restart`: put rounds and results aside and begin again.

        Raises:
            UsageError: the evidence changed; says how many runs no longer apply.
            DataError: the corpus changed, a domain has no held-out text, a measure's examples are missing, or the folder
                cannot be read or written.
        """
        store = Store(Path(path))
        check_reuse(problem, reuse)
        keep_inputs(problem, store.inputs, inputs, weights)
        config = begin(store, problem, corpus, method)
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
        config = config_of(store, problem, corpus, method)
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
        check_corpus(store, config, corpus)
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

    def pilot(self, workers: int = 1, progress: Progress | None = None, runner: Runner | None = None) -> Noise:
        """Make only those runs of the first round that measure its paired noise. `run` goes on from there.

        Raises:
            UsageError: no mixture of the first round runs beside natural in two blocks.
            DataError: of its runs too few ended well.
            PartialError: as for `run`.
        """
        round_ = self._round(0)
        first = round_.plans if round_ else ()
        plans = pilot.anchors(self.problem, [p.plan for p in first])
        pilot.check_plans(plans, self._config.method.name)
        planned = [p for p in first if p.plan in plans]
        self._finish(planned, workers, progress or Silent(), runner or Local())
        return pilot.check_noise(self.noise(), self._store.trials(planned))

    def noise(self) -> Noise | None:
        """The paired noise as the search measured it, else as the verification did; None before either has."""
        found = (pilot.measured(self.problem, trials) for trials in (self.trials(), self.verification_trials()))
        return next(filter(None, found), None)

    def choose(self) -> Choice:
        """The method's choice from the runs that have ended, written to `choice.json`, and beside it what other objectives
        would choose, to `alternatives.json`."""
        method, trials = self._method_in_hand(), self.trials()
        chosen = method.choose(self.problem, trials, generator(self.problem.seed, "choose", 0))
        choice = answer.complete(chosen, self._config, self.corpus, method, trials)
        check_unchanged(self._store, self._config)
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
        check_unchanged(self._store, self._config)
        self._store.write_lineup(lineup, scale)
        runs = f"{len(lineup.plans)} runs of {(at or self.problem.proxy).tokens:,} tokens in {seeds} fresh blocks"
        progress.say(f"verification: {runs}; {power(lineup.detectable)}")
        self._finish(lineup.plans, workers, progress, runner or Local())
        verification = judge.verdict(self.problem, lineup, self._store.trials(lineup.plans), at)
        check_unchanged(self._store, self._config)  # the runs may have taken hours
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
        check_larger(at, self.problem.proxy)
        lineup = transfer.lineup(self.problem, rounds, at, mixtures, corpus.fingerprint)
        check_unchanged(self._store, self._config)
        self._store.write_lineup(lineup, "transfer")
        progress.say(f"transfer check: {mixtures} mixtures at {at.size} parameters and {at.tokens:,} tokens")
        self._finish(lineup.plans, workers, progress, runner or Local())
        found = transfer.check(self.problem, lineup, self._store.trials(lineup.plans), at)
        check_unchanged(self._store, self._config)
        self._store.write_transfer(found)
        return found

    def transfer(self) -> Transfer | None:
        """The latest transfer check; None before there is one."""
        return self._store.transfer()

    def transfer_trials(self) -> tuple[Trial, ...]:
        """The larger runs of the latest transfer check that have ended, natural's among them; empty before there is one."""
        return self._found(self._store.transfer_runs())

    def _found(self, ids: Iterable[str]) -> tuple[Trial, ...]:
        return tuple(t for i in ids if (t := self._store.trial(i)) is not None)

    def status(self) -> StudyStatus:
        """What is done and what is left."""
        return status(self._store)

    def cost(
        self,
        workers: int = 1,
        verify_seeds: int = 4,
        speed: cost.Known = "measured",
        *,
        large: cost.Larger | None = None,
    ) -> cost.CostEstimate:
        """What is left to spend, with a verification of `verify_seeds` fresh blocks and what is meant to run larger.
        Trains for seconds to learn the speed unless it is to be assumed."""
        rounds = self._store.rounds()
        done, left = self._store.ended_and_left(p for r in rounds for p in r.plans)
        if not left and self._method is not None:
            left = list(self._propose(len(rounds)))
        # n-gram models are counted in seconds, which is no training's price
        done, left = ([p for p in some if p.kind != "ngram"] for some in (done, left))
        return cost.estimate(
            self.problem,
            self._corpus_in_hand(),
            [*done, *left],
            finished=len(done),
            budget=cost.budget_of(self.problem, self._method),
            workers=workers,
            verify_seeds=verify_seeds,
            speed=speed if left or verify_seeds else "assumed",
            inputs=self._store.inputs,
            large=large,
        )

    # runs of an outside trainer

    def suggest(
        self,
        seeds: int = 4,
        *,
        large: Proxy | None = None,
        large_seeds: int = 4,
        transfer: int = 16,
        progress: Progress | None = None,
    ) -> Suggestion:
        """What an outside trainer is to run next: the round, then the runs of the verification and at a larger scale.
        Proposes, chooses and judges when the runs before have been told; again gives the same.

        Args:
            seeds, large_seeds: Fresh blocks to verify the choice in, at the proxies' scale and at `large`; 0: none.
            large, transfer: The larger runs if wanted, and for how many mixtures their order is checked; 0: not.
            progress: What is worth knowing is said there.

        Raises:
            UsageError: the runs of this study are proxies of its own, or as for `run` and `verify`.
            DataError: no run of a round ended well.
        """
        return suggest(self, seeds, large, large_seeds, transfer, progress or Silent())

    def tell(
        self,
        run: str,
        metrics: Mapping[str, float | Told],
        *,
        realised: Mapping[str, int] | None = None,
        status: Status = "done",
        message: str = "",
        source: str = "",
    ) -> Suggestion:
        """Take the result of a suggested run. Telling it again changes nothing, telling something else is refused.

        Args:
            run: Its id.
            metrics: All targets of the run: final values in their unit, or `Told` with a curve, errors, unit.
            realised: Domain -> tokens trained on; the plan's when left out.
            status, message: `diverged` (metrics are optional) or `failed` (with a message).
            source: Where the metrics come from, for the record.

        Returns:
            What is left of the run's round or verification.

        Raises:
            UsageError: an unknown run or target, one missing, another unit or direction, a value that is not finite, a
                curve that does not ascend or ends elsewhere, or what contradicts an earlier telling.
        """
        return tell(self, self._store, run, Ended(plain(metrics), realised, status, message, source))

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
        check_unchanged(self._store, self._config)
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
        make(self._store, self._corpus_in_hand(), self._reuse, planned, workers, progress, runner)

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
