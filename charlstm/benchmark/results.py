"""What was found, set side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from charlstm.benchmark.candidates import BASELINE, VOCABULARY, Key, Size
from charlstm.benchmark.round_robin import Speed

What = Literal["training", "sampling"]


@dataclass(frozen=True)
class Result:
    """Characters per second of one contender, and the multiply-adds that a character asks of its cell."""

    key: Key
    speed: Speed
    multiply_adds: float


@dataclass(frozen=True)
class Measurement:
    """All contenders of one size.

    peaks     multiply-adds per second of torch.mm, by precision, measured by turns with the contenders
    left_out  why some were not measured
    notes     what the figures do not say by themselves
    """

    what: What
    size: Size
    results: list[Result]
    peaks: dict[str, Speed]
    left_out: dict[Key, str]
    rounds: int
    notes: Sequence[str] = ()

    @property
    def title(self) -> str:
        """``training 1x256,32,64``."""
        return title(self.what, self.size)

    def base(self, precision: str) -> Result | None:
        """torch.nn.LSTM in this precision."""
        return next((r for r in self.results if r.key == Key("lstm", BASELINE, precision)), None)

    def ratio(self, result: Result, precision: str) -> float | None:
        """How many times as fast as torch.nn.LSTM in this precision; None where that was not measured."""
        base = self.base(precision)
        return None if base is None else result.speed.median / base.speed.median

    def share_of_peak(self, result: Result) -> float | None:
        """Multiply-adds a second (:mod:`charlstm.model.multiply_adds`) over those of torch.mm in the same precision."""
        peak = self.peaks.get(result.key.precision)
        return None if peak is None else result.speed.median * result.multiply_adds / peak.median

    def work_to_own_lstm(self, result: Result) -> float | None:
        """Multiply-adds per second over those of our LSTM: of its fastest executor in the same precision.

        None where our LSTM was not measured.
        """
        own = [
            r.speed.median * r.multiply_adds
            for r in self.results
            if (r.key.cell, r.key.precision) == ("lstm", result.key.precision) and r.key.executor != BASELINE
        ]
        return result.speed.median * result.multiply_adds / max(own) if own else None

    def to_json(self) -> dict[str, Any]:
        """All of it; every ratio is of medians."""
        return {
            "what": self.what,
            "layers": self.size.layers,
            "units": self.size.units,
            "batch": self.size.batch,
            "steps" if self.what == "training" else "characters": self.size.steps,
            "vocabulary_size": VOCABULARY,
            "rounds": self.rounds,
            "notes": [*self.notes],
            "peak_multiply_adds_per_second": {name: _spread(speed) for name, speed in self.peaks.items()},
            "results": [
                {
                    **r.key._asdict(),
                    "characters_per_second": _spread(r.speed),
                    "to_nn_lstm_float32": self.ratio(r, "float32"),
                    "to_nn_lstm_bfloat16": self.ratio(r, "bfloat16"),
                    "multiply_adds_per_character": r.multiply_adds,
                    "share_of_peak": self.share_of_peak(r),
                    "multiply_adds_per_second_to_own_lstm": self.work_to_own_lstm(r),
                }
                for r in self.results
            ],
            "left_out": [{**key._asdict(), "reason": reason} for key, reason in self.left_out.items()],
        }


def title(what: What, size: Size) -> str:
    """``training 1x256,32,64``, ``sampling 1x256, 64 texts side by side``."""
    if what == "training":
        return f"training {size}"
    return f"sampling {size.net}, {'one text' if size.batch == 1 else f'{size.batch} texts side by side'}"


def _spread(speed: Speed) -> dict[str, float]:
    return {"median": speed.median, "lowest": speed.lowest, "highest": speed.highest}
