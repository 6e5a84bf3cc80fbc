"""State surgery: which part of the state stores the key."""

from __future__ import annotations

from charlstm.cells import CELLS
from charlstm.config import MemoryConfig
from charlstm.memory.experiments.base import ExperimentResult, MetricValue, colors, experiment, fraction_metric, percent
from charlstm.memory.experiments.recall import recall_groups, recall_task
from charlstm.memory.grid import Grid, RunGroup
from charlstm.memory.jobs import MeasurementJob
from charlstm.report.document import Section, Table
from charlstm.report.estimate_plots import Estimate, bars_plot
from charlstm.text.visible import visible

WHAT = (
    "Trained networks read two strings with different keys. In the middle of the lag of {lag} letters, a part of the "
    "two states is exchanged, and each network reads on to its query. If the key is stored in the cell state c, the "
    "answers are exchanged with c and not with h: the output h is computed again at every step, while the cell state "
    "is carried over. The control exchanges nothing."
)


@experiment("surgery")
class SurgeryExperiment:
    def __init__(self, config: MemoryConfig, grid: Grid) -> None:
        section = config.experiments.surgery
        assert section is not None
        self._config, self._grid, self._section = config, grid, section
        self._groups = recall_groups(config, grid, section.lag, section.arms)
        self._parts = {arm: ["", *CELLS[group.model.cell].state[::-1]] for arm, group in self._groups.items()}

    def metric_names(self) -> list[str]:
        letters = dict.fromkeys(letter for parts in self._parts.values() for letter in parts)
        return [f"follows {letter}" if letter else "original answer" for letter in letters]

    def run_groups(self) -> list[RunGroup]:
        return list(self._groups.values())

    def _jobs(self, arm: str) -> list[MeasurementJob]:
        task = recall_task(self._config, self._section.lag)
        arguments = {"task": task, "pairs": self._section.pairs, "parts": self._parts[arm]}
        return self._grid.measurement_jobs(self._groups[arm], "state_surgery", arguments)

    def measurement_jobs(self) -> list[MeasurementJob]:
        return [job for arm in self._section.arms for job in self._jobs(arm)]

    def result(self) -> ExperimentResult:
        config, arms = self._config, self._section.arms
        metrics: dict[tuple[str, str], MetricValue] = {}
        rows: list[list[str]] = []
        data: dict[str, object] = {}
        bars: dict[str, list[Estimate]] = {}
        all_parts = list(dict.fromkeys(part for arm in arms for part in self._parts[arm]))
        for arm in arms:
            results = [job.result() for job in self._jobs(arm)]
            data[arm] = results
            bars[arm] = []
            for part in all_parts:
                if part not in results[0]:
                    bars[arm].append((float("nan"),) * 3)
                    continue
                pairs = results[0][part]["count"] // 2
                fractions = {key: [one[part][key] for one in results] for key in ("original", "swapped", "neither")}
                name, key = (f"follows {part}", "swapped") if part else ("original answer", "original")
                metrics[name, arm] = fraction_metric(fractions[key], pairs)[1]
                bars[arm].append(fraction_metric(fractions["swapped"], pairs)[0])
                means = (percent(sum(values) / len(values)) for values in fractions.values())
                rows.append([visible(arm), _label(part), *means])
        plot = bars_plot(
            [_label(part) for part in all_parts],
            bars,
            colors(config),
            name="state-surgery",
            title="Answers with the key of the other string",
        )
        table = Table(
            ["arm", "in the middle of the lag", "original key", "other key", "neither"],
            rows,
            caption=f"Answers, mean over seeds; the same {pairs:,} pairs for each seed",
            colors=[colors(config)[arm] for arm in arms for part in all_parts if part in self._parts[arm]],
        )
        section = Section(
            title="State surgery",
            paragraphs=[WHAT.format(lag=self._section.lag)],
            figures=[plot] if plot else [],
            tables=[table],
            data=data,
        )
        return ExperimentResult(section, metrics)


def _label(part: str) -> str:
    return f"{part or 'nothing'} exchanged"
