"""Copying after a wait, and how far the bias of the forget gate lets a cell see."""

from __future__ import annotations

import math

from charlstm.config import MemoryConfig
from charlstm.memory.experiments.arms_by_task import ArmsByTask
from charlstm.memory.experiments.base import (
    Chapter,
    Measured,
    estimate,
    measured_number,
    percent,
    runs_table,
    study,
)
from charlstm.memory.grid import Grid
from charlstm.memory.measures import Figures as Values
from charlstm.memory.measures import make_task
from charlstm.report.document import Section, Table
from charlstm.report.estimate_plots import bars_plot
from charlstm.text.visible import visible

WHAT = (
    "Some symbols, a wait of blanks, a query, and the same symbols once more (Hochreiter & Schmidhuber 1997; Arjovsky "
    "et al. 2016). A network without memory can do no better than guess each symbol: the dotted line. A forget gate "
    "whose bias is b keeps half of its state for ln 2 / -ln sigmoid(b) steps: 1 step for a bias of 0, 2 for 1, 103 for "
    "5; chrono draws the biases so that the units together span the wait (Tallec & Ollivier 2018)."
)


@study("copying")
class CopyingStudy(ArmsByTask[int]):
    def __init__(self, config: MemoryConfig, grid: Grid) -> None:
        section = config.experiments.copying
        assert section is not None
        self._section, self._lags = section, sorted(set(section.lags))
        lessons = {lag: grid.task_lesson(f"copying-{lag}", self._task(lag), section.strings) for lag in self._lags}
        super().__init__(config, grid, {lag: grid.series("copying", lessons[lag], section.arms) for lag in self._lags})

    def _task(self, lag: int) -> Values:
        return {"task": "Copying", "lag": lag, "length": self._section.length, "symbols": self._section.symbols}

    def names(self) -> list[str]:
        return [f"{what} at lag {lag}" for lag in self._lags for what in ("nats", "gain")] + [
            f"gain at lag {lag} of any seed" for lag in self._lags
        ]

    def measure(self, key: int) -> tuple[str, Values]:
        return "answers", {"task": self._task(key), "strings": self._config.test_strings}

    def chapter(self) -> Chapter:
        arms = self._section.arms
        baseline = make_task(self._task(self._lags[0])).baseline_nats
        nats = {arm: [[one["nats"] for one in self._results(lag, arm)] for lag in self._lags] for arm in arms}
        estimates = {arm: [estimate(values, 0.0) for values in own] for arm, own in nats.items()}
        figures: dict[tuple[str, str], Measured] = {}
        for arm in arms:
            for lag, own in zip(self._lags, nats[arm], strict=True):
                gains = [None if value is None else baseline - value for value in own]
                figures[f"nats at lag {lag}", arm] = measured_number(own, "nats")
                figures[f"gain at lag {lag}", arm] = measured_number(gains, "nats")
                best = max((gain for gain in gains if gain is not None), default=math.nan)
                figures[f"gain at lag {lag} of any seed", arm] = Measured(best, f"{best:.3f} nats")
        plot = bars_plot(
            [f"lag {lag}" for lag in self._lags],
            estimates,
            self._colours,
            name="copying",
            title="Loss of each copied symbol",
            thresholds={"without memory": baseline},
            unit="nats",
        )
        rows = [[visible(arm), *(self._cell(lag, arm) for lag in self._lags)] for arm in arms]
        table = Table(
            ["arm", *(f"lag {lag}" for lag in self._lags)],
            rows,
            caption=f"Nats of a copied symbol, mean over seeds (symbols right); without memory {baseline:.3f} nats, "
            f"{percent(1 / self._section.symbols)}",
            colours=self._arm_colours(arms),
        )
        section = Section(
            title="Copying, and the forget bias as a horizon",
            paragraphs=[WHAT],
            figures=[plot] if plot else [],
            tables=[table, runs_table(self._grid, self.series())],
            data={"lags": self._lags, "nats": nats, "baseline_nats": baseline},
        )
        return Chapter(section, figures)

    def _cell(self, lag: int, arm: str) -> str:
        found = self._results(lag, arm)
        right = sum(one["characters_right"] for one in found) / len(found)
        return f"{estimate([one['nats'] for one in found])[0]:.3f} ({percent(right)})"
