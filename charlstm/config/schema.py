"""The schema of a run's configuration, with its model section.

Every ``description`` is the public documentation of its field: ``charlstm config`` and the JSON Schema print it.
`charlstm.config` reads and writes the YAML.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    create_model,
    field_validator,
    model_serializer,
    model_validator,
)

from charlstm.config.cell_options import cell_fields, only_for
from charlstm.config.corpus import CorpusConfig
from charlstm.config.network import NetworkOptions
from charlstm.config.options import (
    CONDITIONAL_OPTIONS,
    NULLABLE,
    RESERVOIRS,
    default_front_end,
    default_value,
    why_no_effect,
)
from charlstm.config.sections import ConfigFile, RunName
from charlstm.config.training import TrainingConfig
from charlstm.config.training_checks import training_problems
from charlstm.config.wording import Problem, as_one_error

if TYPE_CHECKING:

    class _NetworkOfCells(NetworkOptions):
        def __getattr__(self, option: str) -> Any: ...

else:
    _NetworkOfCells = create_model(
        "_NetworkOfCells", __base__=NetworkOptions, __doc__=NetworkOptions.__doc__, **cell_fields()
    )


class ModelOptions(_NetworkOfCells):
    """The fields of the model section, without the check that each option has an effect."""

    washout: int = Field(
        0,
        ge=0,
        le=2**20,
        description="Number of characters at the start of each stream, where the state is zero, that the network "
        "reads but that do not count in the training loss; below training.sequence_length. Held-out scores count every "
        f"character. {only_for('washout')}",
    )
    executor: Literal["auto", "reference", "eager", "vendor", "cpp", "triton"] = Field(
        "auto",
        description="Implementation that runs the cell. auto: on the CPU, the fastest one for this size on this "
        "machine, measured once and cached (a resumed run continues with the executor it started with); on other "
        "devices, the first one that supports the cell. reference: step by step with autograd, slow. eager: a loop of "
        "torch operations, for every cell. vendor: cuDNN or oneDNN through torch. cpp: C++ generated from the cell's "
        "equations and compiled at first use, for the CPU. triton: kernels generated from the cell's equations, for "
        "NVIDIA GPUs. An executor that cannot run the cell is an error.",
    )


class ModelConfig(ModelOptions):
    """The network. Setting an option that has no effect for the chosen cell, front end or depth is an error."""

    @model_validator(mode="before")
    @classmethod
    def _default_front_end(cls, fields: object) -> object:
        if isinstance(fields, dict) and "front_end" not in fields and "cell" in fields:
            return {**fields, "front_end": default_front_end(fields["cell"])}
        return fields

    @field_validator("front_end")
    @classmethod
    def _front_end_matches_cell(cls, value: str, info: ValidationInfo) -> str:
        cell = info.data.get("cell")
        if cell in RESERVOIRS and value != "one_hot":
            raise ValueError(
                f"cell: {cell} trains only its output layer, so its front end is one_hot. Remove front_end"
            )
        return value

    @field_validator(*sorted(CONDITIONAL_OPTIONS))
    @classmethod
    def _has_effect(cls, value: object, info: ValidationInfo) -> object:
        option = str(info.field_name)
        reason = why_no_effect(option, info.data)
        if value is None and option in NULLABLE:
            return None if reason or "cell" not in info.data else default_value(option, info.data)
        if reason:
            raise ValueError(f"{reason}. Remove it")
        return value

    @field_validator("embedding_size")
    @classmethod
    def _tied_matrix_fits(cls, value: int | None, info: ValidationInfo) -> int | None:
        hidden_size = info.data.get("hidden_size", value)
        if info.data.get("tie_weights") and value != hidden_size:
            raise ValueError(
                f"expected hidden_size, {hidden_size}, since tie_weights shares it with the output layer, "
                f"found {value}. Remove it"
            )
        return value

    @field_validator("unigram_bias")
    @classmethod
    def _default_of_cell(cls, value: bool | None, info: ValidationInfo) -> bool:
        return info.data.get("cell") == "lstm" if value is None else value

    @field_validator("kernel_sizes")
    @classmethod
    def _sizes_are_distinct(cls, value: list[int]) -> list[int]:
        if len(set(value)) < len(value):
            raise ValueError(f"expected each size once, found {', '.join(map(str, value))}")
        return sorted(value)

    @model_serializer(mode="wrap")
    def _omit_idle_options(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # An option that is an error if set must not be written: the written file could not be read back.
        fields: dict[str, Any] = handler(self)
        return {k: v for k, v in fields.items() if why_no_effect(k, fields) is None}


class Config(ConfigFile):
    """The configuration of one training run."""

    name: RunName | None = Field(
        None,
        description="Name of the run and of its folder under runs/. null: the name of the configuration file.",
    )
    corpus: CorpusConfig = Field(description="The text and its splits.")
    model: ModelConfig = Field(ModelConfig(), description="The network.")
    training: TrainingConfig = Field(TrainingConfig(), description="The training settings.")

    @model_validator(mode="after")
    def _penalty_matches_network(self) -> Config:
        supported: dict[str, list[object]] = {
            "cell": ["rnn"],
            "nonlinearity": ["tanh"],
            "num_layers": [1],
            "direction": ["forward", "backward"],
            "zoneout_h": [0.0],
            "state_dropout": [0.0],
        }
        for name, values in supported.items() if self.training.vanishing_penalty else ():
            if (value := getattr(self.model, name)) not in values:
                message = (
                    f"does not work with model.{name}: {value}, only with one layer of cell: rnn with nonlinearity: "
                    "tanh, forward or backward, without zoneout and state_dropout. Remove it"
                )
                raise as_one_error([Problem(("training", "vanishing_penalty"), message)])
        return self

    @model_validator(mode="after")
    def _training_options_have_effect(self) -> Config:
        if problems := list(training_problems(self)):
            raise as_one_error(problems)
        return self

    @model_validator(mode="after")
    def _washout_ends_within_chunk(self) -> Config:
        if self.model.washout and self.corpus.documents is not None:
            message = "has no effect on documents, which are scored from their first character. Remove it"
            raise as_one_error([Problem(("model", "washout"), message)])
        length = self.training.sequence_length
        if self.model.washout >= length:
            message = f"expected a whole number below training.sequence_length, {length}, found {self.model.washout}"
            raise as_one_error([Problem(("model", "washout"), message)])
        return self
