"""The tables of a comparison, as rows of plain strings."""

from __future__ import annotations

from collections.abc import Sequence

from charlstm.comparison.record import to_json
from charlstm.comparison.results import Comparison, RunResult
from charlstm.comparison.statistics import ArmSummary, Difference, differences, final_training_nats, summarize
from charlstm.config import as_yaml
from charlstm.report.document import Table, Verdict, VerdictWord
from charlstm.text.visible import visible
from charlstm.units import bits

PSEUDO = "pseudo-likelihood"
BOUNDS = "one-sided 95% bounds"
"""The header of bounds that decide a claim; together they are a 90% interval."""
UNTESTED: dict[VerdictWord, tuple[str, str]] = {
    "needs the full run": ("needs the full run", "need the full run"),
    "not run": ("was not run", "were not run"),
}
"""Why a claim has no verdict, of one claim and of several."""


def summary_table(comparison: Comparison, causal: bool = True) -> list[list[str]]:
    """The results as rows of plain strings, header first; empty if there is no such run.

    Likelihoods and pseudo-likelihoods are never in one table: `causal=False` gives the latter.
    """
    part = comparison.restrict(causal)
    if not part.arms:
        return []
    unit, kind = part.unit, "" if causal else f"{PSEUDO}, "
    header = [
        "arm",
        f"{kind}held-out bits/{unit}",
        "over seeds",
        "parameters",
        f"{unit}s/s",
        "seconds",
        "seeds",
    ]
    compared = {d.arm: d for d in differences(part)}
    if compared:
        header.insert(3, f"minus {visible(part.arms[0].name)} [95%]")
    rows = []
    for arm in part.arms:
        summary = summarize(arm)
        row = [
            visible(summary.name),
            _score(summary.mean_bits),
            _spread(summary),
            count_range(*summary.parameters),
            _count(summary.characters_per_second),
            _count(summary.seconds),
            _seeds(summary),
        ]
        if compared:
            row.insert(3, _difference(compared[arm.name]) if arm.name in compared else "–")
        rows.append(row)
    return [header, *rows]


def results_table(comparison: Comparison, colors: dict[str, int], causal: bool = True) -> Table:
    header, *rows = summary_table(comparison, causal)
    return Table(header, rows, colors=[colors[arm.name] for arm in comparison.arms])


def runs_table(comparison: Comparison, colors: dict[str, int]) -> Table:
    unit = comparison.unit
    header = ["run", "seed", f"best bits/{unit}", f"best nats/{unit}", f"after {unit}s", f"last bits/{unit}"]
    header += [
        f"training split bits/{unit}",
        f"training bits/{unit}",
        f"{unit}s trained on",
        f"{unit}s/s",
        "seconds",
        "state",
    ]
    rows, row_colors = [], []
    for arm in comparison.arms:
        for run in arm.runs:
            rows.append(_run_row(run))
            row_colors.append(colors[arm.name])
    return Table(header, rows, caption="Every run", colors=row_colors, folded=True)


def _run_row(run: RunResult) -> list[str]:
    best, training = run.best, final_training_nats(run)
    return [
        visible(run.name),
        str(run.seed),
        _score(run.best_bits),
        _score(None if best is None else best.nats),
        _count(None if best is None else best.characters),
        _score(run.last_bits),
        _score(run.training_split_bits),
        _score(None if training is None else bits(training)),
        _count(run.characters),
        _count(run.characters_per_second),
        _count(run.seconds),
        state(run) + (", sample" if run.has_sampled_score else ""),
    ]


def state(run: RunResult) -> str:
    """How the training of a run stands."""
    if run.diverged:
        return "diverged"
    return "finished" if run.finished else "unfinished"


def settings_table(comparison: Comparison) -> Table:
    """One row per setting; those that differ between the arms come first."""
    names = list(dict.fromkeys(name for run in comparison.runs for name in run.settings))
    rows = []
    for name in names:
        cells = []
        for arm in comparison.arms:
            values = dict.fromkeys(_setting(run.settings[name]) for run in arm.runs if name in run.settings)
            cells.append(visible(", ".join(values)) or "–")
        rows.append([visible(name), *cells])
    rows.sort(key=lambda row: len(set(row[1:])) == 1)
    return Table(["setting", *(visible(arm.name) for arm in comparison.arms)], rows, caption="Settings", folded=True)


def _setting(value: object) -> str:
    return value if isinstance(value, str) else as_yaml(to_json(value))


def verdict_rows(verdicts: Sequence[Verdict]) -> list[list[str]]:
    """The claims that were tested, and whether they held, as rows of plain strings, header first; empty without one."""
    rows = [
        [v.claim, v.criterion, v.measured or "–", v.interval or v.reason or "–", v.word]
        for v in verdicts
        if v.is_judged
    ]
    if not rows:
        return []
    return [["claim", "criterion", "measured", BOUNDS, "verdict"], *(list(map(visible, row)) for row in rows)]


def untested_claims(verdicts: Sequence[Verdict]) -> list[str]:
    """How many claims were not tested, and why, a line for each reason."""
    lines = []
    for word, (one, several) in UNTESTED.items():
        count = sum(v.word == word for v in verdicts)
        more = " more" if len(verdicts) > count else ""
        lines += [f"{count}{more} claim{'s' if count > 1 else ''} {several if count > 1 else one}"] if count else []
    return lines


def _score(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _count(value: float | None) -> str:
    if value is None or value != value:
        return "–"
    return f"{value:.1f}" if 0 < abs(value) < 10 and value != int(value) else f"{value:,.0f}"


def count_range(low: int, high: int) -> str:
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _spread(summary: ArmSummary) -> str:
    if len(summary.bits) < 2:
        return "one seed" if summary.bits else "no score"
    return f"{summary.lowest_bits:.3f} to {summary.highest_bits:.3f}, sd {summary.deviation_bits:.3f}"


def _difference(d: Difference) -> str:
    if d.mean_bits is None:
        return "no shared seed"
    if d.interval_bits is None:
        return f"{d.mean_bits:+.3f} (no interval)"
    return f"{d.mean_bits:+.3f} [{d.interval_bits[0]:+.3f}, {d.interval_bits[1]:+.3f}]"


def _seeds(summary: ArmSummary) -> str:
    notes = incomplete_runs(summary)
    return str(len(summary.seeds)) + (f" ({', '.join(notes)})" if notes else "")


def incomplete_runs(summary: ArmSummary) -> list[str]:
    """How many runs of an arm are not complete, a text for each reason: ``1 diverged``."""
    counts = {"unfinished": summary.unfinished, "diverged": summary.diverged, "without score": summary.unscored}
    return [f"{count} {reason}" for reason, count in counts.items() if count]
