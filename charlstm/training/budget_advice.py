"""Advice on the budget of a run: how much of the text it reads, which limit ended it, and how to train longer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from charlstm.config import BudgetConfig, TrainingConfig, as_yaml

FEW_EPOCHS = 0.5
"""Fewer passes over the training text than this are worth a hint."""
NEARLY, MOSTLY = 0.99, 0.9
"""The used fractions at which a limit of the budget counts as reached, and at which too little of it is left to train
longer."""
SMALL_GAIN, NOISE = 0.01, 2
"""Nats by which a score that still improves is better than the best before, and standard errors of the score."""
LAST_GAINS = 3
"""Evaluations at the end by each of which, on average, the score improves beyond that unless it has flattened out."""


@dataclass(frozen=True)
class UsedBudget:
    """What a run has used of each limit of its budget."""

    steps: float
    epochs: float
    minutes: float

    @classmethod
    def of(cls, records: Sequence[Mapping[str, Any]]) -> UsedBudget:
        """That of the run with these records of metrics.jsonl."""
        last = next((record for record in reversed(records) if record["kind"] == "train"), records[-1])
        return cls(last["step"], last.get("epoch", 0), last.get("seconds", 0) / 60)

    def reached(self, budget: BudgetConfig) -> dict[str, float]:
        """The limits, by name, that the run has reached."""
        return {name: limit for name, limit in _limits(budget).items() if getattr(self, name) >= NEARLY * limit}

    def minutes_needed(self, budget: BudgetConfig) -> float | None:
        """The minutes in which the run would reach its first limit in steps or epochs, if its minutes ended it."""
        limits, reached = _limits(budget), self.reached(budget)
        used = [getattr(self, name) / limit for name, limit in limits.items() if name != "minutes"]
        if not (used and 0 < max(used) < MOSTLY and "minutes" in reached):
            return None
        minutes = max(self.minutes, reached["minutes"]) / max(used)
        unit = 10 ** (math.floor(math.log10(minutes)) - 1)
        return float(f"{math.ceil(minutes / unit + 0.1) * unit:.2g}")  # two digits, at least 0.1% more


@dataclass(frozen=True)
class LongerTraining:
    """A hint after a run that its budget ended: one sentence, and the options with which to resume it, if that is
    likely to help."""

    sentence: str
    options: list[str]


def planned_budget_advice(training: TrainingConfig, steps_per_epoch: int) -> str:
    """One sentence if a limit in steps or epochs is a fraction of an epoch, else ""."""
    limits = _limits(training.budget)
    epochs = {
        name: limit / (steps_per_epoch if name == "steps" else 1) for name, limit in limits.items() if name != "minutes"
    }
    if not epochs or min(epochs.values()) >= FEW_EPOCHS:
        return ""
    name = min(epochs, key=lambda name: epochs[name])
    return (
        f"{_unread(epochs[name])}: one epoch is {steps_per_epoch:,} steps; raise training.budget.{name} to read more "
        "of it"
    )


def used_budget_advice(training: TrainingConfig, used: UsedBudget) -> str:
    """One sentence if a limit in minutes ended the run after a fraction of an epoch, else ""."""
    if "minutes" not in used.reached(training.budget) or used.epochs >= FEW_EPOCHS:
        return ""
    return f"{_unread(used.epochs)}; raise training.budget.minutes, or train a smaller network, to read more of it"


def longer_training(training: TrainingConfig, records: Sequence[Mapping[str, Any]]) -> LongerTraining | None:
    """The hint after a run if its minutes ended it before the steps or epochs that it was given too, or if its held-out
    score still improves beyond chance at the end; None if neither."""
    used, budget = UsedBudget.of(records), training.budget
    if records[-1].get("stop_reason") != "budget":
        return None
    scores = [record for record in records if record["kind"] == "evaluation" and record["nats"] is not None]
    is_improving = _is_improving(scores)
    options = longer_options(training, records)
    if used.minutes_needed(budget) is not None and used.epochs >= FEW_EPOCHS:
        name, unit = ("epochs", ".3g") if budget.epochs is not None else ("steps", ",")
        part = f"{getattr(used, name):{unit}} of {getattr(budget, name):{unit}} {name}"
        best = ", where the held-out score was best" if is_improving else ""
        return LongerTraining(
            f"stopped by training.budget.minutes at {part}{best}", options if is_improving or not scores else []
        )
    if not is_improving:
        return None
    return LongerTraining("the held-out score was best at the end: longer training may improve it", options)


def longer_options(training: TrainingConfig, records: Sequence[Mapping[str, Any]]) -> list[str]:
    """The options with which a run that has finished trains on: without the rule that ended it, in the minutes that
    its steps or epochs need, or else about twice as long."""
    ended = next((record["stop_reason"] for record in reversed(records) if record["kind"] == "end"), None)
    if ended == "early_stopping":
        return ["--set", "training.early_stopping=null"]
    if ended == "target_reached":
        return ["--set", "training.budget.target_nats=null"]
    used, budget = UsedBudget.of(records), training.budget
    if (minutes := used.minutes_needed(budget)) is not None:
        return ["--minutes", f"{minutes:g}"]
    limits, reached = _limits(budget), used.reached(budget)
    # What is nearly used by then is raised too: a resumed run may be slower.
    binding = {name: n for name, n in limits.items() if not reached or 2 * getattr(used, name) >= MOSTLY * n}
    changes = (f"training.budget.{name}={as_yaml(2 * limit)}" for name, limit in binding.items())
    return [word for change in changes for word in ("--set", change)]


def _is_improving(evaluations: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the last score is better than the best before, by more than chance, and the scores have not flattened
    out."""
    if len(evaluations) < 2:
        return False
    scores: list[float] = [record["nats"] for record in evaluations]
    noise: float = max(SMALL_GAIN, NOISE * (evaluations[-1].get("nats_standard_error") or 0.0))
    count = min(LAST_GAINS, len(scores) - 1)
    return min(min(scores[:-1]) - scores[-1], (min(scores[:-count]) - scores[-1]) / count) >= noise


def _limits(budget: BudgetConfig) -> dict[str, float]:
    """The limits that are set, by name."""
    return {name: limit for name in ("steps", "epochs", "minutes") if (limit := getattr(budget, name)) is not None}


def _unread(epochs: float) -> str:
    return f"the budget is {epochs:.2g} epochs: {1 - epochs:.0%} of the training text is not read"
