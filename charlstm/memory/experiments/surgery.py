"""State surgery: which part of the state stores the key."""

from __future__ import annotations

from typing import Any

from charlstm.cells import CELLS
from charlstm.config import MemoryConfig
from charlstm.memory.experiments.base import ExperimentResult, colors, experiment
from charlstm.memory.experiments.recall_runs import groups_at, recall_section, recall_task
from charlstm.memory.grid import Grid
from charlstm.memory.groups import RunGroup
from charlstm.memory.jobs import MeasurementJob
from charlstm.memory.metrics import MetricValue, fraction_metric, percent, seeds_metric
from charlstm.report.document import Section, Table
from charlstm.report.estimate_plots import Estimate, bars_plot
from charlstm.text.visible import visible

WHAT = (
    "Trained networks read two strings with different keys. At a quarter, half and three quarters of the lag of {lag} "
    "letters, a part of the two states is exchanged, and each network reads on to its query. If the key is stored in "
    "the cell state c, the answers are exchanged with c and not with h: the output h is computed again at every step, "
    "while the cell state is carried over. Two controls: exchanging the whole state must exchange all answers, and "
    "exchanging nothing must exchange none. Networks that do not solve the lag are left out."
)
MOMENTS = [0.25, 0.5, 0.75]


@experiment("surgery")
class SurgeryExperiment:
    def __init__(self, config: MemoryConfig, grid: Grid) -> None:
        section = config.experiments.surgery
        assert section is not None
        self._config, self._grid, self._section = config, grid, section
        self._lag = section.lag_of(recall_section(config))
        self._groups = groups_at(config, grid, self._lag, section.arms)
        self._parts = {arm: _parts(group.model.cell) for arm, group in self._groups.items()}

    def metric_names(self) -> list[str]:
        parts = dict.fromkeys(part for parts in self._parts.values() for part in parts)
        return [f"{_metric(part)}{suffix}" for part in parts for suffix in ("", *(f" at {m:g}" for m in MOMENTS))]

    def run_groups(self) -> list[RunGroup]:
        return list(self._groups.values())

    def _jobs(self, arm: str) -> list[MeasurementJob]:
        task = recall_task(self._config, self._lag)
        arguments = {"task": task, "pairs": self._section.pairs, "parts": self._parts[arm], "moments": MOMENTS}
        return self._grid.measurement_jobs(self._groups[arm], "state_surgery", arguments)

    def measurement_jobs(self) -> list[MeasurementJob]:
        return [job for arm in self._section.arms for job in self._jobs(arm)]

    def _solving(self, arm: str) -> list[dict[str, Any]]:
        """The results of the seeds that solve the lag: those that answer correctly if nothing is exchanged."""
        results = [job.result() for job in self._jobs(arm)]
        return [one for one in results if one[f" at {MOMENTS[1]:g}"]["original"] >= self._config.solve_threshold]

    def result(self) -> ExperimentResult:
        arms, arm_colors = list(dict.fromkeys(self._section.arms)), colors(self._config)
        metrics: dict[tuple[str, str], MetricValue] = {}
        rows: list[list[str]] = []
        row_colors: list[int] = []
        data: dict[str, object] = {}
        bars: dict[str, list[Estimate]] = {}
        all_parts = list(dict.fromkeys(part for arm in arms for part in self._parts[arm]))
        missing = (float("nan"),) * 3
        for arm in arms:
            results = self._solving(arm)
            data[arm], bars[arm] = results, [missing] * len(all_parts)
            for number, part in enumerate(all_parts):
                if part not in self._parts[arm]:
                    continue
                row_colors.append(arm_colors[arm])
                rows.append([visible(arm), _label(part), f"{len(results)}/{self._config.seeds}"])
                for moment in MOMENTS:
                    if not results:
                        rows[-1].append("–")
                        continue
                    one = [result[f"{part} at {moment:g}"] for result in results]
                    judged = [value["swapped" if part else "original"] for value in one]
                    enough = sum(fraction >= self._config.solve_threshold for fraction in judged)
                    metrics[f"{_metric(part)} at {moment:g}", arm] = seeds_metric(enough, len(judged))
                    values = [value["swapped"] for value in one]
                    swapped = fraction_metric(values, one[0]["count"] // 2)
                    rows[-1].append(f"{swapped.text} ({percent(min(values))} to {percent(max(values))})")
                    if moment == MOMENTS[1]:
                        metrics[_metric(part), arm] = metrics[f"{_metric(part)} at {moment:g}", arm]
                        bars[arm][number] = swapped.estimate
        plot = bars_plot(
            [_label(part) for part in all_parts],
            bars,
            arm_colors,
            name="state-surgery",
            title="Answers with the other key: exchange at half the lag",
        )
        table = Table(
            ["arm", "exchanged", "seeds that solve it", *(f"at {moment:g} of the lag" for moment in MOMENTS)],
            rows,
            caption="Answers with the key of the other string: mean over the seeds that solve the lag (lowest to "
            "highest)",
            colors=row_colors,
        )
        section = Section(
            title="State surgery",
            paragraphs=[WHAT.format(lag=self._lag)],
            figures=[plot] if plot else [],
            tables=[table],
            data=data,
        )
        return ExperimentResult(section, metrics)


def _parts(cell: str) -> list[str]:
    """What is exchanged: nothing, each part of the state, and all of it if it has several parts."""
    letters = CELLS[cell].state[::-1]
    return ["", *letters, *(["".join(letters)] if len(letters) > 1 else [])]


def _metric(part: str) -> str:
    return f"follows {part}" if part else "original answer"


def _label(part: str) -> str:
    return f"{part or 'nothing'} exchanged"
