"""The section on where a model errs."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np

from charlstm.inspection.errors import PASSAGE
from charlstm.inspection.inspect import Inspection
from charlstm.probes.closing import characters_of
from charlstm.probes.dependencies import DependencyLoss
from charlstm.report.document import Sample, Section, Table
from charlstm.units import bits

MIN_COUNT = 10
"""Kinds and distances with fewer characters are left out: their means would say nothing."""

ERRORS = (
    "The surprise by class of character (classes overlap), and at characters that depend on something earlier, by the "
    "distance to it."
)
NGRAM = (
    " Beside it is that of a 7-gram model of the training text (its last 3 million characters), which knows every "
    "passage of a text that is part of it."
)
NGRAM_BITS = "7-gram bits"

HARDEST = f"The passages of {PASSAGE} characters with the largest mean surprise; they do not overlap."
HARDEST_SCORED = (
    f"The passages of {PASSAGE} characters with the largest mean surprise over those that count in the loss; they do "
    "not overlap. Passages with fewer than half as many of these as the median passage with any are left out, since a "
    "mean over few is large by chance."
)


def errors_section(one: Inspection) -> Section:
    """The surprise by kind of character and by distance, and the hardest passages."""
    errors = one.errors
    symbols = characters_of(one.recording.ids, one.run.vocabulary)
    classes = [
        [kind.kind, f"{kind.count:,}", f"{kind.bits:.2f}", _number(kind.ngram_bits), f"{kind.fraction:.0%}"]
        for kind in errors.by_class
    ]
    distances = [
        [loss.kind, _distance(loss), f"{len(loss.nats):,}", f"{bits(float(loss.nats.mean())):.2f}",
         "–" if ngram is None else f"{bits(float(ngram.nats.mean())):.2f}", f"{loss.correct.mean():.0%}"]
        for loss, ngram in errors.by_distance
        if len(loss.nats) >= MIN_COUNT
    ]  # fmt: skip
    scored = one.recording.scored
    unit = one.run.vocabulary.unit
    where = "this text" if scored.all() else f"the {scored.sum():,} {unit}s that count in the loss"
    remarks = [f"{errors.bits:.3f} bits per {unit} over {where}"]
    if not np.isnan(errors.removed_by_ngram):
        remarks.append(
            f"7-gram model of the training text: {errors.ngram_bits:.3f} bits. Mixed with it, the model saves "
            f"{errors.removed_by_ngram:.1%} of its bits on the second half of the text"
        )
    samples = [
        Sample(f"{unit}s {begin + 1:,} to {end:,}", symbols[begin:end], note=f"{value:.2f} bits per {unit}")
        for begin, end, value in errors.hardest
    ]
    tables = [
        Table(["class", "characters", "bits", NGRAM_BITS, "part of all bits"], classes, "By class of character"),
        Table(
            ["depends on", "distance", "characters", "bits", NGRAM_BITS, "most probable is right"],
            distances,
            "By what the character depends on",
        ),
    ]
    if not errors.has_ngram:
        tables = [_without(table, NGRAM_BITS) for table in tables]
    data = {
        "bits_per_character": errors.bits,
        "ngram_bits_per_character": errors.ngram_bits,
        "bits_removed_by_ngram": errors.removed_by_ngram,
        "by_class": [asdict(kind) for kind in errors.by_class],
        "by_distance": [
            {
                "depends_on": loss.kind,
                "from": loss.low,
                "to": loss.high,
                "characters": len(loss.nats),
                "bits": bits(float(loss.nats.mean())),
                "ngram_bits": None if ngram is None else bits(float(ngram.nats.mean())),
                "correct": float(loss.correct.mean()),
            }
            for loss, ngram in errors.by_distance
        ],
        "hardest": [{"from": begin, "to": end, "bits": value} for begin, end, value in errors.hardest],
    }
    return Section(
        "Where it errs",
        [ERRORS + (NGRAM if errors.has_ngram else "")],
        tables=[table for table in tables if table.rows],
        remarks=remarks,
        parts=[Section("The hardest passages", [HARDEST if scored.all() else HARDEST_SCORED], samples=samples)],
        data=data,
    )


def _without(table: Table, column: str) -> Table:
    at = table.header.index(column)
    header, *rows = [row[:at] + row[at + 1 :] for row in (table.header, *table.rows)]
    return replace(table, header=header, rows=rows)


def _distance(loss: DependencyLoss) -> str:
    if loss.high == 0:
        return "–"
    return f"{loss.low:,} to {loss.high:,}" if loss.high is not None else f"{loss.low:,} or more"


def _number(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.2f}"
