"""What may change between a run's beginning and its going on."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from charlstm.config import Config, as_yaml
from charlstm.config.options import CONDITIONAL_OPTIONS
from charlstm.errors import UserError

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
    changed = _changed(old, new, ("corpus", "model", "training"), may_change)
    return [f"{name} was {as_yaml(was)}, is {as_yaml(is_)}" for name, was, is_ in changed]


def check_same_model(path: Path, saved: Config, run: Config, place: Path) -> None:
    """Raises UserError if a checkpoint's configuration makes another model, or reads another text, than that of the
    run in which it lies.

    path: the checkpoint. place: the run's configuration, for the message.
    """
    changed = _changed(saved, run, ("model", "corpus"), MAY_CHANGE_ON_RESUME | {"executor"})
    if changed:
        name, was, is_ = changed[0]
        raise UserError(
            f"{path}: no checkpoint of this run: {name} is {as_yaml(was)} in it and {as_yaml(is_)} in {place}. Put "
            "back the run's own, or give the checkpoint a folder of its own"
        )


def _changed(
    old: Config, new: Config, sections: tuple[str, ...], may_change: Collection[str]
) -> list[tuple[str, Any, Any]]:
    before, now = old.model_dump(), new.model_dump()
    follows = CONDITIONAL_OPTIONS if old.model.cell != new.model.cell else frozenset()
    return [
        (f"{section}.{field}", before[section][field], value)
        for section in sections
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
