"""A sweep: its trials, their training to the rungs, and their standings."""

from __future__ import annotations

import math
import shutil
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from charlstm import atomic_io
from charlstm.comparison.arms import Trial, corpus_of
from charlstm.comparison.readout_start import readout_start_notes
from charlstm.comparison.step import Step
from charlstm.config import SweepConfig, as_yaml, dump_yaml, read_unchecked
from charlstm.config.search_space import Candidate
from charlstm.config.sections import EVALUATIONS
from charlstm.errors import UserError
from charlstm.jobs.base import Pool
from charlstm.paths import path_exists
from charlstm.runs.directory import RunDirectory
from charlstm.sweep.halving import promoted, trained_at_rungs
from charlstm.sweep.outcome import Evaluation, Outcome, read_outcome
from charlstm.sweep.rung_job import RungJob, StopAtRung
from charlstm.text.corpus import Corpus
from charlstm.text.sources import absolute_source
from charlstm.training.trainer import Trainer

RECORD = "sweep.yaml"
"""The file with the settings of a sweep, in its folder."""
MAY_CHANGE = ("name", "base", "trials", "corpus.source")
"""Settings that may change between two calls: each run checks its text by its content, and trials may grow."""

State = Literal["finished", "stopped", "diverged", "incomplete"]


@dataclass(frozen=True)
class Standing:
    """How far a candidate has come, and its scores.

    Attributes:
        number: of the trial, from 1.
        candidate: its values.
        state: stopped: at a rung, since others were better; incomplete: it is still to be trained.
        tenths: of the budget that count: those of the rung where it stopped, or 10.
        evaluations: of each of its runs, in the order of the seeds, as far as they count.
        nats: the best score of each run.
    """

    number: int
    candidate: Candidate
    state: State
    tenths: int
    evaluations: Sequence[Sequence[Evaluation]]
    nats: Sequence[float]

    @property
    def mean_nats(self) -> float:
        """The score: the mean over the seeds; infinite if a run diverged or has no score."""
        return statistics.fmean(self.nats) if self.nats else math.inf

    @property
    def steps(self) -> int:
        """The steps of its longest run."""
        return max((run[-1].step for run in self.evaluations if run), default=0)


class Sweep:
    """The trials of a sweep file, and the folder with their runs.

    Args:
        folder: of the runs, the record of the settings, the best configuration and the report.
        beside: the folder in which a relative path of the text is searched first.
        keep: of the runs that are over, when all are: ``all`` their checkpoints; ``weights``, the best checkpoint of
            those that had the whole budget; or ``nothing``.
    """

    def __init__(
        self, config: SweepConfig, folder: Path, beside: Path, overwrite: bool = False, keep: str = "weights"
    ) -> None:
        source = absolute_source(config.corpus.source, beside)
        self.config = config.model_copy(update={"corpus": config.corpus.model_copy(update={"source": source})})
        self.folder, self.overwrite, self.keep = folder, overwrite, keep
        self.rungs = [*(round(EVALUATIONS * rung) for rung in config.rungs), EVALUATIONS]

    @cached_property
    def corpus(self) -> Corpus:
        """The text of all trials. Raises UserError if it cannot be read."""
        return corpus_of(self.config.trial_config(1, 0))

    def describe(self) -> list[str]:
        """What will be trained, in a few lines."""
        config, seeds = self.config, self.config.seeds
        counts = trained_at_rungs(len(config.candidates), config.rungs, config.reduction_factor)
        parts = [f"{count} to {10 * tenths}%" for count, tenths in zip(counts, self.rungs, strict=True)]
        total = sum(
            (count - later) * tenths for count, later, tenths in zip(counts, [*counts[1:], 0], self.rungs, strict=True)
        )
        runs = f"{counts[0]} candidates" + (f", each with {seeds} seeds" if seeds > 1 else "")
        halving = f": {', '.join(parts)} of the budget" if config.rungs else ""
        return [
            f"{runs}{halving}",
            f"in all the work of {seeds * total / EVALUATIONS:g} whole runs; runs are in {self.folder}"
            + ("" if self.overwrite else ", complete ones are not repeated"),
            *readout_start_notes(
                (self.trial(number, 0).config.model for number in self._numbers), "model.unigram_bias"
            ),
        ]

    def trial(self, number: int, seed: int) -> Trial:
        """One run; ``number`` counts from 1, ``seed`` from 0."""
        config = self.config.trial_config(number, seed)
        directory = RunDirectory(self.folder / f"trial-{number}-seed{config.training.seed}")
        return Trial(f"trial {number}", config, directory, overwrite=False)

    def run(self, pool: Pool) -> Iterator[Step]:
        """Train the runs as far as they are needed, after :meth:`prepare`. Raises Stopped on a stop request; completed
        work is saved."""
        racing = self._numbers
        for tenths in self.rungs:
            jobs = [
                RungJob(self.trial(number, seed), StopAtRung(tenths), evaluations_are_results=True, tenths=tenths)
                for number in racing
                for seed in range(self.config.seeds)
            ]
            phase = f"to {10 * tenths}%"
            yield Step(phase, "", 0, len(jobs))
            for done, job in enumerate(pool.do(jobs), start=1):
                yield Step(phase, job.label, done, len(jobs))
            if tenths < EVALUATIONS:
                racing = self._promoted(racing, tenths, {number: self._outcomes(number) for number in racing})
        self._prune()

    @property
    def _numbers(self) -> list[int]:
        return list(range(1, len(self.config.candidates) + 1))

    def prepare(self) -> None:
        """Check that the folder is that of this sweep, delete its runs with ``overwrite``, and record the settings.

        Raises UserError if it is not, or if the first trial cannot be trained.
        """
        first = self.trial(1, 0)
        Trainer(first.config, self.corpus, first.directory).execution.choices()
        record = self.folder / RECORD
        if path_exists(record):
            if self.overwrite:
                self._delete_runs()
            else:
                self._check_unchanged(record)
                for number in self._numbers:
                    for seed in range(self.config.seeds):
                        _ = self.trial(number, seed).can_resume  # raises UserError if it was trained on another text
        elif path_exists(self.folder) and (not self.folder.is_dir() or any(self.folder.iterdir())):
            raise UserError(f"{self.folder} exists and is not the folder of a sweep. Choose another name: --name NAME")
        try:
            atomic_io.make_directory(self.folder)
            atomic_io.write_atomic(record, dump_yaml(self.config).encode("utf-8"))
        except OSError as error:
            raise UserError(f"{record}: cannot write it: {error.strerror or error}") from error

    def _check_unchanged(self, record: Path) -> None:
        """Raises UserError if the folder has results with other settings."""
        before, now = read_unchecked(record), self.config.model_dump(mode="json")
        changed = [
            f"{name} was {as_yaml(was)}, is {as_yaml(is_)}"
            for name, was, is_ in _differences(before, now)
            if name not in MAY_CHANGE
        ]
        if (before.get("trials") or 0) > len(self.config.candidates):
            changed.append(f"trials was {before['trials']}, is {len(self.config.candidates)}")
        if changed:
            raise UserError(
                f"{self.folder} has the results of other settings: {'; '.join(changed)}. "
                "Give this sweep another name: --name NAME. Delete its runs and start again: --overwrite"
            )

    def _delete_runs(self) -> None:
        """Delete the runs. Raises UserError if one of them is being trained."""
        for path in sorted(self.folder.glob("trial-*-seed*")):
            RunDirectory(path).delete()
        self.best_file.unlink(missing_ok=True)
        shutil.rmtree(self.folder / "report", ignore_errors=True)

    @property
    def best_file(self) -> Path:
        """The configuration of the best trial."""
        return self.folder / "best.yaml"

    def _prune(self) -> None:
        """Delete the checkpoints that are not kept."""
        if self.keep == "all":
            return
        for standing in self.standings():
            for seed in range(self.config.seeds):
                keeps = self.keep == "weights" and standing.state == "finished"
                self.trial(standing.number, seed).directory.prune(keep_best=keeps)

    def _outcomes(self, number: int) -> list[Outcome]:
        return [
            read_outcome(trial.directory, trial.config.training)
            for trial in (self.trial(number, seed) for seed in range(self.config.seeds))
        ]

    def _promoted(self, racing: Sequence[int], tenths: int, outcomes: Mapping[int, Sequence[Outcome]]) -> list[int]:
        """The candidates that go on from a rung which all ``racing`` ones have reached."""
        scores = {}
        for number in racing:
            nats = [outcome.nats(tenths) for outcome in outcomes[number]]
            scores[number] = statistics.fmean(math.inf if value is None else value for value in nats)
        return promoted(scores, self.config.reduction_factor)

    def standings(self) -> list[Standing]:
        """All candidates: first those that came furthest, of these the best first."""
        outcomes = {number: self._outcomes(number) for number in self._numbers}
        racing, standings = self._numbers, list[Standing]()
        for tenths in self.rungs:
            is_waiting = any(outcome.nats(tenths) is None for number in racing for outcome in outcomes[number])
            is_rung = tenths < EVALUATIONS
            promoted_numbers = self._promoted(racing, tenths, outcomes) if is_rung and not is_waiting else []
            standings += [
                self._standing(number, tenths, outcomes[number], is_rung and is_waiting)
                for number in racing
                if number not in promoted_numbers
            ]
            racing = promoted_numbers
        order = {"finished": 0, "stopped": 0, "diverged": 1, "incomplete": 2}
        return sorted(standings, key=lambda one: (order[one.state], -one.tenths, one.mean_nats, one.number))

    def _standing(self, number: int, tenths: int, outcomes: Sequence[Outcome], is_waiting: bool) -> Standing:
        scores = [outcome.nats(tenths) for outcome in outcomes]
        nats = [value for value in scores if value is not None]
        state: State = "finished" if tenths == EVALUATIONS else "stopped"
        if is_waiting or None in scores:
            state = "incomplete"
        elif math.inf in scores:
            state = "diverged"
        runs = [outcome.until(tenths) or outcome.evaluations for outcome in outcomes]
        return Standing(number, self.config.candidates[number - 1], state, tenths, runs, nats)

    def write_best(self, best: Standing) -> Path:
        """Write the configuration of the best trial, which `charlstm train` trains. Raises UserError on failure."""
        from charlstm.config import TrainingConfig, dump_changes

        config = self.trial(best.number, 0).config
        fields = TrainingConfig.model_fields
        defaults = {field: fields[field].default for field in ("sample_length", "evaluation_characters")}
        training = config.training.model_copy(update=defaults)
        name = f"{self.folder.name}-best"
        text = dump_changes(config.model_copy(update={"training": training}))
        of = f"{len(self.config.candidates)} candidates of the sweep {self.folder.name}"
        heading = f"# The best of {of}: trial {best.number}.\n"
        try:
            atomic_io.write_atomic(self.best_file, f"{heading}name: {as_yaml(name)}\n{text}".encode())
        except OSError as error:
            raise UserError(f"{self.best_file}: cannot write it: {error.strerror or error}") from error
        return self.best_file


def _differences(before: object, now: object, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    """The dotted name, earlier value and present value of every setting that differs."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in dict.fromkeys([*before, *now]):
            yield from _differences(before.get(key), now.get(key), f"{name}.{key}" if name else str(key))
    elif before != now:
        yield name, before, now
