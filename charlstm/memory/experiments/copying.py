"""Copying after a delay, with different biases of the forget gate."""

from __future__ import annotations

from charlstm.config import MemoryConfig
from charlstm.memory.experiments.arms_by_task import UNTRAINED, ArmsByTask
from charlstm.memory.experiments.base import ExperimentResult, experiment, runs_table
from charlstm.memory.grid import Grid
from charlstm.memory.groups import RunGroup
from charlstm.memory.metrics import MetricValue, estimate, mean_metric, percent
from charlstm.memory.task_measures import JsonObject, make_task
from charlstm.report.document import Section, Table
from charlstm.report.estimate_plots import bars_plot
from charlstm.text.visible import visible

WHAT = (
    "Each string is some symbols, a delay of blanks, a query, and the same symbols again (Hochreiter & Schmidhuber "
    "1997; Arjovsky et al. 2016). A network without memory can only guess each symbol: the dotted line is its loss. "
    "With a forget gate whose bias is b, half of the state is left after ln 2 / -ln sigmoid(b) steps: 1 step for a "
    "bias of 0, 2 for 1, 103 for 5; chrono draws the biases so that the half-lives of the units cover the delay "
    "(Tallec & Ollivier 2018)."
)


@experiment("copying")
class CopyingExperiment(ArmsByTask[int]):
    def __init__(self, config: MemoryConfig, grid: Grid) -> None:
        section = config.experiments.copying
        assert section is not None
        self._section, self._lags = section, sorted(set(section.lags))
        groups, previous = dict[int, dict[str, RunGroup]](), None
        for lag in self._lags:
            dataset = grid.texts.task(f"copying-{lag}", self._task(lag), section.strings)
            groups[lag] = previous = grid.run_groups("copying", dataset, section.arms, previous)
        super().__init__(config, grid, groups)

    def _task(self, lag: int) -> JsonObject:
        return {"task": "Copying", "lag": lag, "length": self._section.length, "symbols": self._section.symbols}

    def metric_names(self) -> list[str]:
        return [f"{name} at lag {lag}" for lag in self._lags for name in ("nats", "gain")]

    def measure(self, key: int) -> tuple[str, JsonObject]:
        return "answers", {"task": self._task(key), "strings": self._config.test_strings}

    def result(self) -> ExperimentResult:
        arms = self._section.arms
        baseline = make_task(self._task(self._lags[0])).baseline_nats
        nats = {arm: [self._nats(lag, arm) for lag in self._lags] for arm in arms}
        estimates = {arm: [estimate(values, 0.0) for values in by_lag] for arm, by_lag in nats.items()}
        metrics: dict[tuple[str, str], MetricValue] = {}
        for arm in arms:
            for lag, values in zip(self._lags, nats[arm], strict=True):
                gains = [None if value is None else baseline - value for value in values]
                if not values:
                    continue
                metrics[f"nats at lag {lag}", arm] = mean_metric(values, "nats")
                metrics[f"gain at lag {lag}", arm] = mean_metric(gains, "nats")
        plot = bars_plot(
            [f"lag {lag}" for lag in self._lags],
            estimates,
            self._colors,
            name="copying",
            title="Loss of each copied symbol",
            thresholds={"without memory": baseline},
            unit="nats",
        )
        rows = [[visible(arm), *(self._cell(lag, arm) for lag in self._lags)] for arm in arms]
        table = Table(
            ["arm", *(f"lag {lag}" for lag in self._lags)],
            rows,
            caption=f"Nats of a copied symbol, mean over seeds (accuracy); without memory {baseline:.3f} nats, "
            f"{percent(1 / self._section.symbols)}",
            colors=self._arm_colors(arms),
        )
        section = Section(
            title="Copying, and the forget bias as a horizon",
            paragraphs=[WHAT],
            figures=[plot] if plot else [],
            tables=[table, runs_table(self._grid, self.run_groups())],
            data={"lags": self._lags, "nats": nats, "baseline_nats": baseline},
        )
        return ExperimentResult(section, metrics)

    def _cell(self, lag: int, arm: str) -> str:
        if not self._results(lag, arm):
            return UNTRAINED
        if not (results := [one for one in self._trained(lag, arm) if one is not None]):
            return "diverged"
        accuracy = sum(one["character_accuracy"] for one in results) / len(results)
        return f"{estimate(self._nats(lag, arm))[0]:.3f} ({percent(accuracy)})"

    def _nats(self, lag: int, arm: str) -> list[float | None]:
        """The loss of each seed; None for one whose network diverged, or whose loss is not finite."""
        return [None if one is None else one["nats"] for one in self._trained(lag, arm)]

    def _trained(self, lag: int, arm: str) -> list[JsonObject | None]:
        """The measurements of each seed; None for one whose network diverged."""
        diverged = self._grid.diverged_seeds([self._groups[lag][arm]])
        results = zip(self._results(lag, arm), self._grid.judged_seeds, strict=False)
        return [None if seed in diverged else one for one, seed in results]
