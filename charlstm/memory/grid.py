"""The runs to train for each arm and dataset: a grid of learning rates, then more seeds at the best rate."""

from __future__ import annotations

import math
import os
import statistics
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charlstm import atomic_io
from charlstm.comparison.arms import Trial, match_parameters, parameter_count
from charlstm.config import Config, MemoryConfig, ModelConfig
from charlstm.config.corpus import CorpusConfig
from charlstm.errors import UserError
from charlstm.files import read_regular, regular_size
from charlstm.memory.jobs import MeasurementJob, TrainingJob
from charlstm.memory.measures import make_task
from charlstm.runs.directory import RunDirectory
from charlstm.text.corpus import load_corpus
from charlstm.text.sources import absolute_source

TRAINING_SEED = 1
VALIDATION = 0.03
"""Fraction of a task's strings for validation: they select the learning rate and end a run at its target score."""


@dataclass(frozen=True)
class Dataset:
    """A text to train on; its name is unique within the comparison."""

    name: str
    corpus: CorpusConfig


@dataclass(frozen=True)
class RunGroup:
    """All runs of one arm on one dataset, with the settings of an experiment."""

    experiment: str
    dataset: Dataset
    arm: str
    model: ModelConfig
    parameters: int


@dataclass(frozen=True)
class BestRuns:
    """The runs of a group at its best learning rate, one per seed, and the scores of all rates."""

    group: RunGroup
    learning_rate: float
    paths: list[Path]
    scores: dict[float, list[float | None]]


class Grid:
    """The runs of a comparison: ordinary run directories ``folder``/cells/DATASET-ARM-RATE-SEED."""

    def __init__(self, config: MemoryConfig, folder: Path, overwrite: bool) -> None:
        self.config, self.folder, self._overwrite = config, folder, overwrite
        self._sizes: dict[str, int] = {}
        self._best_runs: dict[tuple[str, str], BestRuns] = {}

    def task_dataset(self, name: str, task: Mapping[str, Any], strings: int) -> Dataset:
        """The dataset of a task: its strings, written to a file."""
        instance = make_task(task)
        text = "".join(f"{string}\n" for string in instance.strings(strings, TRAINING_SEED))
        return self._dataset(name, text, documents="newline", score_after=instance.score_after, shuffle_documents=False)

    def text_dataset(self, name: str, text: str) -> Dataset:
        """The dataset of a continuous text, written to a file."""
        return self._dataset(name, text)

    def corpus_dataset(self, name: str, corpus: CorpusConfig) -> Dataset:
        """The dataset of an existing text."""
        return Dataset(name, corpus.model_copy(update={"source": absolute_source(corpus.source)}))

    def _dataset(self, name: str, text: str, **settings: Any) -> Dataset:
        file = self.folder.absolute() / "texts" / f"{name}.txt"
        content = text.encode()
        exists = os.path.lexists(file)
        if (
            exists
            and not self._overwrite
            and not (regular_size(file) == len(content) and read_regular(file, len(content)) == content)
        ):
            raise UserError(f"{file} has another text. Choose another name: --name NAME. Train again: --overwrite")
        if not exists or self._overwrite:
            try:
                atomic_io.make_directory(file.parent)
                atomic_io.write_atomic(file, content)
            except OSError as error:
                raise UserError(f"{file}: cannot write the text: {error.strerror or error}") from error
        source = {"source": str(file), "validation_fraction": VALIDATION}
        return Dataset(
            name, CorpusConfig.model_validate({**source, **{k: v for k, v in settings.items() if v is not None}})
        )

    def run_groups(self, experiment: str, dataset: Dataset, arms: Iterable[str]) -> dict[str, RunGroup]:
        """The run groups of some arms on a dataset; arms without a hidden_size get as many parameters as the first."""
        arms, target, groups = list(dict.fromkeys(arms)), 0, {}
        for arm in arms:
            model = self._config(experiment, dataset, arm, 1.0, 1).model
            size = self._vocabulary_size(dataset)
            if arm == arms[0]:
                target = parameter_count(model, size)
            elif not self.config.sized(arm):
                model = match_parameters(model, size, target)
            groups[arm] = RunGroup(experiment, dataset, arm, model, parameter_count(model, size))
        return groups

    def _vocabulary_size(self, dataset: Dataset) -> int:
        if dataset.name not in self._sizes:
            self._sizes[dataset.name] = load_corpus(**dataset.corpus.model_dump()).vocabulary.size
        return self._sizes[dataset.name]

    def _config(self, experiment: str, dataset: Dataset, arm: str, rate: float, seed: int) -> Config:
        return self.config.run_config(experiment, arm, dataset.corpus, rate, seed)

    def trial(self, group: RunGroup, rate: float, seed: int) -> Trial:
        """One run of the grid."""
        config = self._config(group.experiment, group.dataset, group.arm, rate, seed)
        path = self.folder / "cells" / f"{group.dataset.name}-{group.arm}-{rate:g}-seed{seed}"
        return Trial(group.arm, config.model_copy(update={"model": group.model}), RunDirectory(path), self._overwrite)

    def delete_runs(self, groups: Iterable[RunGroup]) -> None:
        """Delete the runs and their measurements. An interrupted comparison then resumes without ``overwrite``."""
        for group in groups:
            for rate in self.config.rates(group.experiment):
                for seed in range(1, self.config.seeds + 1):
                    self.trial(group, rate, seed).delete()
        self._overwrite = False

    def rounds(self, groups: Iterable[RunGroup]) -> Iterator[tuple[str, list[TrainingJob]]]:
        """The training jobs by phase, in order: those of the second phase depend on the results of the first."""
        all_groups, config = list(groups), self.config
        yield (
            "learning rates",
            [
                TrainingJob(self.trial(group, rate, seed))
                for seed in range(1, config.rate_seeds + 1)
                for group in all_groups
                for rate in config.rates(group.experiment)
            ],
        )
        yield (
            "seeds",
            [
                TrainingJob(self.trial(group, self.best_runs(group).learning_rate, seed))
                for seed in range(config.rate_seeds + 1, config.seeds + 1)
                for group in all_groups
            ],
        )

    def best_runs(self, group: RunGroup) -> BestRuns:
        """The runs at the learning rate with the best validation score, averaged over the first ``rate_seeds`` seeds.

        Runs that ended at their target score are ranked by their number of steps. The result is cached: call it only
        after all rates were trained.
        """
        key = (group.dataset.name, group.arm)
        if key not in self._best_runs:
            self._best_runs[key] = self._select(group)
        return self._best_runs[key]

    def _select(self, group: RunGroup) -> BestRuns:
        outcomes = {
            rate: [self.outcome(group, rate, seed) for seed in range(1, self.config.rate_seeds + 1)]
            for rate in self.config.rates(group.experiment)
        }

        def rank(rate: float) -> tuple[float, float]:
            nats = [math.inf if one.nats is None else max(one.nats, one.target_nats) for one in outcomes[rate]]
            return statistics.fmean(nats), statistics.fmean(one.steps for one in outcomes[rate])

        best = min(outcomes, key=rank)
        paths = [self.trial(group, best, seed).directory.path for seed in range(1, self.config.seeds + 1)]
        return BestRuns(group, best, paths, {rate: [one.nats for one in each] for rate, each in outcomes.items()})

    def measurement_jobs(self, group: RunGroup, measure: str, arguments: dict[str, Any]) -> list[MeasurementJob]:
        """One measurement job for each run of the group at its best learning rate."""
        return [MeasurementJob(path, measure, arguments) for path in self.best_runs(group).paths]

    def outcome(self, group: RunGroup, rate: float, seed: int) -> Outcome:
        """The validation result of a completed run."""
        trial = self.trial(group, rate, seed)
        records = [record for record in trial.directory.metrics() if record["kind"] == "evaluation"]
        nats = min((record["nats"] for record in records), default=None)
        steps = records[-1]["step"] if records else 0
        return Outcome(nats, trial.config.training.budget.target_nats or 0.0, steps)


@dataclass(frozen=True)
class Outcome:
    """Best validation score of a run in nats, None without one; the score that ends a run; steps of the run."""

    nats: float | None
    target_nats: float
    steps: int
