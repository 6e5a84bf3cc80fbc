"""What is said about the budget before and after a run: what is not read, what ended it, and how to train longer."""

from __future__ import annotations

from typing import Any

import pytest

from charlstm.config import BudgetConfig, Config, TrainingConfig
from charlstm.training.advice import ending_advice
from charlstm.training.budget_advice import (
    UsedBudget,
    longer_options,
    longer_training,
    planned_budget_advice,
    used_budget_advice,
)
from charlstm.training.events import Ended

UNREAD = "the budget is 0.1 epochs: 90% of the training text is not read"


def training(**budget: float) -> TrainingConfig:
    return TrainingConfig(budget=BudgetConfig(**budget))


def run(
    scores: list[float | None], *, epochs: float, minutes: float, reason: str = "budget", error: float | None = None
) -> list[Any]:
    """The records of a run of 1,000 steps with these held-out scores, of this standard error."""
    evaluation = {"kind": "evaluation", "step": 1000, "epoch": epochs, "nats_standard_error": error}
    evaluations = [evaluation | {"nats": nats} for nats in scores]
    last = {"kind": "train", "step": 1000, "epoch": epochs, "seconds": 60 * minutes}
    return [last, *evaluations, {"kind": "end", "step": 1000, "stop_reason": reason, "seconds": 60 * minutes}]


@pytest.mark.parametrize(
    ("budget", "planned"),
    [
        ({"steps": 100}, f"{UNREAD}: one epoch is 1,000 steps; raise training.budget.steps to"),
        ({"steps": 100, "minutes": 1}, f"{UNREAD}: one epoch is 1,000 steps; raise training.budget.steps to"),
        ({"steps": 900, "epochs": 0.2}, "the budget is 0.2 epochs: 80% of the training text is not read: one epoch"),
        ({"epochs": 0.5}, ""),
        ({"steps": 600}, ""),
        ({"minutes": 1}, ""),
    ],
    ids=str,
)
def test_planned_fraction_of_an_epoch_gets_a_hint(budget, planned):
    advice = planned_budget_advice(training(**budget), 1000)
    assert advice.startswith(planned)
    assert bool(advice) == bool(planned)


@pytest.mark.parametrize(
    ("budget", "epochs", "minutes", "is_hinted"),
    [
        ({"minutes": 1}, 0.1, 1.001, True),
        ({"minutes": 1, "epochs": 5}, 0.1, 1.001, True),
        ({"minutes": 1}, 0.6, 1.001, False),
        ({"minutes": 1, "steps": 1000}, 0.1, 0.3, False),
        ({"steps": 1000}, 0.1, 0.3, False),
    ],
    ids=str,
)
def test_minutes_that_ended_a_run_within_an_epoch_get_a_hint(budget, epochs, minutes, is_hinted):
    advice = used_budget_advice(training(**budget), UsedBudget(1000, epochs, minutes))
    assert advice.startswith(f"{UNREAD}; raise training.budget.minutes, or" if is_hinted else "")
    assert bool(advice) == is_hinted


IMPROVING, WORSE = [2.0, 1.9, 1.8], [2.0, 1.8, 1.9]
BEST = "the held-out score was best at the end: longer training may improve it"
CUT = "stopped by training.budget.minutes at 12.7 of 20 epochs"


@pytest.mark.parametrize(
    ("budget", "records", "sentence", "options"),
    [
        ({"epochs": 2}, run(IMPROVING, epochs=2, minutes=1), BEST, "--set training.budget.epochs=4.0"),
        ({"steps": 1000}, run(IMPROVING, epochs=2, minutes=1), BEST, "--set training.budget.steps=2000"),
        ({"minutes": 3}, run(IMPROVING, epochs=2, minutes=3.001), BEST, "--set training.budget.minutes=6.0"),
        ({"epochs": 2}, run(WORSE, epochs=2, minutes=1), None, ""),
        ({"epochs": 2}, run([1.8], epochs=2, minutes=1), None, ""),
        ({"epochs": 2}, run([None, None], epochs=2, minutes=1), None, ""),
        ({"epochs": 2}, run(IMPROVING, epochs=1, minutes=1, reason="stopped"), None, ""),
        ({"epochs": 2}, run(IMPROVING, epochs=1, minutes=1, reason="target_reached"), None, ""),
        (
            {"epochs": 20, "minutes": 6},
            run(IMPROVING, epochs=12.7, minutes=6.001),
            f"{CUT}, where the held-out score was best",
            "--minutes 9.5",
        ),
        ({"epochs": 20, "minutes": 6}, run(WORSE, epochs=12.7, minutes=6.001), CUT, ""),
        ({"epochs": 20, "minutes": 6}, run([None], epochs=12.7, minutes=6.001), CUT, "--minutes 9.5"),
        (
            {"steps": 4000, "minutes": 0.2},
            run([None], epochs=2, minutes=0.2),
            "stopped by training.budget.minutes at 1,000 of 4,000 steps",
            "--minutes 0.81",
        ),
        (
            {"epochs": 20, "minutes": 3},
            run(IMPROVING, epochs=19.9, minutes=3.001),
            BEST,
            "--set training.budget.epochs=40.0 --set training.budget.minutes=6.0",
        ),
        ({"epochs": 4, "minutes": 3}, run(IMPROVING, epochs=0.3, minutes=3.0), BEST, "--minutes 41"),
        (
            {"epochs": 12, "minutes": 3},
            run(IMPROVING, epochs=12, minutes=2.9),
            BEST,
            "--set training.budget.epochs=24.0 --set training.budget.minutes=6.0",
        ),
        (
            {"epochs": 12, "minutes": 3},
            run(IMPROVING, epochs=11.8, minutes=3.001),
            BEST,
            "--set training.budget.epochs=24.0 --set training.budget.minutes=6.0",
        ),
        (
            {"steps": 1000, "epochs": 12, "minutes": 30},
            run(IMPROVING, epochs=5.9, minutes=10),
            BEST,
            "--set training.budget.steps=2000 --set training.budget.epochs=24.0",
        ),
    ],
)
def test_run_that_its_budget_ended_gets_the_hint_to_train_longer(budget, records, sentence, options):
    longer = longer_training(training(**budget), records)
    assert (None if longer is None else longer.sentence) == sentence
    if longer is not None:
        assert " ".join(longer.options) == options


@pytest.mark.parametrize(
    ("scores", "error", "is_hinted"),
    [
        ([2.0, 1.5, 1.495], None, False),
        ([2.0, 1.5, 1.48], None, True),
        ([2.0, 1.5, 1.48], 0.0, True),
        ([2.0, 1.5, 1.48], 0.009, True),
        ([2.0, 1.5, 1.48], 0.011, False),
        ([2.0, 1.5, 1.4, 1.399, 1.398, 1.385], None, False),
        ([2.0, 1.5, 1.4, 1.42, 1.41, 1.385], None, False),
        ([2.0, 1.5, 1.4, 1.37, 1.35, 1.335], None, True),
    ],
    ids=str,
)
def test_only_a_score_that_still_improves_beyond_chance_gets_the_hint(scores, error, is_hinted):
    longer = longer_training(training(epochs=2), run(scores, epochs=2, minutes=1, error=error))
    assert (None if longer is None else longer.sentence) == (BEST if is_hinted else None)


def test_minutes_that_are_proposed_suffice():
    for epochs in (0.123, 1.0, 7.7, 17.7):
        records = run([None], epochs=epochs, minutes=3.0)
        _, minutes = longer_options(training(epochs=20, minutes=3), records)
        assert 1 < float(minutes) / (3 * 20 / epochs) < 1.12


@pytest.mark.parametrize(("reason", "is_given"), [("budget", True), ("diverged", False)])
def test_gap_advice_comes_last_and_not_after_a_divergence(reason, is_given):
    config = Config.model_validate({"corpus": {"source": "a.txt"}})
    records = [
        record | ({"training_split_nats": 1.0, "epoch": 9.0} if record["kind"] == "evaluation" else {})
        for record in run(IMPROVING, epochs=9, minutes=1, reason=reason)
    ]
    lines = ending_advice(config, Ended(reason, 1000, 1.8, 1000, 60, 10_000), 10_000, records)
    assert [line.partition(":")[0] for line in lines] == (["the network learns by heart"] if is_given else [])
