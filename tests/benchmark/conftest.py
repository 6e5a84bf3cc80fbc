from __future__ import annotations

import pytest

from charlstm.benchmark import BASELINE, Key, Measurement, Result, Size
from charlstm.benchmark.round_robin import Speed


@pytest.fixture
def short_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """One run per turn, and tiny matrix products."""
    for name in ("TURN_SECONDS", "QUICK_TURN_SECONDS"):
        monkeypatch.setattr(f"charlstm.benchmark.plan.{name}", 0.0)
    monkeypatch.setattr("charlstm.benchmark.plan.MATMUL_SIZES", (8, 16))
    monkeypatch.setattr("charlstm.benchmark.environment.emulates_bfloat16", lambda: False)


def steady(speed: float) -> Speed:
    return Speed(speed, 0.9 * speed, 1.1 * speed)


@pytest.fixture(scope="module")
def example() -> Measurement:
    """A measurement with simple ratios."""
    results = [
        Result(Key("lstm", BASELINE, "float32"), steady(100.0), 20.0),
        Result(Key("lstm", BASELINE, "bfloat16"), steady(400.0), 20.0),
        Result(Key("lstm", "eager", "float32"), steady(150.0), 20.0),
        Result(Key("lstm", "cpp", "float32"), steady(200.0), 20.0),
        Result(Key("gru", "cpp", "float32"), steady(300.0), 10.0),
    ]
    peaks = {"float32": steady(8000.0), "bfloat16": steady(16000.0)}
    return Measurement("training", Size(1, 256, 32, 64), results, peaks, {Key("gru", "vendor", "float32"): "no"}, 5)
