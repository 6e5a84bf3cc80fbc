"""Counting beyond what was seen in training."""

from __future__ import annotations

import statistics

from charlstm.config import MemoryConfig
from charlstm.memory.experiments.arms_by_task import ArmsByTask
from charlstm.memory.experiments.base import Chapter, Measured, measured_reach, reach, runs_table, study
from charlstm.memory.grid import Grid
from charlstm.memory.measures import Figures as Values
from charlstm.report.count_plot import count_plot
from charlstm.report.document import Figure, Section, Table
from charlstm.text.visible import visible

SHOWN = 100
"""The n of the string along which the counting unit is drawn."""

WHAT = (
    "Strings of n times a and then n times b, and of n times c after them. After the first b everything is certain to "
    "who has counted: a string is accepted if every character from there on, its end included, is the most probable "
    "one. In training n goes up to {longest}; the test goes beyond. An LSTM can count in its cell state, which adds "
    "without bound; the state of a GRU and of a plain RNN is bounded (Gers & Schmidhuber 2001; Weiss, Goldberg & Yahav "
    "2018). The unit whose value follows the count most closely is drawn below, for the best seed of each arm."
)


@study("counting")
class CountingStudy(ArmsByTask[str]):
    def __init__(self, config: MemoryConfig, grid: Grid) -> None:
        section = config.experiments.counting
        assert section is not None
        self._section, self._tested = section, sorted(set(section.tested))
        series = {}
        for letters in dict.fromkeys(section.letters):
            task = {"task": "Counting", "letters": letters, "longest": section.longest}
            lesson = grid.task_lesson(f"counting-{letters}", task, section.strings)
            series[letters] = grid.series("counting", lesson, section.arms)
        super().__init__(config, grid, series)

    def names(self) -> list[str]:
        return [f"longest {letters}{whose}" for letters in self._series for whose in ("", " of any seed")]

    def measure(self, key: str) -> tuple[str, Values]:
        return "counted", {"letters": key, "tested": self._tested, "shown": SHOWN}

    def chapter(self) -> Chapter:
        config, arms = self._config, self._section.arms
        figures: dict[tuple[str, str], Measured] = {}
        rows: list[list[str]] = []
        shades: list[int] = []
        data: dict[str, object] = {}
        plots: list[Figure | None] = []
        for letters in self._series:
            for arm in arms:
                found = self._results(letters, arm)
                own = [one["longest"] for one in found]
                solved = [[n <= longest for n in self._tested] for longest in own]
                figures[f"longest {letters}", arm] = measured_reach(
                    *reach(self._tested, solved, config.min_seed_fraction), unit="of each"
                )
                figures[f"longest {letters} of any seed", arm] = measured_reach(max(own), own, unit="of each")
                best = max(found, key=lambda one: (one["longest"], abs(one["correlation"] or 0)))
                shades.append(self._colours[arm])
                rows.append(
                    [
                        visible(arm),
                        letters,
                        figures[f"longest {letters}", arm].text,
                        f"{statistics.median(own):g}",
                        ", ".join(map(str, own)),
                        f"{best['unit']}, r = {best['correlation']:.3f}" if best["correlation"] is not None else "–",
                    ]
                )
                data[f"{letters}, {arm}"] = {"longest": own, "unit": best["unit"], "correlation": best["correlation"]}
                if letters == self._section.letters[0] and best["longest"]:
                    name, unit = f"counting-unit-{len(plots)}", f"unit {best['unit']}"
                    places = {letters[number]: float(SHOWN * number) for number in range(1, len(letters))}
                    title = f"A unit that counts: {arm}"
                    number = self._colours[arm]
                    plots.append(count_plot(best["values"], best["counts"], name, unit, places, number, title))
        table = Table(
            ["arm", "string", "longest n", "median of seeds", "each seed", "counting unit of the best seed"],
            rows,
            caption=f"Longest n up to which all tested n are accepted ({', '.join(map(str, self._tested))}); the first "
            f"figure is what {config.min_seed_fraction:.0%} of the seeds reach; trained up to {self._section.longest}",
            colours=shades,
        )
        section = Section(
            title="Counting",
            paragraphs=[WHAT.format(longest=self._section.longest)],
            figures=[plot for plot in plots if plot is not None],
            tables=[table, runs_table(self._grid, self.series())],
            data=data,
        )
        return Chapter(section, figures)
