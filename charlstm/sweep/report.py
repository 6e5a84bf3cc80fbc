"""The results of a sweep: the table, the page with its plots, and the record for report.json."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from charlstm.config.sections import EVALUATIONS
from charlstm.config.sweep import describe, value_text
from charlstm.report.document import Document, Figure, Section, Table
from charlstm.report.writer import write_document
from charlstm.sweep.halving import trained_at_rungs
from charlstm.sweep.plots import curves_plot, field_plot
from charlstm.sweep.sweep import Standing, Sweep
from charlstm.units import bits

FORMAT = 1


def best_of(standings: Sequence[Standing]) -> Standing | None:
    """The best trial that had the whole budget; None if there is none."""
    return standings[0] if standings and standings[0].state == "finished" else None


def headline(sweep: Sweep, standings: Sequence[Standing]) -> list[str]:
    """What came out, in sentences."""
    best, unit = best_of(standings), sweep.corpus.vocabulary.unit
    if best is None:
        return ["No trial has reached the end of its budget."]
    sentences = [
        f"The best of {len(standings)} candidates is trial {best.number} with {bits(best.mean_nats):.3f} bits per "
        f"{unit} of held-out text: {describe(best.candidate)}."
    ]
    others = [one for one in standings[1:] if one.state == "finished"]
    if others:
        second = others[0]
        sentences.append(
            f"The next, trial {second.number}, has {bits(second.mean_nats):.3f}: {describe(second.candidate)}."
        )
    return sentences


def table(standings: Sequence[Standing], names: Sequence[str], unit: str) -> list[list[str]]:
    """The trials as rows of a table, best first, under its header."""
    leaves = [name.rpartition(".")[2] for name in names]
    labels = [leaf if leaves.count(leaf) == 1 else name for name, leaf in zip(names, leaves, strict=True)]
    seeds = max((len(one.evaluations) for one in standings), default=1)
    spread = ["lowest to highest"] if seeds > 1 else []
    rows = [["trial", *labels, f"bits per {unit}", *spread, "seeds", "steps", "state"]]
    for one in standings:
        values = [value_text(one.candidate[name]) if name in one.candidate else "-" for name in names]
        scores = [bits(nats) for nats in one.nats]
        is_scored = bool(scores) and one.state != "diverged"
        between = f"{min(scores):.3f} to {max(scores):.3f}" if is_scored and len(scores) > 1 else "-"
        rows.append(
            [
                str(one.number),
                *values,
                f"{bits(one.mean_nats):.3f}" if is_scored else "-",
                *([between] if spread else []),
                str(len(one.evaluations)),
                f"{one.steps:,}",
                state(one),
            ]
        )
    return rows


def state(standing: Standing) -> str:
    """``stopped at 10%``."""
    return f"stopped at {10 * standing.tenths}%" if standing.state == "stopped" else standing.state


def record(sweep: Sweep, standings: Sequence[Standing]) -> dict[str, Any]:
    """The results in JSON types, with units in the names."""
    unit, best = sweep.corpus.vocabulary.unit, best_of(standings)
    return {
        "format": FORMAT,
        "title": sweep.folder.name,
        "unit": unit,
        "best_trial": None if best is None else best.number,
        "trials": [
            {
                "trial": one.number,
                "values": one.candidate,
                "state": one.state,
                "budget_used": one.tenths / EVALUATIONS,
                "steps": one.steps,
                f"held_out_nats_per_{unit}": one.mean_nats,
                f"held_out_bits_per_{unit}": bits(one.mean_nats),
                "runs": [
                    {
                        "path": str(sweep.trial(one.number, seed).directory.path),
                        "seed": sweep.config.training.seed + seed,
                        "evaluations": [asdict(evaluation) for evaluation in run],
                    }
                    for seed, run in enumerate(one.evaluations)
                ],
            }
            for one in standings
        ],
        "config": sweep.config.model_dump(mode="json"),
    }


def write_report(sweep: Sweep, standings: Sequence[Standing], command: str, folder: Path) -> list[Path]:
    """Write index.html, report.json and the plots; index.html comes first. Raises UserError if that fails."""
    unit, space = sweep.corpus.vocabulary.unit, sweep.config.space
    rows = table(standings, list(space), unit)
    figures = [field_plot(standings, name, values, sweep.rungs[0], unit) for name, values in space.items()]
    figures.append(curves_plot(standings, unit))
    document = Document(
        title=sweep.folder.name,
        headline=headline(sweep, standings),
        sections=[
            Section("Scores by field", figures=_drawn(figures), command=command),
            Section(
                "Trials",
                ["Best first: those that came furthest, by their score. Lower is better."],
                tables=[Table(rows[0], rows[1:])],
            ),
            _method(sweep),
        ],
    )
    return write_document(document, record(sweep, standings), folder)


def _drawn(figures: Sequence[Figure | None]) -> list[Figure]:
    return [figure for figure in figures if figure is not None]


def _method(sweep: Sweep) -> Section:
    config = sweep.config
    counts = trained_at_rungs(len(config.candidates), config.rungs, config.reduction_factor)
    budget = ", ".join(
        f"{limit:g} {name}" for name, limit in config.training.budget.model_dump().items() if limit is not None
    )
    facts = [
        ("Text", sweep.corpus.describe()),
        ("Candidates", f"{len(config.candidates)}, {_how(sweep)}"),
        ("Budget", f"{budget}; every schedule is that of this budget from the start"),
        ("Seeds", ", ".join(str(config.training.seed + seed) for seed in range(config.seeds))),
        (
            "Score",
            "The best score of a run on the validation split so far, over the seeds the mean. The best of many "
            "candidates is slightly optimistic: a test split tells by how much.",
        ),
    ]
    if config.rungs:
        steps = ", ".join(f"{n} to {10 * rung}%" for n, rung in zip(counts, sweep.rungs, strict=True))
        facts.append(
            (
                "Successive halving",
                f"{steps} of the budget. At each rung one in {config.reduction_factor:g} goes on and is resumed "
                "from its checkpoint, as if it had never been stopped (Jamieson & Talwalkar 2016).",
            )
        )
    return Section("How it was searched", facts=facts)


def _how(sweep: Sweep) -> str:
    if sweep.config.method == "grid":
        return "every combination of the values"
    return f"drawn at random with seed {sweep.config.search_seed}"
