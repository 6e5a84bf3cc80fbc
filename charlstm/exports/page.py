"""The page that samples text from a model in a browser, without a network."""

from __future__ import annotations

import json
from dataclasses import dataclass

from charlstm import __version__
from charlstm.api import LoadedRun
from charlstm.compiler.javascript_printer import javascript_step
from charlstm.config.corpus import NO_VALIDATION
from charlstm.errors import UserError
from charlstm.exports.about import about
from charlstm.exports.held_out import QuantizationCost, quantization_cost
from charlstm.exports.page_weights import page_weights
from charlstm.exports.quantization import quantized_copy
from charlstm.exports.step_weights import step_weights
from charlstm.report.document import Document, Section, render, resource
from charlstm.text.excerpts import prompt

TEMPLATE = "exports/page.html.jinja"
LENGTH, TEMPERATURE, SEED = 600, 0.7, 1


@dataclass(frozen=True)
class Page:
    """The HTML of the page, and what 8 bits cost; ``cost`` is None for the reason ``unmeasured``."""

    html: str
    cost: QuantizationCost | None
    unmeasured: str


def make_page(run: LoadedRun, name: str, command: str, prime: str | None = None) -> Page:
    """The page of a run; ``prime`` is the text that it proposes to continue, by default the first words of the
    validation split, or without one of the training split.

    Raises UserError for a bidirectional model, and for characters of ``prime`` that the model does not know.
    """
    quantized = quantized_copy(run.model)
    weights = step_weights(quantized)
    corpus, cost, unmeasured = None, None, ""
    try:
        corpus = run.corpus()
        split = corpus.excerpt_split
        text = corpus.split(split)
    except UserError as error:
        unmeasured = str(error)
    else:
        cost = quantization_cost(run.model, quantized, split, text)
    if prime is None:
        prime = "" if corpus is None else prompt(corpus, run.config.corpus.context_end, run.model.direction)
    else:
        prime = run.prepare(prime)
        try:
            run.vocabulary.encode(prime)
        except UserError:
            what = "the model does not know all of its characters"
            raise UserError(f"the page cannot begin with this text: {what}") from None
    vocabulary, is_backward = run.vocabulary, run.model.direction == "backward"
    end = vocabulary.encode(run.document_end).tolist() if run.document_end else []
    following = f"The {vocabulary.unit} before" if is_backward else f"The next {vocabulary.unit}"
    data = {
        "model": page_weights(weights),
        "symbols": list(vocabulary.symbols),
        "isBytes": vocabulary.kind == "bytes",
        "unit": vocabulary.unit,
        "following": following,
        "backward": is_backward,
        "end": end[::-1] if is_backward else end,
        "lowercase": run.preparation.lowercase,
        "composed": "unicode" in run.preparation.normalize,
        "leadIns": run.lead_ins,
        "prime": prime,
        "length": LENGTH,
        "temperature": TEMPERATURE,
        "seed": SEED,
    }
    html = render(
        _document(run, name, command, cost),
        TEMPLATE,
        backward=is_backward,
        documents=bool(end),
        unit=vocabulary.unit,
        following=following,
        data=json.dumps(data, separators=(",", ":")).replace("<", "\\u003c"),
        style=resource("exports/page.css"),
        step=javascript_step(weights.cell),
        model=resource("exports/model.js"),
        script=resource("exports/page.js"),
    )
    return Page(html, cost, unmeasured)


def _document(run: LoadedRun, name: str, command: str, cost: QuantizationCost | None) -> Document:
    facts = about(run)
    measured = cost.sentence(run.vocabulary.unit) if cost else "not measured: the text of the run was not there"
    rows = [
        ("Text", facts.text),
        ("Network", facts.network),
        ("Weights", f"{facts.parameters:,}, rounded to 8 bits with a scale for each row"),
        ("Score", measured),
        *([] if run.config.corpus.has_validation else [("Held-out score", f"none: {NO_VALIDATION}")]),
        ("Seeds", "those of charlstm sample: the same seed and settings give nearly always the same text"),
        ("Made with", f"charlstm {__version__}"),
    ]
    backward = ", from the end to the beginning" if run.model.direction == "backward" else ""
    headline = [
        f"{facts.subject} writes, one {run.vocabulary.unit} at a time{backward}, after reading {facts.text}.",
        "It runs in this page, also without a network: nothing that you write leaves it.",
    ]
    return Document(name, headline, [Section("About this model", facts=rows, command=command)])
