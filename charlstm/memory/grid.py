"""The runs to train for each arm and dataset: a search for initialization and learning rate, then the judged seeds."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from charlstm.comparison.arms import Trial, match_parameters, parameter_count
from charlstm.comparison.training_job import TrainingJob
from charlstm.config import Config, MemoryConfig
from charlstm.memory.datasets import Dataset, Texts
from charlstm.memory.dynamics import DynamicsMeasurement, read_dynamics
from charlstm.memory.groups import BestRuns, Outcome, RunGroup, Search, with_previous
from charlstm.memory.jobs import MeasurementJob
from charlstm.memory.rate_search import RateSearch
from charlstm.runs.directory import RunDirectory
from charlstm.text.corpus import load_corpus

LEARNED = 0.5
"""A run has learned something of a task if its loss is below this fraction of that of the best guess without memory."""


class Grid:
    """The runs of a comparison: ordinary run directories ``folder``/cells/DATASET-ARM-RATE-SEED."""

    def __init__(self, config: MemoryConfig, folder: Path) -> None:
        self.config, self.folder = config, folder
        self.texts = Texts(folder, config.test_strings)
        self.judged_seeds, self.search_seeds = config.judged_seeds(), config.seeds_of_search()
        self._sizes: dict[str, int] = {}
        self._complete = dict[Path, Outcome]()
        self._groups: dict[tuple[str, str], RunGroup] = {}
        self.rate_search = RateSearch(config, self.outcome)

    def run_groups(
        self,
        experiment: str,
        dataset: Dataset,
        arms: Iterable[str],
        previous: dict[str, RunGroup] | None = None,
        dynamics: DynamicsMeasurement | None = None,
    ) -> dict[str, RunGroup]:
        """The run groups of some arms on a dataset; arms without a hidden_size get as many parameters as the first.

        Experiments that use the same dataset share its groups.

        previous: the groups of the arms at the next shorter lag; see `RunGroup`.
        """
        size, config = self._vocabulary_size(dataset), self.config
        arms, groups, target = list(dict.fromkeys(arms)), dict[str, RunGroup](), 0
        for arm in arms:
            members = []
            for name in config.initializations(arm):
                model = self._config(experiment, dataset, name, 1.0, self.judged_seeds[0]).model
                if not target:
                    target = parameter_count(model, size)
                elif not config.sets(name, ("model", "hidden_size")):
                    model = match_parameters(model, size, target)
                parameters = parameter_count(model, size)
                members.append(RunGroup(experiment, dataset, name, model, parameters, dynamics=dynamics))
            group = (
                members[0] if members[0].arm == arm else replace(members[0], arm=arm, initializations=tuple(members))
            )
            group = replace(group, previous=(previous or {}).get(arm))
            groups[arm] = self._groups.setdefault(group.key, group)
        return groups

    def _vocabulary_size(self, dataset: Dataset) -> int:
        if dataset.name not in self._sizes:
            dataset.write(self.search_seeds[0])
            corpus = dataset.corpus_for(self.search_seeds[0])
            self._sizes[dataset.name] = load_corpus(**corpus.model_dump()).vocabulary.size
        return self._sizes[dataset.name]

    def _config(self, experiment: str, dataset: Dataset, arm: str, rate: float, seed: int) -> Config:
        return self.config.run_config(experiment, arm, dataset.corpus_for(seed), rate, seed)

    def trial(self, group: RunGroup, rate: float, seed: int) -> Trial:
        """One run of the grid."""
        config = self._config(group.experiment, group.dataset, group.arm, rate, seed)
        config = config.model_copy(update={"model": group.model})
        return Trial(group.arm, config, RunDirectory(self._path(group, rate, seed)), overwrite=False)

    def _path(self, group: RunGroup, rate: float, seed: int) -> Path:
        return self.folder / "cells" / f"{group.dataset.name}-{group.arm}-{rate:g}-seed{seed}"

    def outcome(self, group: RunGroup, rate: float, seed: int) -> Outcome | None:
        """The validation result of a run; None if it is not complete.

        Raises UserError if it was trained with other settings.
        """
        path = self._path(group, rate, seed)
        if path not in self._complete:
            if not os.path.lexists(path):
                return None
            trial = self.trial(group, rate, seed)
            if not trial.done:
                return None
            target = trial.config.training.budget.target_nats or 0.0
            records = [record for record in trial.directory.metrics() if record["kind"] == "evaluation"]
            self._complete[path] = Outcome(
                nats=min((record["nats"] for record in records), default=None),
                target_nats=target,
                steps=records[-1]["step"] if records else 0,
                steps_to_target=next((record["step"] for record in records if record["nats"] <= target), None),
                diverged=trial.directory.ended == "diverged",
            )
        return self._complete[path]

    def next_jobs(self, groups: Iterable[RunGroup]) -> list[TrainingJob]:
        """The runs that are needed now, given those that are complete: learning rates on the search seeds, wider grids
        where the best rate is at an edge, then the judged seeds. Empty when all runs of the groups are complete."""
        jobs: dict[Path, TrainingJob] = {}
        for group in with_previous(groups):
            if self.is_hopeless(group) is not False:
                continue
            if self._searches(group) is None:
                needed = [
                    (member, rate, seed)
                    for member in group.members
                    if not self._is_left_out(member)
                    for rate in self.rate_search.rates(member)
                    for seed in self.search_seeds
                ]
            else:
                best = self.best_runs(group)
                needed = [(best.group, best.learning_rate, seed) for seed in self.judged_seeds if best.paths]
            for member, rate, seed in needed:
                if self.outcome(member, rate, seed) is None:
                    trial, dynamics = self.trial(member, rate, seed), self._dynamics(member, seed)
                    job = TrainingJob(trial, dynamics, evaluations_are_results=True)
                    member.dataset.write(seed)
                    jobs.setdefault(job.key, job)
        return list(jobs.values())

    def _dynamics(self, group: RunGroup, seed: int) -> DynamicsMeasurement | None:
        return group.dynamics if seed in self.judged_seeds else None

    def expected_runs(self, groups: Iterable[RunGroup]) -> tuple[int, int]:
        """The number of complete runs, and of all runs as far as is known now: grids can widen, and hopeless groups are
        not trained."""
        needed: set[Path] = set()
        for group in with_previous(groups):
            if self.is_hopeless(group):
                continue
            for member in group.members:
                needed |= {
                    self._path(member, rate, seed)
                    for rate in self.rate_search.rates(member)
                    for seed in self.search_seeds
                }
            searched = self._searches(group) is not None and self.is_hopeless(group) is False
            best = self.best_runs(group) if searched else None
            if best is None:  # the rate is not known yet
                needed |= {self._path(group, math.nan, seed) for seed in self.judged_seeds}
            elif best.paths:
                needed |= {self._path(best.group, best.learning_rate, seed) for seed in self.judged_seeds}
        return len(needed & self._complete.keys()), len(needed)

    def _searches(self, group: RunGroup) -> dict[str, Search] | None:
        """The searches of an arm, by initialization, without those that are left out; None if one is not complete."""
        searches = {}
        for member in group.members:
            search = self.rate_search.result(member)
            if search is not None:
                searches[member.arm] = search
            elif not self._is_left_out(member):
                return None
        return searches

    def _is_left_out(self, member: RunGroup) -> bool:
        """Whether an initialization that is judged by itself is hopeless, and so is not trained for its arm, either."""
        registered = self._groups.get(member.key)
        return registered is not None and bool(self.is_hopeless(registered))

    def is_hopeless(self, group: RunGroup) -> bool | None:
        """Whether no judged seed has learned anything of a shorter lag; None if that is not known yet."""
        previous = group.previous
        if previous is None or previous.dataset.baseline_nats is None:
            return False
        if (before := self.is_hopeless(previous)) is not False:
            return before
        if (searches := self._searches(previous)) is None:
            return None
        if not searches:
            return True
        best = self._best_initialization(previous, searches)
        outcomes = [self.outcome(best.group, best.learning_rate, seed) for seed in self.judged_seeds]
        if any(one is None for one in outcomes):
            return None
        limit = LEARNED * previous.dataset.baseline_nats
        return all(one is None or one.nats is None or one.nats > limit for one in outcomes)

    def best_runs(self, group: RunGroup) -> BestRuns:
        """The judged runs with the best initialization and learning rate, which the search seeds select. Call it only
        after the search."""
        searches = {} if self.is_hopeless(group) else self._searches(group)
        assert searches is not None, f"{group.key} was not searched"
        return self._best_initialization(group, searches) if searches else BestRuns(group, math.nan, [], {})

    def _best_initialization(self, group: RunGroup, searches: dict[str, Search]) -> BestRuns:
        best = min(searches, key=lambda arm: searches[arm].rank)
        chosen = next(member for member in group.members if member.arm == best)
        search = searches[best]
        paths = [self._path(chosen, search.learning_rate, seed) for seed in self.judged_seeds]
        return BestRuns(chosen, search.learning_rate, paths, search.scores)

    def outcomes(self, group: RunGroup) -> list[Outcome]:
        """The validation results of the judged runs, by seed; empty for a group that was not trained."""
        best = self.best_runs(group)
        results = (
            [self.outcome(best.group, best.learning_rate, seed) for seed in self.judged_seeds] if best.paths else []
        )
        return [one for one in results if one is not None]

    def complete_runs(self) -> list[RunDirectory]:
        """The runs that are complete, as far as they have been looked at."""
        return [RunDirectory(path) for path in self._complete]

    def diverged_seeds(self, groups: Iterable[RunGroup]) -> list[int]:
        """The seeds of judged runs that diverged in any of the groups."""
        diverged = {
            seed
            for group in groups
            for seed, outcome in zip(self.judged_seeds, self.outcomes(group), strict=False)
            if outcome.diverged
        }
        return sorted(diverged)

    def measurement_jobs(
        self, group: RunGroup, measure: str, arguments: dict[str, Any], without_seeds: Iterable[int] = ()
    ) -> list[MeasurementJob]:
        """One measurement job for each judged run of the group, without those of some seeds; none if it was not
        trained."""
        left_out, runs = set(without_seeds), zip(self.best_runs(group).paths, self.judged_seeds, strict=False)
        return [MeasurementJob(path, measure, arguments) for path, seed in runs if seed not in left_out]

    def dynamics(self, group: RunGroup) -> list[list[dict[str, Any]]]:
        """What was measured during the training of each judged run: records with their step, in order; none if it was
        measured with other settings."""
        return [read_dynamics(path, group.dynamics) for path in self.best_runs(group).paths]
