"""The experiment on a real text: its parts, and the runs that they share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from charlstm.config import MemoryConfig
from charlstm.memory.dynamics import DynamicsMeasurement
from charlstm.memory.experiments.base import ExperimentPart, ExperimentResult, experiment, merged, runs_table
from charlstm.memory.experiments.gradient_curves import GradientCurves
from charlstm.memory.experiments.text.context import ContextUse
from charlstm.memory.experiments.text.dependencies import DependencyLosses
from charlstm.memory.experiments.text.gates import TextGates
from charlstm.memory.experiments.text.learning import Learning
from charlstm.memory.experiments.text.passages import Passages
from charlstm.memory.experiments.text.state import StateMeasures
from charlstm.memory.experiments.text.training import TrainingDynamics
from charlstm.memory.experiments.text.units import UnitAblations
from charlstm.memory.grid import Grid
from charlstm.memory.groups import RunGroup
from charlstm.memory.jobs import MeasurementJob
from charlstm.text.visible import visible

GRADIENT_TEXTS = 100
"""Number of segments of the text over which gradients are averaged."""

DYNAMICS_TEXTS = 32
"""Number of segments over which what is measured during training is averaged."""


@experiment("text")
class TextExperiment:
    def __init__(self, config: MemoryConfig, grid: Grid) -> None:
        section = config.experiments.text
        assert section is not None
        self._grid, self._section = grid, section
        dynamics = None
        if section.training_steps:
            dynamics = DynamicsMeasurement(None, DYNAMICS_TEXTS, section.gradient_depth, tuple(section.training_steps))
        dataset = grid.texts.existing("text", section.corpus)
        self._groups = groups = grid.run_groups("text", dataset, section.arms, dynamics=dynamics)
        self._config = config
        self._all_parts = self._parts(groups)

    def _parts(self, groups: Mapping[str, RunGroup]) -> list[ExperimentPart]:
        """The parts, about these arms."""
        config, grid, section = self._config, self._grid, self._section
        ablated, gated = (
            {arm: groups[arm] for arm in arms if arm in groups} for arms in (section.ablated_arms, section.gate_arms)
        )
        arguments = {"depth": section.gradient_depth, "texts": GRADIENT_TEXTS}
        parts: list[ExperimentPart | None] = [
            Learning(config, grid, groups),
            ContextUse(config, grid, groups),
            DependencyLosses(config, grid, groups) if section.dependency_positions else None,
            Passages(config, grid, groups) if section.passage_characters else None,
            UnitAblations(config, grid, ablated) if ablated else None,
            StateMeasures(config, grid, groups) if section.capacity_delays else None,
            GradientCurves(config, grid, groups, arguments, "on text") if section.gradient_depth else None,
            TrainingDynamics(config, grid, groups) if section.training_steps else None,
            TextGates(config, grid, gated) if gated else None,
        ]
        return [part for part in parts if part is not None]

    def metric_names(self) -> list[str]:
        return [name for part in self._all_parts for name in part.metric_names()]

    def run_groups(self) -> list[RunGroup]:
        return list(self._groups.values())

    def measurement_jobs(self) -> list[MeasurementJob]:
        return [job for part in self._compared_parts() for job in part.measurement_jobs()]

    def _trained(self) -> dict[str, RunGroup]:
        """The groups of the arms of which not every judged run diverged."""
        seeds = len(self._grid.judged_seeds)
        return {arm: group for arm, group in self._groups.items() if len(self._grid.diverged_seeds([group])) < seeds}

    def _compared_parts(self) -> list[ExperimentPart]:
        """The parts, about the arms that trained; none without the baseline, or without a seed of all of them."""
        groups = self._trained()
        diverged = self._grid.diverged_seeds(groups.values())
        is_possible = self._section.baseline() in groups and len(diverged) < len(self._grid.judged_seeds)
        return self._parts(groups) if is_possible else []

    def result(self) -> ExperimentResult:
        parts = self._compared_parts()
        results = [part.result() for part in parts]
        result = merged("Real text", results, runs_table(self._grid, self.run_groups()))
        return ExperimentResult(replace(result.section, paragraphs=self._diverged(bool(parts))), result.metrics)

    def _diverged(self, is_compared: bool) -> list[str]:
        """What follows from judged runs that diverged; empty if none did."""
        by_arm = {arm: self._grid.diverged_seeds([group]) for arm, group in self._groups.items()}
        arms = [f"{visible(arm)} (seed {', '.join(map(str, seeds))})" for arm, seeds in by_arm.items() if seeds]
        if not arms:
            return []
        what = f"Training diverged for {'; '.join(arms)}. "
        if not is_compared:
            baseline = visible(self._section.baseline())
            return [f"{what}There is no seed with which {baseline} and the other arms trained: nothing is compared."]
        return [
            f"{what}These networks are left out of all measurements. No claim about the mean of such an arm, or about "
            "a difference from it, is decided: that the other networks trained is a selection."
        ]
