"""Synthetic runs whose statistics are easy to compute by hand."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from charlstm.comparison.results import Arm, Comparison, Evaluation, RunResult

MakeRun = Callable[..., RunResult]


@pytest.fixture
def make_run() -> MakeRun:
    """Create a run that reaches `bits` in three evaluations, at 1,000 characters per second."""

    def make(bits: float | None, seed: int = 1, name: str = "run", rise: float = 0.0, **changes: object) -> RunResult:
        scores = [] if bits is None else [bits + 1.0, bits, bits + rise]
        evaluations = [Evaluation(10 * k, 1000 * k, 1.0 * k, score * math.log(2)) for k, score in enumerate(scores, 1)]
        fields: dict[str, object] = {
            "name": name,
            "seed": seed,
            "parameters": 1000,
            "settings": {"cell": name, "hidden_size": 8},
            "evaluations": evaluations,
            "train": [(1000 * k, 1.0 * k, 2.0 / k) for k in (1, 2, 3)],
            "characters_per_second": 1000.0,
            "seconds": 3.0,
            "sample": "to be or",
            "finished": True,
            "causal": True,
        }
        return RunResult(**(fields | changes))  # type: ignore[arg-type]

    return make


@pytest.fixture
def comparison(make_run: MakeRun) -> Comparison:
    """lstm at 2.0, 2.1, 2.2 bits; rnn 0.3, 0.2, 0.4 above it."""
    lstm = Arm("lstm", [make_run(b, s, "lstm") for s, b in ((1, 2.0), (2, 2.1), (3, 2.2))])
    rnn = Arm("rnn", [make_run(b, s, "rnn") for s, b in ((1, 2.3), (2, 2.3), (3, 2.6))])
    return Comparison(
        title="rnn against lstm",
        arms=[lstm, rnn],
        corpus="a text, 90% to train on, 10% held out",
        difference=["lstm: cell lstm", "rnn: cell rnn"],
        match="parameters, within 1%",
        notes=["a remark"],
    )
