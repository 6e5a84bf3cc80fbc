"""What has to be trained: for each arm and lesson a grid of learning rates, then the other seeds at the best one."""

from __future__ import annotations

import math
import os
import statistics
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charlstm import atomic_io
from charlstm.comparison.experiment import Trial, match_parameters, parameter_count
from charlstm.config import Config, MemoryConfig, ModelConfig
from charlstm.config.corpus import CorpusConfig
from charlstm.errors import UserError
from charlstm.files import read_regular, regular_size
from charlstm.memory.jobs import Measuring, Training
from charlstm.memory.measures import make_task
from charlstm.runs.directory import RunDirectory
from charlstm.text.corpus import load_corpus
from charlstm.text.sources import absolute

TRAINING_SEED = 1
VALIDATION = 0.03
"""Share of a task's strings that choose the learning rate and end a run that is good enough."""


@dataclass(frozen=True)
class Lesson:
    """A text to learn, by a name that no other has within the comparison."""

    name: str
    corpus: CorpusConfig


@dataclass(frozen=True)
class Series:
    """One arm on one lesson: all its runs, which an experiment's settings shape."""

    experiment: str
    lesson: Lesson
    arm: str
    model: ModelConfig
    parameters: int


@dataclass(frozen=True)
class Trained:
    """The runs of a series at its best learning rate, seed by seed."""

    series: Series
    learning_rate: float
    paths: list[Path]
    tried: dict[float, list[float | None]]


class Grid:
    """The runs of a comparison in ``folder``: cells/LESSON-ARM-RATE-SEED, each an ordinary run."""

    def __init__(self, config: MemoryConfig, folder: Path, overwrite: bool) -> None:
        self.config, self.folder, self._overwrite = config, folder, overwrite
        self._sizes: dict[str, int] = {}
        self._trained: dict[tuple[str, str], Trained] = {}

    def task_lesson(self, name: str, task: Mapping[str, Any], strings: int) -> Lesson:
        """The lesson of a task: its strings, written to a file of their own."""
        made = make_task(task)
        text = "".join(f"{string}\n" for string in made.strings(strings, TRAINING_SEED))
        return self._lesson(name, text, documents="newline", score_after=made.score_after, shuffle_documents=False)

    def text_lesson(self, name: str, text: str) -> Lesson:
        """The lesson of one running text."""
        return self._lesson(name, text)

    def corpus_lesson(self, name: str, corpus: CorpusConfig) -> Lesson:
        """The lesson of a text that there is already."""
        return Lesson(name, corpus.model_copy(update={"source": absolute(corpus.source)}))

    def _lesson(self, name: str, text: str, **settings: Any) -> Lesson:
        file = self.folder.absolute() / "texts" / f"{name}.txt"
        content = text.encode()
        there = os.path.lexists(file)
        if (
            there
            and not self._overwrite
            and not (regular_size(file) == len(content) and read_regular(file, len(content)) == content)
        ):
            raise UserError(f"{file} was another text. Take another name: --name NAME. Train anew: --overwrite")
        if not there or self._overwrite:
            try:
                atomic_io.make_directory(file.parent)
                atomic_io.write_atomic(file, content)
            except OSError as error:
                raise UserError(f"{file}: cannot write the text: {error.strerror or error}") from error
        source = {"source": str(file), "validation_fraction": VALIDATION}
        return Lesson(
            name, CorpusConfig.model_validate({**source, **{k: v for k, v in settings.items() if v is not None}})
        )

    def series(self, experiment: str, lesson: Lesson, arms: Iterable[str]) -> dict[str, Series]:
        """The series of some arms on a lesson. The first arm says how many parameters those have that leave it open."""
        arms, goal, found = list(dict.fromkeys(arms)), 0, {}
        for arm in arms:
            model = self._config(experiment, lesson, arm, 1.0, 1).model
            size = self._vocabulary_size(lesson)
            if arm == arms[0]:
                goal = parameter_count(model, size)
            elif not self.config.sized(arm):
                model = match_parameters(model, size, goal)
            found[arm] = Series(experiment, lesson, arm, model, parameter_count(model, size))
        return found

    def _vocabulary_size(self, lesson: Lesson) -> int:
        if lesson.name not in self._sizes:
            self._sizes[lesson.name] = load_corpus(**lesson.corpus.model_dump()).vocabulary.size
        return self._sizes[lesson.name]

    def _config(self, experiment: str, lesson: Lesson, arm: str, rate: float, seed: int) -> Config:
        return self.config.run_config(experiment, arm, lesson.corpus, rate, seed)

    def trial(self, series: Series, rate: float, seed: int) -> Trial:
        """One cell of the grid."""
        config = self._config(series.experiment, series.lesson, series.arm, rate, seed)
        path = self.folder / "cells" / f"{series.lesson.name}-{series.arm}-{rate:g}-seed{seed}"
        return Trial(series.arm, config.model_copy(update={"model": series.model}), RunDirectory(path), self._overwrite)

    def forget(self, series: Iterable[Series]) -> None:
        """Delete what was trained and measured of them. Interrupted afterwards, the work goes on from there."""
        for one in series:
            for rate in self.config.rates(one.experiment):
                for seed in range(1, self.config.seeds + 1):
                    self.trial(one, rate, seed).forget()
        self._overwrite = False

    def rounds(self, series: Iterable[Series]) -> Iterator[tuple[str, list[Training]]]:
        """What is to be trained, by name and in this order: the second is known only when the first is done."""
        wanted, config = list(series), self.config
        yield (
            "learning rates",
            [
                Training(self.trial(one, rate, seed))
                for seed in range(1, config.rate_seeds + 1)
                for one in wanted
                for rate in config.rates(one.experiment)
            ],
        )
        yield (
            "seeds",
            [
                Training(self.trial(one, self.trained(one).learning_rate, seed))
                for seed in range(config.rate_seeds + 1, config.seeds + 1)
                for one in wanted
            ],
        )

    def trained(self, series: Series) -> Trained:
        """The runs at the learning rate that scored best on the validation split, over the seeds that tried all.

        Runs that were good enough and so ended are ranked by the steps that they took. To be asked for when all rates
        were tried: the answer is kept.
        """
        key = (series.lesson.name, series.arm)
        if key not in self._trained:
            self._trained[key] = self._best(series)
        return self._trained[key]

    def _best(self, series: Series) -> Trained:
        tried = {
            rate: [self.outcome(series, rate, seed) for seed in range(1, self.config.rate_seeds + 1)]
            for rate in self.config.rates(series.experiment)
        }

        def rank(rate: float) -> tuple[float, float]:
            nats = [math.inf if one.nats is None else max(one.nats, one.enough) for one in tried[rate]]
            return statistics.fmean(nats), statistics.fmean(one.steps for one in tried[rate])

        best = min(tried, key=rank)
        paths = [self.trial(series, best, seed).directory.path for seed in range(1, self.config.seeds + 1)]
        return Trained(series, best, paths, {rate: [one.nats for one in each] for rate, each in tried.items()})

    def measurings(self, series: Series, measure: str, arguments: dict[str, Any]) -> list[Measuring]:
        """One measurement of each of the series' runs at its best learning rate."""
        return [Measuring(path, measure, arguments) for path in self.trained(series).paths]

    def outcome(self, series: Series, rate: float, seed: int) -> Outcome:
        """How a run that is done did."""
        trial = self.trial(series, rate, seed)
        records = [record for record in trial.directory.metrics() if record["kind"] == "evaluation"]
        nats = min((record["nats"] for record in records), default=None)
        steps = records[-1]["step"] if records else 0
        return Outcome(nats, trial.config.training.budget.target_nats or 0.0, steps)


@dataclass(frozen=True)
class Outcome:
    """Best validation score of a run in nats, None without one; the score that is good enough; steps taken."""

    nats: float | None
    enough: float
    steps: int
