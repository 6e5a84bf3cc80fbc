"""The gradient over lag, and what is left of memory where it is cut."""

from __future__ import annotations

import statistics

import numpy as np

from charlstm.comparison.document import Section, Table
from charlstm.comparison.memory.grid import Grid, Series
from charlstm.comparison.memory.jobs import Measuring
from charlstm.comparison.memory.measures import WHOLE_STATE
from charlstm.comparison.memory.studies.recall import RecallRuns, recall_series, recall_task
from charlstm.comparison.memory.studies.study import Chapter, Measured, colours
from charlstm.comparison.memory.studies.text import text_series
from charlstm.comparison.memory_plots import lag_plot, recall_plot
from charlstm.config import MemoryConfig
from charlstm.probes.gradients import effective_depth
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
        return [*(f"depth {where}{when}" for where in WHERE for when in WHEN), "longest lag"]

    def series(self) -> list[Series]:
        cut = self._cut.series() if self._cut else []
        return [*self._recall.values(), *self._text.values(), *cut]

    def _measures(self, where: str, when: str, arm: str) -> list[Measuring]:
        section, arguments = self._section, {"depth": self._section.depth, "texts": self._section.texts}
        task = {"task": recall_task(self._config, section.lag)} if where == "on recall" else {}
        series = self._recall if where == "on recall" else self._text
        trained = {"trained": not when}
        return [
            Measuring(path, "gradient", arguments | task | trained) for path in self._grid.trained(series[arm]).paths
        ]

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
        shades = colours(self._config)
        figures: dict[tuple[str, str], Measured] = {}
        panels: dict[str, dict[str, tuple[list[float], int]]] = {}
        table: dict[str, list[str]] = {arm: [visible(arm)] for arm in self._section.arms}
        header = ["arm"]
        data: dict[str, object] = {}
        for where in WHERE:
            for when in WHEN:
                panel = f"{where}, {'at the start' if when else 'trained'}"
                if not self._arms(where):
                    continue
                panels[panel] = {}
                header.append(panel)
                for arm in self._section.arms:
                    if arm not in self._arms(where):
                        table[arm].append("–")
                        continue
                    curves = [one.result()[WHOLE_STATE] for one in self._measures(where, when, arm)]
                    depths = [effective_depth(curve, SHARE) for curve in curves]
                    mean = np.mean([np.array(curve) / (curve[0] or np.nan) for curve in curves], axis=0)
                    panels[panel][arm] = (np.where(np.isfinite(mean), mean, 0).tolist(), int(statistics.median(depths)))
                    figures[f"depth {where}{when}", arm] = _depth(depths)
                    table[arm].append(f"{statistics.median(depths):g} ({min(depths)} to {max(depths)})")
                    data[f"{panel}, {arm}"] = {"depths": depths, "mean": panels[panel][arm][0]}
        drawn = [
            lag_plot(
                {
                    panel.removeprefix(f"{where}, "): curves
                    for panel, curves in panels.items()
                    if panel.startswith(where)
                },
                shades,
                SHARE,
                name=f"gradient-{where.replace(' ', '-')}",
                title=f"Gradient over lag {where}",
            )
            for where in WHERE
        ]
        tables = [
            Table(
                header,
                list(table.values()),
                caption=f"Effective depth in characters: median of the seeds (lowest to highest), at most "
                f"{self._section.depth}, as far as it was measured",
                colours=[shades[arm] for arm in table],
            )
        ]
        paragraphs = [WHAT]
        if self._cut:
            paragraphs.append(CUT)
            shares = {arm: self._cut.shares(arm) for arm in self._cut.arms}
            drawn.append(
                recall_plot(
                    self._cut.lags,
                    shares,
                    shades,
                    1 / self._config.experiments.recall.keys,
                    self._config.solved,
                    name="cut-gradient",
                    title="Recall with the gradient cut",
                )
            )
            tables.append(self._cut.table())
            figures |= {("longest lag", arm): self._cut.longest(arm) for arm in self._cut.arms}
            data["cut"] = {"lags": self._cut.lags, "shares": shares}
        section = Section(
            title="Gradient over lag",
            paragraphs=paragraphs,
            figures=[plot for plot in drawn if plot is not None],
            tables=tables,
            data=data,
        )
        return Chapter(section, figures)


def _depth(depths: list[int]) -> Measured:
    low, high = min(depths), max(depths)
    spread = f"every seed: {low}" if low == high else f"single seeds: {low} to {high}"
    return Measured(statistics.median(depths), f"{statistics.median(depths):g} characters", spread)
