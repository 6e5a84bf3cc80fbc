"""What networks use of real text: loss against the context that is kept, and signs that close what is open."""

from __future__ import annotations

import statistics
from typing import Any

import numpy as np
import numpy.typing as npt

from charlstm.comparison.resampling import crossed_bootstrap, paired_bootstrap, wilson
from charlstm.config import MemoryConfig
from charlstm.memory.experiments.base import Chapter, Measured, colours, runs_table, study
from charlstm.memory.grid import Grid, Series
from charlstm.memory.jobs import Measuring
from charlstm.report.distance_plots import context_plot
from charlstm.report.document import Figure, Section, Table
from charlstm.report.estimate_plots import Estimate, distance_plot
from charlstm.text.visible import visible
from charlstm.units import bits

BLOCKS = 50
"""Stretches of the text that are drawn with replacement: neighbouring characters are alike."""

WHAT = (
    "Everything here is measured on the end of the text, which chose neither a checkpoint nor a learning rate. The "
    "same characters are predicted with so many characters of context: the state is zero that many characters before "
    "the target, and what stands between is read (Khandelwal et al. 2018). Where a curve is flat, its network makes "
    "nothing of what lies further back. The n-gram model (modified Kneser-Ney, Chen & Goodman 1999) was counted on the "
    "same training text. Differences between two arms are paired, by seed and by place. On so small a text they may "
    "well be small: they stand as they came out."
)
SIGNS = (
    "Closing brackets, quotes and line ends are what a text owes to something further back (Karpathy, Johnson & "
    "Fei-Fei 2015). For each of them, read with all its context: is it the most probable character at its place, by "
    "the distance to what it closes? The upright lines are Wilson's intervals over the places, of the mean over seeds."
)


def text_series(config: MemoryConfig, grid: Grid) -> dict[str, Series]:
    """The arms on the real text."""
    section = config.experiments.text
    assert section is not None
    return grid.series("text", grid.corpus_lesson("text", section.corpus), section.arms)


@study("text")
class TextStudy:
    def __init__(self, config: MemoryConfig, grid: Grid) -> None:
        section = config.experiments.text
        assert section is not None
        self._config, self._grid, self._section, self._kept = (
            config,
            grid,
            section,
            sorted(set(section.context_lengths)),
        )
        self._text = text_series(config, grid)
        self._signs = self._text
        if section.closing_text is not None:
            arms = section.closing_text_arms or section.arms
            self._signs = grid.series("text", grid.corpus_lesson("signs", section.closing_text), arms)

    def names(self) -> list[str]:
        return ["bits per character", *(f"bits minus {arm}" for arm in self._section.arms)]

    def series(self) -> list[Series]:
        return [*self._text.values(), *self._signs.values()]

    def _contexts(self, arm: str) -> list[Measuring]:
        arguments = {"kept": self._kept, "targets": self._section.targets}
        return self._grid.measurings(self._text[arm], "kept_context", arguments)

    def _closings(self, arm: str) -> list[Measuring]:
        return self._grid.measurings(self._signs[arm], "signs", {})

    def _ngram(self, series: dict[str, Series]) -> Measuring:
        """Any run names the text."""
        return self._grid.measurings(next(iter(series.values())), "ngram", {"order": self._section.ngram})[0]

    def measures(self) -> list[Measuring]:
        contexts = [one for arm in self._text for one in self._contexts(arm)]
        closings = [one for arm in self._signs for one in self._closings(arm)]
        return [*contexts, *closings, self._ngram(self._text), self._ngram(self._signs)]

    def _nats(self, arm: str) -> npt.NDArray[np.float64]:
        """-ln p of each target at each length of context, mean over seeds, [kept, targets]."""
        found: npt.NDArray[np.float64] = np.mean([one.result()["nats"] for one in self._contexts(arm)], axis=0)
        return found

    def chapter(self) -> Chapter:
        arms, shades = self._section.arms, colours(self._config)
        nats = {arm: self._nats(arm) for arm in arms}
        curves = {arm: [_mean(row) for row in own] for arm, own in nats.items()}
        figures: dict[tuple[str, str], Measured] = {}
        rows = []
        blocks = {arm: np.array([one.result()["blocks"] for one in self._contexts(arm)]) for arm in arms}
        for arm in arms:
            figures["bits per character", arm] = _bits(blocks[arm])
            for other in arms:
                if other != arm:
                    figures[f"bits minus {other}", arm] = _bits(blocks[arm] - blocks[other], "+")
            whole = figures["bits per character", arm].text.removesuffix(" bits")
            rows.append([visible(arm), whole, *(f"{value:.3f}" for value, _, _ in curves[arm])])
        differences = [
            f"{arms[0]} minus {other}: {found.text} ({found.interval})."
            for other in arms[1:]
            for found in [figures[f"bits minus {other}", arms[0]]]
        ]
        ngram = self._ngram(self._text).result()
        plot = context_plot(self._kept, curves, shades, (self._section.ngram, bits(ngram["nats"])))
        table = Table(
            ["arm", "all of it", *(f"{n} kept" for n in self._kept)],
            rows,
            caption=f"Bits per character, mean over seeds, by characters of context kept; {self._section.targets} "
            f"targets. {self._section.ngram}-gram model, all of it: {bits(ngram['nats']):.3f}",
            colours=[shades[arm] for arm in arms],
        )
        drawn, tables = self._by_distance()
        section = Section(
            title="Real text",
            paragraphs=[WHAT, f"Over all of it: {' '.join(differences)}", SIGNS],
            figures=[figure for figure in (plot, *drawn) if figure is not None],
            tables=[table, *tables, runs_table(self._grid, self.series())],
            data={
                "kept": self._kept,
                "bits": {arm: [list(each) for each in own] for arm, own in curves.items()},
                "ngram": ngram,
                "signs": {arm: [one.result() for one in self._closings(arm)] for arm in self._signs},
            },
        )
        return Chapter(section, figures)

    def _by_distance(self) -> tuple[list[Figure | None], list[Table]]:
        """A plot and a table for each kind of sign."""
        found = {arm: [one.result() for one in self._closings(arm)] for arm in self._signs}
        found[f"{self._section.ngram}-gram"] = [self._ngram(self._signs).result()["signs"]]
        shades = {**colours(self._config), f"{self._section.ngram}-gram": len(self._config.arms)}
        figures, tables = [], []
        kinds = next(iter(found.values()))[0]
        for kind in kinds:
            bins = [one for one in kinds[kind] if one["count"]]
            if not bins:
                continue
            names = [f"{one['low']}–{one['high']}" if one["high"] else f"{one['low']}+" for one in bins]
            counts = [one["count"] for one in bins]
            curves = {arm: [_right(runs, kind, one["low"]) for one in bins] for arm, runs in found.items()}
            name = f"closing-{'-'.join(kind.split())}"
            figures.append(distance_plot(names, counts, curves, shades, name, f"Right predictions: {kind}"))
            tables.append(
                Table(
                    ["distance", "places", *map(visible, curves)],
                    [
                        [each, f"{count:,}", *(f"{own[place][0]:.1%}" for own in curves.values())]
                        for place, (each, count) in enumerate(zip(names, counts, strict=True))
                    ],
                    caption=f"Share of {kind} that are the most probable character, by distance",
                    folded=True,
                )
            )
        return figures, tables


def _mean(nats: npt.NDArray[np.float64]) -> Estimate:
    """Bits per character, with their interval over stretches of the text."""
    low, high = paired_bootstrap(nats, BLOCKS, 1)
    return bits(float(nats.mean())), bits(low), bits(high)


def _bits(nats: npt.NDArray[np.float64], sign: str = "") -> Measured:
    """Mean nats of each seed over each stretch of the text, or their differences, [seeds, stretches], as bits."""
    mean, (low, high) = bits(float(nats.mean())), map(bits, crossed_bootstrap(nats, 1))
    interval = f"95% over {len(nats)} seeds and {nats.shape[1]} stretches: {low:{sign}.3f} to {high:{sign}.3f}"
    return Measured(mean, f"{mean:{sign}.3f} bits", interval)


def _right(runs: list[dict[str, Any]], kind: str, low: int) -> Estimate:
    """The share of a bin's places that are right, mean over runs, with Wilson's interval over the places."""
    bins = [one for run in runs for one in run[kind] if one["low"] == low]
    count, share = bins[0]["count"], statistics.fmean(one["right"] / one["count"] for one in bins)
    return share, *wilson(round(share * count), count)
