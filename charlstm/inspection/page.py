"""The page of an inspection: interactive views of one or more runs on the same text, and what was found in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from charlstm import __version__, atomic_io
from charlstm.errors import UserError
from charlstm.inspection.attribution import mean_by_distance
from charlstm.inspection.error_section import errors_section
from charlstm.inspection.gate_section import gates_section
from charlstm.inspection.inspect import Inspection
from charlstm.inspection.page_data import page_data
from charlstm.inspection.step_page import step_page
from charlstm.inspection.step_values import MAX_CHARACTERS
from charlstm.inspection.unit_scores import top_units
from charlstm.inspection.unit_sections import TOO_FEW, clamped_section, units_section
from charlstm.probes.closing import characters_of
from charlstm.report.document import Document, Section, resource
from charlstm.report.gradient_plot import gradient_plot
from charlstm.report.influence_plot import influence_plot
from charlstm.report.writer import write_document
from charlstm.units import bits

TEMPLATE = "inspection/inspection.html.jinja"
STEP = "step.html"
NONE_OF_INTEREST = (
    "No unit represents a feature of the text clearly better than both baselines: the last three characters, and the "
    "best unit for the same feature shifted along the text."
)
LEAST_BITS = 0.1
"""report.json has, for each character, the earlier ones that change its surprise by that much if they are replaced."""
INFLUENCE = (
    "The mean over {over} of the bits by which the surprise of a character grows if the one k places before it is "
    "replaced by another one, drawn from the text."
)
GRADIENT = (
    "How much the loss of a character changes with the input k characters before it: the gradient goes back through k "
    "steps, and each multiplies it by a Jacobian. It vanishes or explodes with k unless these are close to the "
    "identity (Hochreiter 1991; Bengio, Simard & Frasconi 1994), and a network can only learn from what reaches it: "
    "this is why a plain RNN forgets."
)
SCORED = "Of the {characters:,} characters, {scored:,} count in the loss, and all means are over them: {why}."
ANSWERS = (
    "those after corpus.score_after in each document. The network was not trained to predict the others, so nothing is "
    "said of its predictions there"
)
BLOCKS = "the others are around held-out blocks, and are only read"


def write_page(inspections: Sequence[Inspection], folder: Path, command: str = "") -> list[Path]:
    """Write index.html, report.json and the plots as PNG, and for each run the page of a step, step.html; return their
    paths, the page first.

    All inspections must be of the same text; the page shows them side by side.

    Raises UserError if the texts differ, or the files cannot be written.
    """
    first = inspections[0]
    symbols = characters_of(first.recording.ids, first.run.vocabulary)
    for other in inspections[1:]:
        if characters_of(other.recording.ids, other.run.vocabulary) != symbols:
            raise UserError(f"{other.name} does not read the same text as {first.name}")
    values = {
        "data": page_data(inspections, _interesting_position(first)),
        "several": len(inspections) > 1,
        "steps": list(zip((one.name for one in inspections), step_names(inspections), strict=True)),
        "attribution": all(one.attribution is not None for one in inspections),
        "style": resource("inspection/inspection.css"),
        "script": resource("inspection/inspection.js"),
    }
    record = {
        "format": 1,
        "command": command,
        "text": symbols,
        "runs": {one.name: _record(one) for one in inspections},
    }
    files = write_document(_document(inspections, command), record, folder, TEMPLATE, **values)
    return files + [
        _write_step(one, folder, name) for one, name in zip(inspections, step_names(inspections), strict=True)
    ]


def step_names(inspections: Sequence[Inspection]) -> list[str]:
    """The names of the pages of a step, one for each run."""
    return [STEP] if len(inspections) == 1 else [f"{number}-{STEP}" for number in range(1, len(inspections) + 1)]


def _short(one: Inspection) -> slice:
    """The positions of the characters that the model reads first, as many as the page of a step shows."""
    length, begins = len(one.recording.ids), one.recording.starts
    if one.recording.is_backward:
        return slice(max(0, length - MAX_CHARACTERS, *(start + 1 for start in begins[:-1])), length)
    return slice(0, min(MAX_CHARACTERS, *begins[1:], length))


def _write_step(one: Inspection, folder: Path, name: str) -> Path:
    path, shown = folder / name, _short(one)
    page = step_page(one.run, one.recording.ids[shown].tolist(), one.recording.scored[shown])
    try:
        atomic_io.write_atomic(path, page.encode("utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot write the page: {error.strerror or error}") from error
    return path


def _interesting_position(one: Inspection) -> int:
    """The character that depends most on those far back: with the largest sum over k of k times its dependence."""
    if one.attribution is None:
        return len(one.recording.ids) - 1
    replaced = np.nan_to_num(np.maximum(one.attribution.replaced, 0)) * one.recording.scored[:, None]
    lags = np.arange(1, replaced.shape[1] + 1)
    return int((replaced[:, 3:] @ lags[3:]).argmax()) if replaced.shape[1] > 3 else len(replaced) - 1


def _document(inspections: Sequence[Inspection], command: str) -> Document:
    several = len(inspections) > 1
    sections = []
    for number, one in enumerate(inspections):
        prefix = f"{number + 1}-" if several else ""
        for section in (
            units_section(one, prefix),
            clamped_section(one),
            gates_section(one, prefix, number),
            errors_section(one),
        ):
            title = f"{section.title} ({number + 1}: {one.name})" if several else section.title
            sections.append(replace(section, title=title))
    facts = [
        (
            one.name,
            f"{one.run.config.model.cell}, {one.run.config.model.num_layers} x {one.run.config.model.hidden_size}, "
            f"{one.run.model.direction}; {one.recording.bits_per_character:.3f} bits per "
            f"{one.run.vocabulary.unit} on this text",
        )
        for one in inspections
    ]
    first = inspections[0]
    facts += [
        ("Text", f"{len(first.recording.ids):,} {first.run.vocabulary.unit}s: {first.source}"),
        ("Made with", f"charlstm {__version__}"),
    ]
    method = Section("How it was made", facts=facts, command=command)
    title = f"Inside {' and '.join(one.name for one in inspections)}"
    return Document(
        title, _headline(inspections), [*_influence(inspections), *_gradient(inspections), *sections, method]
    )


def _headline(inspections: Sequence[Inspection]) -> list[str]:
    """The best unit of each run, and what counts in the loss if not all characters do."""
    lines = []
    for one in inspections:
        name = f"{one.name}: " if len(inspections) > 1 else ""
        if not one.scores:
            lines.append(f"{name}{TOO_FEW}")
        elif not (best := one.scores[0]).is_represented:
            lines.append(f"{name}{NONE_OF_INTEREST}")
        else:
            compared = f"the last three characters alone reach {best.baseline:.2f}"
            lines.append(f"{name}{best.sentence()} ({compared}).")
    scored, corpus = inspections[0].recording.scored, inspections[0].run.config.corpus
    if not scored.all():
        why = BLOCKS if corpus.documents is None else ANSWERS
        lines.append(SCORED.format(scored=scored.sum(), characters=len(scored), why=why))
    return lines


def _gradient(inspections: Sequence[Inspection]) -> list[Section]:
    """The mean norm of the gradient by distance; empty if it was not measured."""
    curves = {
        one.name: mean_by_distance(one.attribution.gradient, one.recording.scored)
        for one in inspections
        if one.attribution is not None
    }
    untrained = {one.name: one.untrained_gradient for one in inspections}
    plot = gradient_plot(curves, untrained, {one.name: number for number, one in enumerate(inspections)}, "gradient")
    return [] if plot is None else [Section("How far the gradient reaches", [GRADIENT], [plot])]


def _influence(inspections: Sequence[Inspection]) -> list[Section]:
    """The mean dependence of a prediction on earlier characters, by their distance; empty if it was not measured."""
    curves = {
        one.name: mean_by_distance(one.attribution.replaced, one.recording.scored)
        for one in inspections
        if one.attribution is not None
    }
    colors = {one.name: number for number, one in enumerate(inspections)}
    over = "the text" if inspections[0].recording.scored.all() else "the characters that count in the loss"
    plot = influence_plot(curves, colors, "influence", over)
    return [] if plot is None else [Section("How far predictions look back", [INFLUENCE.format(over=over)], [plot])]


def _record(one: Inspection) -> dict[str, object]:
    symbols = one.run.vocabulary.symbols
    recording = one.recording
    record: dict[str, object] = {
        "bits": [
            round(bits(float(nats)), 4) if is_scored else None
            for nats, is_scored in zip(recording.nats, recording.scored, strict=True)
        ],
        "most_probable": [[symbols[i] for i in row] for row in recording.top.tolist()],
        "probabilities": recording.top_p.round(4).tolist(),
    }
    record["units_of_interest"] = {
        str(unit): recording.states[unit.part][:, unit.layer, unit.unit].astype(float).round(4).tolist()
        for _, unit in top_units(one.scores, len(one.scores))
    }
    if one.attribution is not None:
        measured = {"bits_if_replaced": one.attribution.replaced, "gradient_norm": one.attribution.gradient}
        for name, values in measured.items():
            record[f"mean_{name}"] = mean_by_distance(values, recording.scored)
        record["mean_gradient_norm_untrained"] = one.untrained_gradient
        record["leans_on"] = [
            [
                [k + 1, round(float(row[k]), 1)]
                for k in np.flatnonzero(np.abs(np.nan_to_num(row)) >= LEAST_BITS).tolist()
            ]
            for row in one.attribution.replaced
        ]
    return record
