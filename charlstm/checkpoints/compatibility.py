"""Which settings may change when a run is resumed."""

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
    "keep_checkpoints",
}


def changed_settings(old: Config, new: Config, may_change: Collection[str] = MAY_CHANGE_ON_RESUME) -> list[str]:
    """One line for each setting of corpus, model and training that has changed but must not."""
    changed = _changed(old, new, ("corpus", "model", "training"), may_change)
    return [f"{name} was {as_yaml(was)}, is {as_yaml(is_)}" for name, was, is_ in changed]


def check_same_model(path: Path, saved: Config, run: Config, config_file: Path) -> None:
    """Raises UserError if model or corpus of a checkpoint's configuration differ from those of its run.

    Args:
        path: the checkpoint.
        saved: the configuration in the checkpoint.
        run: the configuration of the run.
        config_file: the file of ``run``, for the message.
    """
    changed = _changed(saved, run, ("model", "corpus"), MAY_CHANGE_ON_RESUME | {"executor"})
    if changed:
        name, was, is_ = changed[0]
        raise UserError(
            f"{path}: this checkpoint belongs to another run: {name} is {as_yaml(was)} in it and {as_yaml(is_)} in "
            f"{config_file}. Restore the checkpoint of this run, or move this one to another folder"
        )


def _changed(
    old: Config, new: Config, sections: tuple[str, ...], may_change: Collection[str]
) -> list[tuple[str, Any, Any]]:
    before, now = old.model_dump(), new.model_dump()
    dependent = CONDITIONAL_OPTIONS | {"unigram_bias"} if old.model.cell != new.model.cell else frozenset()
    return [
        (f"{section}.{field}", before[section][field], value)
        for section in sections
        for field, value in now[section].items()
        if field not in may_change
        and field not in dependent  # these options, or their defaults, belong to their cell
        and before[section].get(field, value) != value
    ]


def differences(header: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """One line for each difference of device, threads, processes, versions or executors from a checkpoint's header."""
    before = {"processes": 1, **header}
    return [
        f"{name} was {before[name]}, is {now[name]}: results will differ in rounding"
        for name in ("device", "threads", "processes", "versions", "executors")
        if before[name] != now[name]
    ]
