"""Results of a benchmark, as ratios and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from charlstm.benchmark.candidates import BASELINE, TORCH, Key
from charlstm.benchmark.networks import VOCABULARY, Size
from charlstm.benchmark.round_robin import Speed

Workload = Literal["training", "sampling"]


@dataclass(frozen=True)
class Result:
    """Speed of one candidate in characters per second, and the multiply-adds per character of its cell."""

    key: Key
    speed: Speed
    multiply_adds: float


@dataclass(frozen=True)
class Measurement:
    """All candidates of one size.

    peaks     multiply-adds per second of torch.mm, by precision, measured in the same rounds as the candidates
    left_out  the reason of every candidate that was not measured
    notes     how to read the results
    """

    workload: Workload
    size: Size
    results: list[Result]
    peaks: dict[str, Speed]
    left_out: dict[Key, str]
    rounds: int
    notes: Sequence[str] = ()

    @property
    def title(self) -> str:
        """``training 1x256,32,64``."""
        return title(self.workload, self.size)

    def baseline(self, precision: str) -> Result | None:
        """torch.nn.LSTM in this precision."""
        return next((r for r in self.results if r.key == Key("lstm", BASELINE, precision)), None)

    def ratio(self, result: Result, precision: str) -> float | None:
        """Speed as a ratio to torch.nn.LSTM in this precision; None if that was not measured."""
        baseline = self.baseline(precision)
        return None if baseline is None else result.speed.median / baseline.speed.median

    def utilization(self, result: Result) -> float | None:
        """Multiply-adds per second (:mod:`charlstm.model.multiply_adds`) over those of torch.mm in the same precision:
        model FLOPs utilization (MFU) with a measured peak. None if that was not measured."""
        peak = self.peaks.get(result.key.precision)
        return None if peak is None else result.speed.median * result.multiply_adds / peak.median

    def ratio_to_fastest_lstm(self, result: Result) -> float | None:
        """Multiply-adds per second over those of charlstm's LSTM with its fastest executor in the same precision.

        None if that was not measured.
        """
        lstm = [
            r.speed.median * r.multiply_adds
            for r in self.results
            if (r.key.cell, r.key.precision) == ("lstm", result.key.precision) and r.key.executor not in TORCH
        ]
        return result.speed.median * result.multiply_adds / max(lstm) if lstm else None

    def to_json(self) -> dict[str, Any]:
        """All results; ratios are those of medians."""
        return {
            "workload": self.workload,
            "layers": self.size.layers,
            "hidden_size": self.size.hidden_size,
            "batch": self.size.batch,
            "steps" if self.workload == "training" else "characters": self.size.steps,
            "vocabulary_size": VOCABULARY,
            "rounds": self.rounds,
            "notes": [*self.notes],
            "peak_multiply_adds_per_second": {name: _spread(speed) for name, speed in self.peaks.items()},
            "results": [
                {
                    **r.key._asdict(),
                    "characters_per_second": _spread(r.speed),
                    "ratio_to_nn_lstm_float32": self.ratio(r, "float32"),
                    "ratio_to_nn_lstm_bfloat16": self.ratio(r, "bfloat16"),
                    "multiply_adds_per_character": r.multiply_adds,
                    "utilization": self.utilization(r),
                    "multiply_adds_ratio_to_fastest_lstm": self.ratio_to_fastest_lstm(r),
                }
                for r in self.results
            ],
            "left_out": [{**key._asdict(), "reason": reason} for key, reason in self.left_out.items()],
        }


def title(workload: Workload, size: Size) -> str:
    """``training 1x256,32,64``, ``sampling 1x256, 64 texts in parallel``."""
    if workload == "training":
        return f"training {size}"
    return f"sampling {size.net}, {'one text' if size.batch == 1 else f'{size.batch} texts in parallel'}"


def _spread(speed: Speed) -> dict[str, float]:
    return {"median": speed.median, "lowest": speed.lowest, "highest": speed.highest}
