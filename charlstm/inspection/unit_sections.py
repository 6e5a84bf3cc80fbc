"""The sections on the units of interest: what they represent, and what they do to sampled text."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np

from charlstm.inspection.inspect import Inspection
from charlstm.inspection.unit_scores import FIT, FeatureScore, top_units
from charlstm.probes.closing import characters_of
from charlstm.report.document import Figure, Sample, Section, Table
from charlstm.report.text_map import text_map
from charlstm.text.visible import visible

MAPS, MAP_LENGTH = 3, 600

UNITS = (
    "Each row is a feature of the text, with the unit that represents it best. Units are selected on the first "
    f"{FIT:.0%} of the text, and the score is that on the rest. The score of a feature that a character has or has not "
    "is the area under the ROC curve (AUC): the probability that the unit tells a character with the feature from one "
    "without it; that of a number is the rank correlation. Beside it: what the last three characters alone tell, and "
    "the best unit for the feature shifted along the text (the best of 50 shifts), which is what the search finds "
    "where there is nothing. A unit is of interest if it is better than both by a tenth of the way from chance to 1."
)
CAPTION = (
    "Units and the features of the text that they represent. The order of the units is that of their scores on the "
    f"first {FIT:.0%} of the text, on which they are selected: on the rest, of which the scores are shown, a next unit "
    "may be better than the best one"
)
TOO_FEW = "No feature of the text occurs often enough in it to look for units that represent it."
CLAMPED = (
    "Texts sampled with the same random numbers (temperature 0.6), or where only answers count the answer to the first "
    "question of the text: by the unchanged model, and with one part of the state of one unit held at a low or a high "
    "value (2% and 98% of its values over the text) at every character."
)


def units_section(one: Inspection, prefix: str = "") -> Section:
    """The units that represent features of the text."""
    rows = [
        [
            visible(score.feature),
            str(score.units[0]) + ("" if score.signs[0] > 0 else ", negative"),
            f"{score.scores[0]:.2f} ({score.measure})",
            f"{score.chance:.2f}",
            f"{score.baseline:.2f}",
            _number(score.shifted),
            "yes" if score.is_represented else "no",
            "; ".join(
                f"{unit.part} of {unit.unit} of {unit.layer + 1}: {value:.2f}"
                for unit, value in zip(score.units[1:], score.scores[1:], strict=True)
            ),
        ]
        for score in one.scores
    ]
    header = [
        "feature",
        "best unit",
        "score",
        "chance",
        "last 3 characters",
        "shifted text",
        "of interest",
        "next units",
    ]
    tables = [Table(header, rows, caption=CAPTION)] if rows else []
    paragraphs = [UNITS] if rows else [TOO_FEW]
    data = {"units": [score_record(score) for score in one.scores]}
    return Section("Units of interest", paragraphs, _maps(one, prefix), tables, plots_first=True, data=data)


def _number(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.2f}"


def score_record(score: FeatureScore) -> dict[str, object]:
    return {
        "feature": score.feature,
        "measure": score.measure,
        "units": [{**asdict(unit), "layer": unit.layer + 1} for unit in score.units],
        "scores": score.scores,
        "signs": score.signs,
        "chance": score.chance,
        "last_characters": score.baseline,
        "shifted": score.shifted,
        "of_interest": score.is_represented,
    }


def _maps(one: Inspection, prefix: str) -> list[Figure]:
    """The text where the feature of a unit changes most, colored by the unit: a piece of the part on which units are
    not selected, unless that is shorter than the piece."""
    symbols = characters_of(one.recording.ids, one.run.vocabulary)
    known = {feature.name: feature.values for feature in one.features}
    figures = []
    for feature, unit in top_units(one.scores, MAPS):
        changes = np.abs(np.diff(known[feature], prepend=0)) > 0
        length = min(MAP_LENGTH, len(symbols))
        first = min(int(FIT * len(symbols)), len(symbols) - length)
        counts = np.convolve(changes[first:], np.ones(length), "valid")
        begin = first + int(counts.argmax())
        values = one.recording.states[unit.part][begin : begin + length, unit.layer, unit.unit]
        title = f"{one.name}, {unit}: {feature}"
        name = f"{prefix}unit-{unit.layer + 1}-{unit.unit}-{unit.part}"
        figures.append(text_map(values, list(symbols[begin : begin + length]), name, title))
    return figures


def clamped_section(one: Inspection) -> Section:
    """What the units of interest do to sampled text."""
    parts = []
    for clamped in one.clamped:
        unchanged, low, high = clamped.texts
        samples = [
            Sample("unchanged", unchanged),
            Sample(f"held at {clamped.low:.2f}", low),
            Sample(f"held at {clamped.high:.2f}", high),
        ]
        parts.append(Section(f"{clamped.unit}: {clamped.feature}", samples=samples))
    if not parts:
        return Section("Units held at a value", ["No unit represents a feature of the text well enough to be held."])
    data = {"clamped": [{**asdict(f), "unit": {**asdict(f.unit), "layer": f.unit.layer + 1}} for f in one.clamped]}
    return Section("Units held at a value", [CLAMPED], parts=parts, data=data)
