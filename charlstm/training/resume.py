"""What may change between a run's beginning and its going on."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from charlstm.config import Config, as_yaml
from charlstm.config.options import CONDITIONAL_OPTIONS

MAY_CHANGE_ON_RESUME = {
    "source",
    "budget",
    "learning_rate",
    "clip_grad_norm",
    "evaluate_every",
    "sample_length",
    "early_stopping",
    "device",
}


def changed_settings(old: Config, new: Config, may_change: Collection[str] = MAY_CHANGE_ON_RESUME) -> list[str]:
    """One line for each setting of corpus, model and training that has changed and may not."""
    before, now = old.model_dump(), new.model_dump()
    follows = CONDITIONAL_OPTIONS if old.model.cell != new.model.cell else frozenset()
    return [
        f"{section}.{field} was {as_yaml(before[section][field])}, is {as_yaml(value)}"
        for section in ("corpus", "model", "training")
        for field, value in now[section].items()
        if field not in may_change
        and field not in follows  # what an option of a cell means, the cell says
        and before[section].get(field, value) != value
    ]


def differences(header: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """One line for each fact of what a run runs on that is another than in the checkpoint's header."""
    before = {"processes": 1, **header}
    return [
        f"{name} was {before[name]}, is {now[name]}: results will differ in rounding"
        for name in ("device", "threads", "processes", "versions", "executors")
        if before[name] != now[name]
    ]
