"""State surgery: which part of the state holds the key."""

from __future__ import annotations

from charlstm.cells import CELLS
from charlstm.config import MemoryConfig
from charlstm.memory.experiments.base import Chapter, Measured, colours, percent, share, study
from charlstm.memory.experiments.recall import recall_series, recall_task
from charlstm.memory.grid import Grid, Series
from charlstm.memory.jobs import Measuring
from charlstm.report.document import Section, Table
from charlstm.report.estimate_plots import Estimate, bars_plot
from charlstm.text.visible import visible

WHAT = (
    "Trained networks read two strings with different keys. In the middle of the lag of {lag} letters the two exchange "
    "a part of their states, and each reads on to its query. If the key is kept in the cell state c, the answers "
    "change places with c and not with h: the output h is made anew at every step, the cell state is carried. Nothing "
    "exchanged is the control."
)


@study("surgery")
class SurgeryStudy:
    def __init__(self, config: MemoryConfig, grid: Grid) -> None:
        section = config.experiments.surgery
        assert section is not None
        self._config, self._grid, self._section = config, grid, section
        self._series = recall_series(config, grid, section.lag, section.arms)
        self._parts = {arm: ["", *CELLS[one.model.cell].state[::-1]] for arm, one in self._series.items()}

    def names(self) -> list[str]:
        letters = dict.fromkeys(letter for parts in self._parts.values() for letter in parts)
        return [f"follows {letter}" if letter else "own answer" for letter in letters]

    def series(self) -> list[Series]:
        return list(self._series.values())

    def _measures(self, arm: str) -> list[Measuring]:
        task = recall_task(self._config, self._section.lag)
        arguments = {"task": task, "pairs": self._section.pairs, "parts": self._parts[arm]}
        return self._grid.measurings(self._series[arm], "exchange", arguments)

    def measures(self) -> list[Measuring]:
        return [one for arm in self._section.arms for one in self._measures(arm)]

    def chapter(self) -> Chapter:
        config, arms = self._config, self._section.arms
        figures: dict[tuple[str, str], Measured] = {}
        rows: list[list[str]] = []
        data: dict[str, object] = {}
        bars: dict[str, list[Estimate]] = {}
        groups = list(dict.fromkeys(part for arm in arms for part in self._parts[arm]))
        for arm in arms:
            found = [one.result() for one in self._measures(arm)]
            data[arm] = found
            bars[arm] = []
            for part in groups:
                if part not in found[0]:
                    bars[arm].append((float("nan"),) * 3)
                    continue
                pairs = found[0][part]["count"] // 2
                shares = {whose: [one[part][whose] for one in found] for whose in ("own", "partner", "neither")}
                name, whose = (f"follows {part}", "partner") if part else ("own answer", "own")
                figures[name, arm] = share(shares[whose], pairs)[1]
                bars[arm].append(share(shares["partner"], pairs)[0])
                means = (percent(sum(own) / len(own)) for own in shares.values())
                rows.append([visible(arm), _said(part), *means])
        plot = bars_plot(
            [_said(part) for part in groups],
            bars,
            colours(config),
            name="state-surgery",
            title="Answers that are the other string's",
        )
        table = Table(
            ["arm", "in the middle of the lag", "own answer", "the other's", "neither"],
            rows,
            caption=f"Answers, mean over seeds; the same {pairs:,} pairs for each seed",
            colours=[colours(config)[arm] for arm in arms for part in groups if part in self._parts[arm]],
        )
        section = Section(
            title="State surgery",
            paragraphs=[WHAT.format(lag=self._section.lag)],
            figures=[plot] if plot else [],
            tables=[table],
            data=data,
        )
        return Chapter(section, figures)


def _said(part: str) -> str:
    return f"{part or 'nothing'} exchanged"
