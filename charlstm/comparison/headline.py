"""The results of a comparison in sentences."""

from __future__ import annotations

from charlstm.comparison.results import Comparison
from charlstm.comparison.statistics import ArmSummary, Difference, differences, summarize
from charlstm.comparison.tables import PSEUDO, count_range, incomplete_runs
from charlstm.config.corpus import NO_VALIDATION_SENTENCE
from charlstm.text.visible import visible

MANY_ARMS = 3
"""With more arms, the headline has only the means, best first."""


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
    fewest = min(summary.parameters[0] for summary in scored)
    most = max(summary.parameters[1] for summary in scored)
    is_matched, many = most <= 1.01 * fewest, len(scored) > MANY_ARMS
    if many:
        scored = sorted(scored, key=lambda summary: summary.mean_bits or 0.0)
    parts = []
    for index, summary in enumerate(scored):
        score = f"{summary.mean_bits:.3f}"
        if index == 0:
            score = f"reaches {kind}{score} bits per {comparison.unit} of held-out text"
        details = [] if is_matched or many else [f"{count_range(*summary.parameters)} parameters"]
        if not many:
            details.append(_seeds(summary))
        details += incomplete_runs(summary)
        parts.append(f"{visible(summary.name)} {score}" + (f" ({'; '.join(details)})" if details else ""))
    start = f"At {_about(fewest, most)} parameters, " if is_matched else ""
    return [start + ", ".join(parts) + ".", *(_difference_sentence(d) for d in compared if not many)]


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


def _seeds(summary: ArmSummary) -> str:
    if len(summary.bits) < 2:
        return "one seed"
    return f"{len(summary.bits)} seeds, {summary.lowest_bits:.3f} to {summary.highest_bits:.3f}"


def _difference_sentence(d: Difference) -> str:
    text = f"Difference {visible(d.arm)} minus {visible(d.reference)}: {d.mean_bits:+.3f} bits"
    if d.interval_bits is None:
        return f"{text} ({d.reason})."
    low, high = d.interval_bits
    verdict = "" if d.excludes_zero else "; it includes zero, so these seeds show no difference"
    return f"{text} [95% interval {low:+.3f} to {high:+.3f}, {len(d.pairs)} seeds]{verdict}."
