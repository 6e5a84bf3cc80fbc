"""What the state of a network retains of a real text, and how it changes from step to step."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from charlstm.memory.experiments.base import ExperimentResult
from charlstm.memory.experiments.text.part import TextPart
from charlstm.memory.jobs import MeasurementJob
from charlstm.memory.metrics import MetricValue, mean_metric
from charlstm.report.document import Section, Table
from charlstm.text.visible import visible

TEXTS, CAPACITY_STEPS = 16, 10
"""Number of segments of the text for the capacity, and characters of each for every delay."""
DYNAMICS_STEPS, WARM_UP = 60, 40
"""Characters over which the dynamics are measured, and characters before them."""

WHAT = (
    "What does the state retain? The memory capacity (Jaeger 2001) is the number of past characters that a linear "
    "readout of the state recovers: the sum over k of the R² of the k-th last character. Beside it is that of the "
    "last character alone, from which the ones before it can partly be guessed. The Jacobian of one step says how "
    "perturbations of the state change: its largest and median singular values, and the largest Lyapunov exponent, "
    "the mean rate in nats per character at which the most persistent direction shrinks (below zero) or grows."
)


class StateMeasures(TextPart):
    """Capacity, singular values and Lyapunov exponents of each arm after training."""

    def metric_names(self) -> list[str]:
        return ["memory capacity", "largest Lyapunov exponent"]

    def _capacities(self, arm: str) -> list[MeasurementJob]:
        arguments = {
            "delays": self._section.capacity_delays,
            "steps": CAPACITY_STEPS * self._section.capacity_delays + WARM_UP,
            "texts": TEXTS,
            "random": False,
        }
        return self._measurement_jobs(arm, "memory_capacity", arguments)

    def _dynamics(self, arm: str) -> list[MeasurementJob]:
        arguments = {"steps": DYNAMICS_STEPS, "texts": 2, "trained": True, "warm_up": WARM_UP, "exponents": 1}
        return self._measurement_jobs(arm, "state_dynamics", arguments)

    def measurement_jobs(self) -> list[MeasurementJob]:
        return [job for arm in self._groups for job in (*self._capacities(arm), *self._dynamics(arm))]

    def result(self) -> ExperimentResult:
        metrics: dict[tuple[str, str], MetricValue] = {}
        rows = []
        for arm in self._groups:
            capacities = [job.result() for job in self._capacities(arm)]
            dynamics = [job.result() for job in self._dynamics(arm)]
            exponents = [_mean([row[0] for row in one["exponents"]]) for one in dynamics]
            missing, states = [None] * len(self._diverged(arm)), [one["state"]["capacity"] for one in capacities]
            metrics["memory capacity", arm] = mean_metric([*states, *missing], "characters")
            metrics["largest Lyapunov exponent", arm] = mean_metric([*exponents, *missing], "nats per character")
            rows.append(
                [
                    visible(arm),
                    metrics["memory capacity", arm].text,
                    f"{statistics.fmean(one['last_character']['capacity'] for one in capacities):.2f}",
                    f"{statistics.fmean(one['largest'] for one in dynamics):.2f}",
                    f"{statistics.fmean(one['median'] for one in dynamics):.3f}",
                    metrics["largest Lyapunov exponent", arm].text,
                ]
            )
        header = ["arm", "capacity", "of the last character alone", "largest singular value", "median", "Lyapunov"]
        delays = self._section.capacity_delays
        caption = f"The state after training, on the test split, mean over seeds; capacity over k = 0 to {delays}"
        table = Table(header, rows, caption=caption, colors=[self._colors[arm] for arm in self._groups])
        return ExperimentResult(Section("What the state retains", paragraphs=[WHAT], tables=[table]), metrics)


def _mean(values: Sequence[float | None]) -> float | None:
    """The mean; None if there is a text without a value, since the others are then a selection."""
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if len(known) == len(values) else None
