"""The schema of a run's configuration, with its model section.

Every ``description`` is the public documentation of its field: ``charlstm config`` and the JSON Schema print it.
`charlstm.config` reads and writes the YAML.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    create_model,
    field_validator,
    model_serializer,
    model_validator,
)

from charlstm.cells import CELLS
from charlstm.config.cell_options import cell_fields, only_for
from charlstm.config.corpus import CorpusConfig
from charlstm.config.front_ends import FRONT_ENDS
from charlstm.config.options import (
    CELL_OPTIONS,
    CONDITIONAL_OPTIONS,
    DEFAULT_EMBEDDING_SIZE,
    NULLABLE,
    RESERVOIRS,
    default_front_end,
    default_value,
    why_no_effect,
)
from charlstm.config.sections import ConfigFile, RunName, Section, TrainingConfig, TypeText
from charlstm.config.wording import Problem, as_one_error

if TYPE_CHECKING:
    CellName = str
    FrontEndName = str
else:
    CellName, FrontEndName = Literal[tuple(CELL_OPTIONS)], Literal[tuple(FRONT_ENDS)]

MAX_KERNEL_SIZE = 64


class _Network(Section):
    """The fields of the model section before the options of single cells."""

    cell: CellName = Field(
        "lstm",
        description=f"The recurrent cell. {' '.join(f'{base}: {CELLS[base].summary}' for base in CELL_OPTIONS)}",
    )
    hidden_size: int = Field(
        256,
        ge=1,
        le=65536,
        description="Number of units in each recurrent layer (in each direction). Parameters and time per character "
        "grow with its square.",
    )
    num_layers: int = Field(1, ge=1, le=1024, description="Number of stacked recurrent layers.")
    direction: Literal["forward", "backward", "bidirectional"] = Field(
        "forward",
        description="forward: reads from left to right. backward: reads from right to left, a language model of the "
        "reversed text. bidirectional: predicts each character from both sides, with two stacks that are combined "
        "before the readout; it fills gaps, and its score is a pseudo-likelihood, not comparable with the score of a "
        "forward or backward model.",
    )
    front_end: FrontEndName = Field(
        "embedding",
        description="How characters enter the first layer. "
        f"{'; '.join(f'{name}: {entry.description}' for name, entry in FRONT_ENDS.items())}. embedding trains faster "
        f"than one_hot and has fewer parameters for large vocabularies. With cell: {', '.join(sorted(RESERVOIRS))}, "
        "the default is one_hot, the only front end allowed.",
    )
    embedding_size: Annotated[int | None, Field(validate_default=True)] = Field(
        None,
        ge=1,
        le=65536,
        description="Size of the embedding vector of each character; null means "
        f"{DEFAULT_EMBEDDING_SIZE}. Only with front_end: embedding or convolution.",
    )
    kernel_sizes: Annotated[
        list[Annotated[int, Field(ge=1, le=MAX_KERNEL_SIZE)]],
        TypeText(f"list of whole numbers from 1 to {MAX_KERNEL_SIZE}"),
    ] = Field(
        [1, 2, 3, 4],
        min_length=1,
        description="Kernel sizes of the causal convolution, in characters: one set of filters for each size, which "
        "reads the current character and those just before it. Only with front_end: convolution.",
    )
    filters: int = Field(
        32,
        ge=1,
        le=65536,
        description="Number of filters for each kernel size; the first layer gets this many inputs per size. Only with "
        "front_end: convolution.",
    )
    highway: bool = Field(
        False,
        description="Whether a highway layer (Srivastava et al. 2015) follows the convolution and combines the outputs "
        "of the filters. Only with front_end: convolution.",
    )
    residual: bool = Field(
        False,
        description="Whether each layer above the first adds its input to its output (residual connection; He et al. "
        "2016; Wu et al. 2016), for deep networks. Only with num_layers of 2 or more.",
    )
    dropout: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Dropout probability between layers and before the readout, in training; recurrent connections "
        "have no dropout. Use it when the training loss falls and the held-out loss rises.",
    )
    dropout_kind: Literal["locked", "elementwise"] = Field(
        "locked",
        description="locked: one mask for all time steps of a chunk (variational dropout, Gal & Ghahramani 2016; "
        "Merity et al. 2018). elementwise: a new mask at each time step, as in torch (Zaremba et al. 2014). Has an "
        "effect only if dropout is above 0.",
    )


if TYPE_CHECKING:

    class _NetworkOfCells(_Network):
        def __getattr__(self, option: str) -> Any: ...

else:
    _NetworkOfCells = create_model("_NetworkOfCells", __base__=_Network, __doc__=_Network.__doc__, **cell_fields())


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
            raise ValueError(f"cell: {cell} trains only its readout, so its front end is one_hot. Remove front_end")
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
        }
        for name, values in supported.items() if self.training.vanishing_penalty else ():
            if (value := getattr(self.model, name)) not in values:
                message = (
                    f"does not work with model.{name}: {value}, only with one layer of cell: rnn with nonlinearity: "
                    "tanh, forward or backward. Remove it"
                )
                raise as_one_error([Problem(("training", "vanishing_penalty"), message)])
        return self

    @model_validator(mode="after")
    def _has_the_held_out_scores_it_needs(self) -> Config:
        if not self.corpus.has_validation and (fields := self.training.fields_on_held_out_scores):
            message = (
                "needs a held-out score, but corpus.validation_fraction is 0: the score of the training text improves "
                "also when it is learned by heart. Remove this field, or set corpus.validation_fraction above 0"
            )
            raise as_one_error([Problem(("training", *field), message) for field in fields])
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
