"""Write the report of a comparison: a page, its plots as PNG, and report.json."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from charlstm.comparison.headline import headline
from charlstm.comparison.intervals import MIN_SEEDS
from charlstm.comparison.plots import final_scores, learning_curves
from charlstm.comparison.record import as_record
from charlstm.comparison.results import Comparison, arm_colors
from charlstm.comparison.tables import results_table, runs_table, settings_table, state
from charlstm.config.corpus import NO_VALIDATION_SENTENCE
from charlstm.report.document import Document, Figure, Sample, Section
from charlstm.report.writer import check_names, write_document
from charlstm.text.visible import visible
from charlstm.units import bits

SAMPLES = (
    " During training, a sample of the held-out text is scored; the best and the last network of a run are scored on "
    "all of it when the run has ended."
)


def write_report(comparison: Comparison, folder: Path, further: Sequence[Section] = ()) -> list[Path]:
    """Write index.html, report.json and the plots as PNG into `folder`, which is created if it does not exist.

    Args:
        comparison: the results.
        folder: the output folder; files of an earlier report are overwritten.
        further: additional sections, shown before "How it was measured".

    Returns:
        The files written, index.html first.

    Raises:
        UserError: the files cannot be written.
        ValueError: two arms, two sections or two plots have the same name.
    """
    document = build(comparison, further)
    check_names("arm", [arm.name for arm in comparison.arms])
    return write_document(document, as_record(comparison), folder)


def build(comparison: Comparison, further: Sequence[Section] = ()) -> Document:
    """Build the page as a document."""
    causal, pseudo = comparison.restrict(causal=True), comparison.restrict(causal=False)
    colors = arm_colors(comparison.arms)
    sections = [_results(causal, colors), _curves(causal, colors)] if causal.arms else []
    if pseudo.arms:
        sections.append(_pseudo(pseudo, colors))
    sections += [_samples(comparison, colors), *further, _method(comparison)]
    return Document(
        title=comparison.title,
        headline=headline(comparison),
        sections=sections,
        remarks=_warnings(comparison),
    )


def _warnings(comparison: Comparison) -> list[str]:
    runs, lines = comparison.runs, []
    unfinished = sum(not (run.finished or run.diverged) for run in runs)
    if unfinished:
        lines.append(f"{unfinished} of {len(runs)} runs are unfinished: their scores are the best so far.")
    for arm in comparison.arms:
        if seeds := [str(run.seed) for run in arm.runs if run.diverged]:
            which = f"{len(seeds)} of {len(arm.runs)} runs of {visible(arm.name)} diverged (seed {', '.join(seeds)})"
            lines.append(f"{which}: their scores are the best before, and nothing is concluded from them.")
    unscored = sum(run.best is None for run in runs) if comparison.has_validation else 0
    if unscored:
        lines.append(f"{unscored} of {len(runs)} runs have no held-out score: they are excluded from every mean.")
    sampled = sum(run.has_sampled_score for run in runs)
    if sampled:
        lines.append(
            f"{sampled} of {len(runs)} runs have a score on a sample of the held-out text only, which is not exactly "
            "comparable with scores on all of it."
        )
    for arm in comparison.arms:
        remark = next((run.remark for run in arm.runs if run.remark), "")
        name = f"{visible(arm.name)}: " if len(comparison.arms) > 1 else ""
        lines += [f"{name}{remark[:1].upper()}{remark[1:]}."] if remark else []
    return lines


def _results(comparison: Comparison, colors: dict[str, int]) -> Section:
    figure = final_scores(comparison, colors)
    return Section(
        title="Results",
        paragraphs=[f"The score of a run is its best held-out score. Lower is better; 1 bit = {1 / bits(1):.3f} nats."],
        tables=[results_table(comparison, colors), runs_table(comparison, colors)],
        figures=[] if figure is None else [figure],
    )


def _curves(comparison: Comparison, colors: dict[str, int]) -> Section:
    figures = [
        learning_curves(comparison, "characters", colors),
        learning_curves(comparison, "seconds", colors),
    ]
    drawn = [figure for figure in figures if figure is not None]
    sampled = any(run.samples for run in comparison.runs)
    text = (
        "Held-out score against characters trained on, and against training time." + (SAMPLES if sampled else "")
        if drawn
        else "No held-out scores yet."
        if comparison.has_validation
        else "No text is held out for validation."
    )
    return Section(title="Learning curves", paragraphs=[text], figures=drawn)


def _pseudo(comparison: Comparison, colors: dict[str, int]) -> Section:
    figures: list[Figure | None] = [
        final_scores(comparison, colors),
        learning_curves(comparison, "characters", colors),
        learning_curves(comparison, "seconds", colors),
    ]
    return Section(
        title="Pseudo-likelihood",
        paragraphs=[
            f"A bidirectional model predicts each {comparison.unit} from the text on both sides of it. "
            "Its score is a pseudo-likelihood, not the probability of a text: it is shown separately and is not "
            "comparable with the score of a unidirectional model."
        ],
        tables=[results_table(comparison, colors, causal=False), runs_table(comparison, colors)],
        figures=[figure for figure in figures if figure is not None],
    )


def _samples(comparison: Comparison, colors: dict[str, int]) -> Section:
    shared = (
        set.intersection(*({run.seed for run in arm.runs} for arm in comparison.arms)) if comparison.arms else set()
    )
    samples = []
    for arm in comparison.arms:
        if arm.runs:
            run = min(arm.runs, key=lambda run: (run.seed not in shared, run.seed))
            note = f"seed {run.seed}" + ("" if run.finished else f", {state(run)}")
            samples.append(Sample(arm.name, run.sample, colors[arm.name], note))
    text = "One sample from each arm, from the lowest seed that all arms have. Control characters are made visible."
    if not all(run.causal for arm in comparison.arms for run in arm.runs):
        origin = "held-out text" if comparison.has_validation else "training text"
        text += f" A bidirectional model's sample is {origin}; the characters that it filled in are in brackets."
    return Section(title="Samples", paragraphs=[text], samples=samples)


def _score_facts(unit: str, context: str, has_validation: bool) -> list[tuple[str, str]]:
    if not has_validation:
        return [("Score", NO_VALIDATION_SENTENCE)]
    return [
        ("Score", f"Every held-out {unit} scored once, with the real text {context} as context."),
        (
            "Best",
            "The lowest score of a run's evaluations, selected on the same held-out text: slightly optimistic.",
        ),
    ]


def _method(comparison: Comparison) -> Section:
    unit = comparison.unit
    seeds = sorted({run.seed for run in comparison.runs})
    facts = [
        ("Text", comparison.corpus),
        ("Matched by", comparison.match),
        ("Seeds", ", ".join(map(str, seeds))),
    ]
    context = "before it" if all(run.causal for run in comparison.runs) else "before it (or on both sides)"
    facts += [
        ("Differences", "\n".join(comparison.difference)),
        *_score_facts(unit, context, comparison.has_validation),
        (
            "Time",
            "Seconds and speed of training, without evaluation and sampling. Medians over seeds.",
        ),
        (
            "Training split",
            f"The score of the best network on an evenly spread sample of the training split, {unit} by {unit} as for "
            "the held-out text. Both are equal where the texts are alike and nothing is learned by heart.",
        ),
        (
            "Training bits",
            "Mean training loss over the last tenth of the run, with dropout if it is used.",
        ),
    ]
    if len(comparison.arms) > 1:
        facts.append(
            (
                "Interval",
                f"95% paired t interval over shared seeds, if there are at least {MIN_SEEDS} and no run of the two "
                "arms diverged. It covers the variation between seeds, not the choice of text, and is not corrected "
                "for the number of arms.",
            )
        )
    return Section(
        title="How it was measured",
        facts=[(term, meaning) for term, meaning in facts if meaning],
        remarks=list(comparison.notes),
        tables=[settings_table(comparison)] if any(run.settings for run in comparison.runs) else [],
    )
