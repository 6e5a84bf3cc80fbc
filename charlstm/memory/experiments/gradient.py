"""The gradient over lag, and what is left of memory where it is cut."""

from __future__ import annotations

import statistics
from itertools import product

import numpy as np

from charlstm.config import MemoryConfig
from charlstm.memory.experiments.base import Chapter, Measured, colours, measured_reach, study
from charlstm.memory.experiments.recall import RecallRuns, recall_series, recall_task
from charlstm.memory.experiments.text import text_series
from charlstm.memory.grid import Grid, Series
from charlstm.memory.jobs import Measuring
from charlstm.probes.gradients import WHOLE, effective_depth
from charlstm.report.distance_plots import lag_plot, recall_plot
from charlstm.report.document import Section, Table
from charlstm.text.visible import visible

SHARE = 0.01

WHAT = (
    "How much a loss at t would change with the state k characters before it: the norm of d loss(t) / d state(t - k), "
    "which is a product of k Jacobians and vanishes or explodes with k unless they keep near the identity (Hochreiter "
    "1991; Bengio, Simard & Frasconi 1994; Pascanu, Mikolov & Bengio 2013). The effective depth is the largest k at "
    "which 1% of the value at k = 0 is left. Mean over seeds of the curves; the depth is that of each seed, its median "
    "beside the name."
)
CUT = (
    "Then the gradient is cut in training: along the cell state c from each step to the one before, and, apart from "
    "that, along the output h. What runs forward is the same network; only the error no longer travels that way. If "
    "the cell state is the path along which an LSTM learns over long lags, the first cut takes the long lags away and "
    "the second hardly matters."
)
WHERE = ("on recall", "on text")
WHEN = (" at the start", "")
TITLES = {" at the start": "at the start", "": "trained"}


@study("gradient")
class GradientStudy:
    def __init__(self, config: MemoryConfig, grid: Grid) -> None:
        section = config.experiments.gradient
        assert section is not None
        self._config, self._grid, self._section = config, grid, section
        self._recall = recall_series(config, grid, section.lag, section.arms)
        text = text_series(config, grid) if config.experiments.text else {}
        self._text = {arm: one for arm, one in text.items() if arm in section.arms}
        self._cut = RecallRuns(config, grid, section.cut_arms, section.cut_lags) if section.cut_arms else None

    def names(self) -> list[str]:
        return [*(f"depth {where}{when}" for where in WHERE for when in WHEN), "longest lag", "longest lag of any seed"]

    def series(self) -> list[Series]:
        cut = self._cut.series() if self._cut else []
        return [*self._recall.values(), *self._text.values(), *cut]

    def _measures(self, where: str, when: str, arm: str) -> list[Measuring]:
        section, arguments = self._section, {"depth": self._section.depth, "texts": self._section.texts}
        task = {"task": recall_task(self._config, section.lag)} if where == "on recall" else {}
        series = self._recall if where == "on recall" else self._text
        trained = {"trained": not when}
        return self._grid.measurings(series[arm], "gradient", arguments | task | trained)

    def _arms(self, where: str) -> list[str]:
        return list(self._recall if where == "on recall" else self._text)

    def measures(self) -> list[Measuring]:
        curves = [
            one
            for where in WHERE
            for when in WHEN
            for arm in self._arms(where)
            for one in self._measures(where, when, arm)
        ]
        return curves + (self._cut.measures() if self._cut else [])

    def chapter(self) -> Chapter:
        parts = [self._curves(), *([self._cuts()] if self._cut else [])]
        section = Section(
            title="Gradient over lag",
            paragraphs=[text for one in parts for text in one.section.paragraphs],
            figures=[figure for one in parts for figure in one.section.figures],
            tables=[table for one in parts for table in one.section.tables],
            data={key: value for one in parts for key, value in one.section.data.items()},
        )
        return Chapter(section, {key: value for one in parts for key, value in one.figures.items()})

    def _curves(self) -> Chapter:
        """Norms over lag, and effective depths."""
        shades, figures = colours(self._config), dict[tuple[str, str], Measured]()
        panels: dict[tuple[str, str], dict[str, tuple[list[float], int]]] = {}
        rows = {arm: [visible(arm)] for arm in self._section.arms}
        for where, when in product(WHERE, WHEN):
            panels[where, when] = {}
            for arm in self._arms(where):
                curves = [one.result()[WHOLE] for one in self._measures(where, when, arm)]
                depths = [effective_depth(curve, SHARE) for curve in curves]
                panels[where, when][arm] = np.mean(curves, axis=0).tolist(), int(statistics.median(depths))
                figures[f"depth {where}{when}", arm] = measured_reach(statistics.median(depths), depths, "characters")
            for arm, row in rows.items():
                row.append(figures[f"depth {where}{when}", arm].text if arm in panels[where, when] else "–")
        drawn = [
            lag_plot(
                {TITLES[when]: panels[where, when] for when in WHEN},
                shades,
                SHARE,
                name=f"gradient-{where.replace(' ', '-')}",
                title=f"Gradient over lag {where}",
            )
            for where in WHERE
        ]
        caption = f"Effective depth, median of the seeds; measured up to {self._section.depth} characters back"
        header = ["arm", *(f"{where}, {TITLES[when]}" for where, when in product(WHERE, WHEN))]
        section = Section(
            title="",
            paragraphs=[WHAT],
            figures=[plot for plot in drawn if plot is not None],
            tables=[Table(header, list(rows.values()), caption=caption, colours=[shades[arm] for arm in rows])],
            data={
                f"{where}, {TITLES[when]}, {arm}": {"depth": depth, "mean": mean}
                for (where, when), own in panels.items()
                for arm, (mean, depth) in own.items()
            },
        )
        return Chapter(section, figures)

    def _cuts(self) -> Chapter:
        """Recall with the gradient cut."""
        assert self._cut is not None
        cut = self._cut
        shares = {arm: cut.shares(arm) for arm in cut.arms}
        chance = 1 / self._config.experiments.recall.keys
        plot = recall_plot(
            cut.lags,
            shares,
            colours(self._config),
            chance,
            self._config.solve_threshold,
            name="cut-gradient",
            title="Recall with the gradient cut",
        )
        section = Section(
            title="",
            paragraphs=[CUT],
            figures=[plot] if plot else [],
            tables=[cut.table()],
            data={"cut": {"lags": cut.lags, "shares": shares}},
        )
        figures = {("longest lag", arm): cut.longest(arm) for arm in cut.arms}
        return Chapter(
            section, figures | {("longest lag of any seed", arm): cut.longest_of_any(arm) for arm in cut.arms}
        )
