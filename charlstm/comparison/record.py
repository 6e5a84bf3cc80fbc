"""The JSON record of a comparison, for report.json, with units in the key names."""

from __future__ import annotations

import math
from typing import Any

from charlstm.comparison.results import Comparison, RunResult
from charlstm.comparison.statistics import Difference, differences, final_training_nats, summarize
from charlstm.units import bits

FORMAT = 1


def as_record(comparison: Comparison) -> dict[str, Any]:
    """All measurements and statistics in JSON types, except that numbers may not be finite."""
    unit = comparison.unit
    return {
        "format": FORMAT,
        "title": comparison.title,
        "corpus": comparison.corpus,
        "match": comparison.match,
        "difference": list(comparison.difference),
        "notes": list(comparison.notes),
        "unit": unit,
        "compared": list(comparison.compared),
        "arms": [{"name": arm.name, "runs": [_run_record(run, unit) for run in arm.runs]} for arm in comparison.arms],
        "statistics": {
            "likelihood": _statistics(comparison.restrict(causal=True)),
            "pseudo_likelihood": _statistics(comparison.restrict(causal=False)),
        },
    }


def _run_record(run: RunResult, unit: str) -> dict[str, Any]:
    best, last = run.best, final_training_nats(run)
    return {
        "name": run.name,
        "seed": run.seed,
        "parameters": run.parameters,
        "settings": {key: to_json(value) for key, value in run.settings.items()},
        "finished": run.finished,
        "diverged": run.diverged,
        "causal": run.causal,
        f"best_held_out_nats_per_{unit}": None if best is None else best.nats,
        f"best_held_out_bits_per_{unit}": None if best is None else best.bits,
        f"best_after_{unit}s": None if best is None else best.characters,
        "best_is_of_a_sample": run.has_sampled_score,
        "evaluations_score_a_sample": run.samples,
        f"training_split_bits_per_{unit}": run.training_split_bits,
        f"last_tenth_training_bits_per_{unit}": None if last is None else bits(last),
        f"{unit}s_per_second": run.characters_per_second,
        "training_seconds": run.seconds,
        "evaluations": [
            {
                "step": evaluation.step,
                f"{unit}s": evaluation.characters,
                "training_seconds": evaluation.seconds,
                f"held_out_nats_per_{unit}": evaluation.nats,
                f"held_out_bits_per_{unit}": evaluation.bits,
                f"training_split_bits_per_{unit}": evaluation.training_split_bits,
            }
            for evaluation in run.evaluations
        ],
        "training": [
            {
                f"{unit}s": characters,
                "training_seconds": seconds,
                f"training_nats_per_{unit}": nats,
            }
            for characters, seconds, nats in run.train
        ],
        "sample": run.sample,
    }


def _statistics(comparison: Comparison) -> dict[str, Any]:
    unit = comparison.unit
    arms = []
    for arm in comparison.arms:
        summary = summarize(arm)
        arms.append(
            {
                "arm": summary.name,
                "seeds": list(summary.seeds),
                "runs_without_score": summary.unscored,
                "runs_unfinished": summary.unfinished,
                "runs_diverged": summary.diverged,
                "parameters_fewest": summary.parameters[0],
                "parameters_most": summary.parameters[1],
                f"mean_held_out_bits_per_{unit}": summary.mean_bits,
                f"lowest_held_out_bits_per_{unit}": summary.lowest_bits,
                f"highest_held_out_bits_per_{unit}": summary.highest_bits,
                f"standard_deviation_held_out_bits_per_{unit}": summary.deviation_bits,
                f"median_{unit}s_per_second": summary.characters_per_second,
                "median_training_seconds": summary.seconds,
            }
        )
    return {"arms": arms, "differences": [_difference_record(d, unit) for d in differences(comparison)]}


def _difference_record(difference: Difference, unit: str) -> dict[str, Any]:
    return {
        "arm": difference.arm,
        "minus": difference.reference,
        f"mean_difference_bits_per_{unit}": difference.mean_bits,
        f"interval_95_percent_bits_per_{unit}": (
            None if difference.interval_bits is None else list(difference.interval_bits)
        ),
        "no_interval_because": difference.reason or None,
        "pairs": [{"seed": seed, f"difference_bits_per_{unit}": value} for seed, value in difference.pairs],
    }


def to_json(value: object) -> object:
    """A setting in JSON types; a value that JSON cannot represent becomes its string."""
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, dict):
        return {str(key): to_json(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(entry) for entry in value]
    return str(value)
