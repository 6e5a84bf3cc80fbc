"""Configuration files: YAML to validated, frozen models and back. The only user of yaml.

The dialect is YAML 1.2's core schema without anchors and tags: only ``true`` and ``false`` are booleans,
``1e-4`` is a number, ``1:30`` and ``010`` stay text. All problems are reported at once, each with its line.

Building all models takes longer than most refusals: a module is imported when one of its names is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from charlstm.config.compare import CompareConfig
    from charlstm.config.comparison_models import COMPARISON_MODELS
    from charlstm.config.comparisons import load_comparison
    from charlstm.config.corpus import CorpusConfig
    from charlstm.config.device import check_device_name
    from charlstm.config.document import Document
    from charlstm.config.dumping import as_yaml, dump_changes, dump_yaml
    from charlstm.config.fields import FieldDoc, describe_fields, json_schema
    from charlstm.config.memory import MemoryConfig
    from charlstm.config.options import CELL_OPTIONS
    from charlstm.config.reader import read_recorded, read_unchecked, read_yaml, with_former_defaults
    from charlstm.config.schema import Config, ModelConfig, ModelOptions
    from charlstm.config.sections import BudgetConfig
    from charlstm.config.sweep import SWEEP_MODELS, SweepConfig
    from charlstm.config.sweeps import load_sweep
    from charlstm.config.training import TrainingConfig
    from charlstm.config.validation import given_value, load_config, parse_config, validate

__all__ = [
    "CELL_OPTIONS",
    "COMPARISON_MODELS",
    "SWEEP_MODELS",
    "BudgetConfig",
    "CompareConfig",
    "Config",
    "CorpusConfig",
    "Document",
    "FieldDoc",
    "MemoryConfig",
    "ModelConfig",
    "ModelOptions",
    "SweepConfig",
    "TrainingConfig",
    "as_yaml",
    "check_device_name",
    "describe_fields",
    "dump_changes",
    "dump_yaml",
    "given_value",
    "json_schema",
    "load_comparison",
    "load_config",
    "load_sweep",
    "parse_config",
    "read_recorded",
    "read_unchecked",
    "read_yaml",
    "validate",
    "with_former_defaults",
]

_NAMES = {
    "comparison_models": ("COMPARISON_MODELS",),
    "compare": ("CompareConfig",),
    "comparisons": ("load_comparison",),
    "corpus": ("CorpusConfig",),
    "device": ("check_device_name",),
    "document": ("Document",),
    "dumping": ("as_yaml", "dump_changes", "dump_yaml"),
    "fields": ("FieldDoc", "describe_fields", "json_schema"),
    "memory": ("MemoryConfig",),
    "options": ("CELL_OPTIONS",),
    "reader": ("read_recorded", "read_unchecked", "read_yaml", "with_former_defaults"),
    "schema": ("Config", "ModelConfig", "ModelOptions"),
    "sections": ("BudgetConfig",),
    "sweep": ("SWEEP_MODELS", "SweepConfig"),
    "sweeps": ("load_sweep",),
    "training": ("TrainingConfig",),
    "validation": ("given_value", "load_config", "parse_config", "validate"),
}
"""The public names of each module."""
_MODULES = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"charlstm.config.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
