"""What each gate is for: networks without it, and what the gates of a trained one do."""

from __future__ import annotations

import numpy as np

from charlstm.config import MemoryConfig
from charlstm.memory.experiments.arms_by_task import ArmsByTask
from charlstm.memory.experiments.base import (
    Chapter,
    Measured,
    estimate,
    highest,
    percent,
    runs_table,
    share,
    study,
)
from charlstm.memory.experiments.recall import recall_series, recall_task
from charlstm.memory.experiments.text import text_series
from charlstm.memory.grid import Grid, Series
from charlstm.memory.jobs import Measuring
from charlstm.memory.measures import Figures as Values
from charlstm.probes.tasks import ContinualReber
from charlstm.report.document import Figure, Section, Table
from charlstm.report.estimate_plots import Estimate, bars_plot
from charlstm.report.gate_plots import gate_map, half_life_plot, saturation_plot
from charlstm.text.visible import visible

ROWS, COLUMNS = 16, 160
LONGEST_HALF_LIFE = 1e9

WHAT = (
    "Networks with one gate taken away (Greff et al. 2017) on the tasks that were made to need it. Continual Reber: "
    "strings of the embedded Reber grammar one after another, without a reset or a sign between them, of which one "
    "symbol has to be known again at the end of each; without a forget gate the cell state of 1997 can only be added "
    "to (Gers, Schmidhuber & Cummins 2000), and the test is one long stream. Reber: the same strings singly. Recall: a "
    "key over a lag of letters, which an input gate is to keep out. Coupled and peephole cells stand beside."
)
INSIDE = (
    "Inside a trained network, over text of the test split: how often each unit's gates are shut (below 0.1) and open "
    "(above 0.9; Karpathy, Johnson & Fei-Fei 2015), and each unit's half-life, the characters after which half of its "
    "state is left at the mean rate of its forget gate. The heat map shows the forget gate of the {rows} units that "
    "move most, along its beginning."
)


@study("gates")
class GatesStudy(ArmsByTask[str]):
    def __init__(self, config: MemoryConfig, grid: Grid) -> None:
        section = config.experiments.gates
        assert section is not None
        self._section = section
        series: dict[str, dict[str, Series]] = {}
        if section.continual_arms:
            lesson = grid.text_lesson("continual-reber", ContinualReber().text(section.characters, 1))
            series["continual Reber"] = grid.series("gates", lesson, section.continual_arms)
        if section.reber_arms:
            lesson = grid.task_lesson("reber", {"task": "Reber"}, section.strings)
            series["Reber"] = grid.series("gates", lesson, section.reber_arms)
        if section.recall_arms:
            series[f"recall at {section.recall_lag}"] = recall_series(
                config, grid, section.recall_lag, section.recall_arms
            )
        super().__init__(config, grid, series)
        self._recalled: Values = {"task": recall_task(config, section.recall_lag)}
        text = text_series(config, grid) if section.shown_arms else {}
        self._shown = {arm: text[arm] for arm in section.shown_arms}

    def names(self) -> list[str]:
        return [f"{name}{whose}" for name in self._series for whose in ("", " of any seed")]

    def series(self) -> list[Series]:
        return [*super().series(), *self._shown.values()]

    def measure(self, key: str) -> tuple[str, Values]:
        if key == "continual Reber":
            return "critical", {"characters": self._section.test_characters}
        strings = {"strings": self._config.test_strings}
        return ("closing_symbol", strings) if key == "Reber" else ("answers", self._recalled | strings)

    def _inside(self, arm: str) -> Measuring:
        """Of the first seed."""
        return self._grid.measurings(self._shown[arm], "gate_values", {"length": 200, "shown": COLUMNS})[0]

    def measures(self) -> list[Measuring]:
        return [*super().measures(), *(self._inside(arm) for arm in self._shown)]

    def chapter(self) -> Chapter:
        arms = list(dict.fromkeys(arm for own in self._series.values() for arm in own))
        figures: dict[tuple[str, str], Measured] = {}
        estimates: dict[str, dict[str, list[Estimate]]] = {name: {} for name in self._series}
        rows = {arm: [visible(arm)] for arm in arms}
        for name, own in self._series.items():
            for arm in arms:
                if arm not in own:
                    rows[arm].append("–")
                    continue
                found = self._results(name, arm)
                shares = [one["share"] for one in found]
                value, figures[name, arm] = share(shares, found[0].get("places", self._config.test_strings))
                figures[f"{name} of any seed", arm] = highest(shares)
                estimates[name][arm] = [value]
                state = [one["largest"] for one in found if "largest" in one]
                words = f", largest state {estimate(state)[0]:,.0f}" if state else ""
                rows[arm].append(f"{percent(value[0])} ({percent(min(shares))} to {percent(max(shares))}{words})")
        plots = [
            bars_plot([""], own, self._colours, f"ablations-{name.lower().replace(' ', '-')}", f"Right: {name}")
            for name, own in estimates.items()
        ]
        table = Table(
            ["arm", *self._series],
            list(rows.values()),
            caption="Right, mean over seeds (lowest to highest seed); a guess gets 50% of the two Reber tasks",
            colours=self._arm_colours(arms),
        )
        inside = [figure for arm in self._shown for figure in self._look(arm)]
        if self._shown:
            inside.append(self._half_lives())
        section = Section(
            title="Gates",
            paragraphs=[WHAT, *([INSIDE.format(rows=ROWS)] if self._shown else [])],
            figures=[figure for figure in (*plots, *inside) if figure is not None],
            tables=[table, runs_table(self._grid, super().series())],
            data={
                "shares": {
                    f"{name}, {arm}": self._results(name, arm) for name, own in self._series.items() for arm in own
                },
                "half_lives": {arm: self._inside(arm).result()["half_lives"] for arm in self._shown},
            },
        )
        return Chapter(section, figures)

    def _look(self, arm: str) -> list[Figure | None]:
        """The saturation of an arm's gates, and the forget gate over text."""
        found, slug = self._inside(arm).result(), "-".join("".join(c if c.isalnum() else " " for c in arm).split())
        gates = {f"gate {letter}": (own["left"], own["right"]) for letter, own in found["saturation"].items()}
        series = np.array(found["series"])
        liveliest = np.sort(np.argsort(-series.std(0))[:ROWS])
        text = "".join(character or " " for character in found["characters"])
        return [
            saturation_plot(gates, f"saturation-{slug}", f"Saturated gates: {arm}", self._colours[arm]),
            gate_map(
                series[:, liveliest],
                text,
                f"gate-map-{slug}",
                f"Gate {found['letter']} over text: {arm}",
                liveliest.tolist(),
            ),
        ]

    def _half_lives(self) -> Figure | None:
        lives = {arm: self._inside(arm).result()["half_lives"] for arm in self._shown}
        drawn = {
            arm: [LONGEST_HALF_LIFE if one is None else one for one in own]
            for arm, own in lives.items()
            if own is not None
        }
        return half_life_plot(drawn, self._colours)
