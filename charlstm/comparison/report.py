"""Write the report of a comparison: a page, its plots as PNG, and report.json."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from charlstm.comparison.intervals import MIN_SEEDS
from charlstm.comparison.plots import final_scores, learning_curves
from charlstm.comparison.record import as_record
from charlstm.comparison.results import Comparison, arm_colors
from charlstm.comparison.statistics import ArmSummary, Difference, differences, summarize
from charlstm.comparison.tables import (
    PSEUDO,
    count_range,
    results_table,
    runs_table,
    settings_table,
    summary_table,
)
from charlstm.config.corpus import NO_VALIDATION_SENTENCE
from charlstm.report.document import Document, Figure, Sample, Section
from charlstm.report.writer import check_names, write_document
from charlstm.text.visible import visible
from charlstm.units import bits

__all__ = ["build", "headline", "summary_table", "write_report"]

SAMPLES = (
    " During training, a sample of the held-out text is scored; the best and the last network of a run are scored on "
    "all of it when the run has ended."
)
MANY_ARMS = 3
"""With more arms, the headline has only the means, best first."""


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


def headline(comparison: Comparison) -> list[str]:
    """The results in sentences: first the scores, then one sentence per difference."""
    causal, pseudo = comparison.restrict(causal=True), comparison.restrict(causal=False)
    sentences = _headline(causal, "") if causal.arms else []
    if pseudo.arms:
        sentences += _headline(pseudo, f"a {PSEUDO} of ")
        sentences.append(f"A {PSEUDO} uses the text on both sides: it is not comparable with a likelihood.")
    return sentences or ["There are no runs."]


def _headline(comparison: Comparison, kind: str) -> list[str]:
    scored = [summary for arm in comparison.arms if (summary := summarize(arm)).bits]
    if not comparison.has_validation:
        return _training_scores(comparison, kind)
    if not scored:
        names = ", ".join(visible(arm.name) for arm in comparison.arms)
        return [f"No held-out score yet: {names}."]
    compared = [d for d in differences(comparison) if d.mean_bits is not None]
    digits = 3 if any(abs(d.mean_bits or 0.0) < 0.05 for d in compared) else 2
    fewest = min(summary.parameters[0] for summary in scored)
    most = max(summary.parameters[1] for summary in scored)
    is_matched, many = most <= 1.01 * fewest, len(scored) > MANY_ARMS
    if many:
        scored = sorted(scored, key=lambda summary: summary.mean_bits or 0.0)
    parts = []
    for index, summary in enumerate(scored):
        score = f"{summary.mean_bits:.{digits}f}"
        if index == 0:
            score = f"reaches {kind}{score} bits per {comparison.unit} of held-out text"
        details = [] if is_matched or many else [f"{count_range(*summary.parameters)} parameters"]
        if not many:
            details.append(_seeds(summary, digits))
        parts.append(f"{visible(summary.name)} {score}" + (f" ({'; '.join(details)})" if details else ""))
    start = f"At {_about(fewest, most)} parameters, " if is_matched else ""
    return [start + ", ".join(parts) + ".", *(_difference_sentence(d, digits) for d in compared if not many)]


def _training_scores(comparison: Comparison, kind: str) -> list[str]:
    """What there is to say of runs that hold no text out."""
    scores = [
        f"{visible(run.name)} {kind}{run.training_split_bits:.3f}"
        for run in comparison.runs
        if run.training_split_bits is not None
    ]
    listed = [f"Bits per {comparison.unit} of training text: {', '.join(scores)}."] if scores else []
    return [NO_VALIDATION_SENTENCE, *listed]


def _about(fewest: int, most: int) -> str:
    """A parameter count, rounded to three digits if the arms' counts differ slightly."""
    if fewest == most:
        return f"{most:,}"
    step = 10 ** max(len(str(most)) - 3, 0)
    return f"about {round((fewest + most) / 2 / step) * step:,}"


def _seeds(summary: ArmSummary, digits: int) -> str:
    if len(summary.bits) < 2:
        return "one seed"
    return f"{len(summary.bits)} seeds, {summary.lowest_bits:.{digits}f} to {summary.highest_bits:.{digits}f}"


def _difference_sentence(d: Difference, digits: int) -> str:
    text = f"Difference {visible(d.arm)} minus {visible(d.reference)}: {d.mean_bits:+.{digits}f} bits"
    if d.interval_bits is None:
        return f"{text} ({d.reason})."
    low, high = d.interval_bits
    verdict = "" if d.excludes_zero else "; it includes zero, so these seeds show no difference"
    return f"{text} [95% interval {low:+.{digits}f} to {high:+.{digits}f}, {len(d.pairs)} seeds]{verdict}."


def _warnings(comparison: Comparison) -> list[str]:
    runs, lines = comparison.runs, []
    unfinished = sum(not run.finished for run in runs)
    if unfinished:
        lines.append(f"{unfinished} of {len(runs)} runs are unfinished: their scores are the best so far.")
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
            note = f"seed {run.seed}" + ("" if run.finished else ", unfinished")
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
                f"95% paired t interval over shared seeds, if there are at least {MIN_SEEDS}. It covers the variation "
                "between seeds, not the choice of text, and is not corrected for the number of arms.",
            )
        )
    return Section(
        title="How it was measured",
        facts=[(term, meaning) for term, meaning in facts if meaning],
        remarks=list(comparison.notes),
        tables=[settings_table(comparison)] if any(run.settings for run in comparison.runs) else [],
    )
