"""Single units on which the prediction of closing quotes and brackets depends."""

from __future__ import annotations

import numpy as np

from charlstm.memory.experiments.base import ExperimentResult
from charlstm.memory.experiments.text.part import TextPart
from charlstm.memory.jobs import MeasurementJob
from charlstm.report.document import Section, Table
from charlstm.text.visible import visible
from charlstm.units import bits

STEPS, TEXTS, SHOWN = 300, 64, 3
"""Characters and number of the segments, and the units that are shown of each kind of character."""

WHAT = (
    "Is there a unit that remembers an open quote (Karpathy, Johnson & Fei-Fei 2015)? Each unit of the first seed is "
    "held at its mean in turn, in all parts of the state: the loss at closing quotes and brackets then grows by what "
    "the unit contributed. A table has the units with the largest effect: since the same positions select them and "
    "measure it, it is somewhat too large."
)


class UnitAblations(TextPart):
    """The units of some arms whose ablation costs most at closing characters."""

    def _job(self, arm: str) -> MeasurementJob:
        arguments = {"steps": STEPS, "texts": TEXTS}
        return self._measurement_jobs(arm, "unit_ablation", arguments)[0]

    def measurement_jobs(self) -> list[MeasurementJob]:
        return [self._job(arm) for arm in self._groups]

    def result(self) -> ExperimentResult:
        rows, row_colors = [], []
        for arm in self._groups:
            for kind, one in self._job(arm).result().items():
                change, elsewhere = np.array(one["change"]), np.array(one["change_elsewhere"], float)
                for flat in np.argsort(-change, axis=None, kind="stable")[:SHOWN]:
                    layer, unit = np.unravel_index(flat, change.shape)
                    rows.append(
                        [
                            visible(arm),
                            f"closing {kind}",
                            f"{one['count']:,}",
                            f"{bits(one['loss']):.3f}",
                            f"{unit}" if len(change) == 1 else f"{unit} of layer {layer + 1}",
                            f"{bits(float(change[layer, unit])):+.3f}",
                            f"{bits(float(elsewhere[layer, unit])):+.4f}",
                        ]
                    )
                    row_colors.append(self._colors[arm])
        if not rows:
            return ExperimentResult(Section(""), {})
        header = ["arm", "characters", "positions", "bits", "unit", "change there", "change elsewhere"]
        table = Table(header, rows, caption="Bits per character with one unit held at its mean", colors=row_colors)
        return ExperimentResult(Section("Units for quotes and brackets", paragraphs=[WHAT], tables=[table]), {})
