"""State surgery: which part of the state holds the key."""

from __future__ import annotations

from charlstm.cells import CELLS
from charlstm.comparison.document import Section, Table
from charlstm.comparison.estimate_plots import Estimate, bars_plot
from charlstm.comparison.memory.grid import Grid, Series
from charlstm.comparison.memory.jobs import Measuring
from charlstm.comparison.memory.studies.recall import recall_series, recall_task
from charlstm.comparison.memory.studies.study import Chapter, Measured, colours, measured_share, percent, share
from charlstm.config import MemoryConfig
from charlstm.text.visible import visible

WHAT = (
    "Trained networks read two strings with different keys. In the middle of the lag of {lag} letters the two exchange "
    "a part of their states, and each reads on to its query. If the key is kept in the cell state c, the answers "
    "change places with c and not with h: the output h is made anew at every step, the cell state is carried. Nothing "
    "exchanged is the control."
)
SAID = {"": "nothing exchanged", "c": "c exchanged", "h": "h exchanged", "hc": "both exchanged"}


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
        return [Measuring(path, "exchange", arguments) for path in self._grid.trained(self._series[arm]).paths]

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
                count = found[0][part]["count"]
                own, partner, neither = (
                    share([one[part][whose] for one in found], count) for whose in ("own", "partner", "neither")
                )
                bars[arm].append(partner)
                name, value = (f"follows {part}", partner) if part else ("own answer", own)
                figures[name, arm] = measured_share(value, config.seeds)
                rows.append(
                    [visible(arm), SAID.get(part, f"{part} exchanged"), *map(percent, (own[0], partner[0], neither[0]))]
                )
        plot = bars_plot(
            [SAID.get(part, f"{part} exchanged") for part in groups],
            bars,
            colours(config),
            name="state-surgery",
            title="Answers that are the other string's",
        )
        table = Table(
            ["arm", "in the middle of the lag", "own answer", "the other's", "neither"],
            rows,
            caption=f"Answers, mean over seeds; {self._section.pairs} pairs for each seed",
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
