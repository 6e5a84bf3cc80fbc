"""Which claims the quick form of a comparison has evidence for."""

from __future__ import annotations

import re
from typing import Any

from charlstm.config import MemoryConfig
from charlstm.config.claims import Claim
from charlstm.config.experiments.recall import GradientConfig, NetworksOfRecall

MIN_SEEDS = 5
"""With fewer seeds, a fraction of them says too little: 5 of 5 excludes less than 55%."""

_RECALL_USERS = {"gradient", "surgery", "gates"}
"""Experiments that measure networks of the recall experiment."""

_COMPARED_APART = {"name", "seeds", "first_seed", "learning_rates", "arms", "experiments", "revised", "quick"}


def has_evidence(quick: MemoryConfig, full: MemoryConfig, experiment: str, claim: Claim) -> bool:
    """Whether the quick form tests a claim as the full one does: with the same settings, budget, learning rates and
    arms, and with at least five seeds. Only the number of seeds, arms and lengths that the claim does not need differ.
    """
    if quick.seeds < min(MIN_SEEDS, full.seeds) or _settings(quick, claim.arm) != _settings(full, claim.arm):
        return False
    if _shared(quick) != _shared(full):
        return False
    names = [experiment]
    names += ["recall"] if experiment in _RECALL_USERS else []
    return all(_same_experiment(quick, full, name, claim, is_tested=name == experiment) for name in names)


def _shared(config: MemoryConfig) -> dict[str, Any]:
    return config.model_dump(mode="json", exclude=_COMPARED_APART)


def _same_experiment(quick: MemoryConfig, full: MemoryConfig, name: str, claim: Claim, is_tested: bool) -> bool:
    sections = [config.experiments.present().get(name) for config in (quick, full)]
    if None in sections:
        return sections[0] is sections[1]
    if quick.rates(name) != full.rates(name):
        return False
    short, complete = (_fields(config, name) for config in (quick, full))
    for field in complete.keys() - {"claims", "learning_rates"}:
        if field.startswith("mixed") and not claim.metric.startswith("mixed"):
            continue  # runs with distractors do not change those without
        if field.endswith("arms"):
            is_in_full = claim.arm in _names(full, complete[field])
            if (claim.arm in _names(quick, short[field])) != is_in_full:
                return False
            sets_size = field == "arms" or is_in_full
            if sets_size and not _same_first(quick, full, short[field], complete[field]):
                return False
        elif short[field] != complete[field]:
            lengths = re.findall(r"\d+", claim.metric) if is_tested else None
            if not _is_enough(short[field], complete[field], lengths):
                return False
    return True


def _fields(config: MemoryConfig, name: str) -> dict[str, Any]:
    """The fields of an experiment, with those that recall gives."""
    section, recall = config.experiments.present()[name], config.experiments.recall
    fields = section.model_dump(mode="json")
    if recall and isinstance(section, NetworksOfRecall):
        fields["lag"] = section.lag_of(recall)
    if recall and isinstance(section, GradientConfig):
        fields["depth"] = section.depth_of(recall)
    return fields


def _names(config: MemoryConfig, arms: list[str]) -> set[str]:
    """The arms of a list, and their initializations."""
    return {*arms, *config.trained(arms)}


def _settings(config: MemoryConfig, arm: str) -> object:
    """The settings of an arm, or of the arm that an initialization belongs to; None if there is none."""
    return next((settings for name, settings in config.arms.items() if arm in _names(config, [name])), None)


def _same_first(quick: MemoryConfig, full: MemoryConfig, short: list[str], complete: list[str]) -> bool:
    """Whether the first arm that is trained of a list, whose size the others match, is the same."""
    first = full.trained(complete)[:1]
    return quick.trained(short)[:1] == first and all(_settings(quick, arm) == _settings(full, arm) for arm in first)


def _is_enough(short: object, complete: object, lengths: list[str] | None) -> bool:
    """Whether a shorter list of lags or lengths has all that the claim is about, at least one; None for any."""
    if not (isinstance(short, list) and isinstance(complete, list) and all(value in complete for value in short)):
        return False
    if lengths is None:
        return True
    needed = [value for value in complete if str(value) in lengths]
    return bool(needed) and all(value in short for value in needed)
