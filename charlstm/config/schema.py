"""What the configuration of a run may say: its sections, above all the model.

Every ``description`` is the field's documentation; ``charlstm config`` and the JSON Schema print it.
Reading and writing YAML is `charlstm.config`'s.
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
    NULLS,
    RESERVOIRS,
    default_front_end,
    default_value,
    why_no_effect,
)
from charlstm.config.sections import Reads, RunName, Section, TrainingConfig, WholeFile
from charlstm.config.wording import Problem, as_one_error

if TYPE_CHECKING:
    CellName = str
    FrontEndName = str
else:
    CellName, FrontEndName = Literal[tuple(CELL_OPTIONS)], Literal[tuple(FRONT_ENDS)]

MAX_KERNEL_SIZE = 64


class _Network(Section):
    """The fields of the model section that come before those of single cells."""

    cell: CellName = Field(
        "lstm",
        description=f"The recurrent cell. {' '.join(f'{base}: {CELLS[base].summary}' for base in CELL_OPTIONS)}",
    )
    hidden_size: int = Field(
        256,
        ge=1,
        le=65536,
        description="Units in each recurrent layer (of each direction). Parameters and time per character "
        "grow with its square.",
    )
    num_layers: int = Field(1, ge=1, le=1024, description="Recurrent layers, one on top of the other.")
    direction: Literal["forward", "backward", "bidirectional"] = Field(
        "forward",
        description="forward reads left to right; backward right to left, a language model of reversed "
        "text; bidirectional predicts each character from both sides with two stacks that "
        "meet only at the top: it fills gaps, and its score is a pseudo-likelihood that does "
        "not compare with a one-way score.",
    )
    front_end: FrontEndName = Field(
        "embedding",
        description="How characters enter the first layer. "
        f"{'; '.join(f'{name}: {entry.description}' for name, entry in FRONT_ENDS.items())}. embedding learns faster "
        "than one_hot and has fewer parameters for large vocabularies. Left out with cell: "
        f"{', '.join(sorted(RESERVOIRS))}, which takes no other: one_hot.",
    )
    embedding_size: Annotated[int | None, Field(validate_default=True)] = Field(
        None,
        ge=1,
        le=65536,
        description="Numbers in each character's vector. Only with front_end: embedding or convolution, where "
        f"leaving it out means {DEFAULT_EMBEDDING_SIZE}.",
    )
    kernel_sizes: Annotated[
        list[Annotated[int, Field(ge=1, le=MAX_KERNEL_SIZE)]],
        Reads(f"list of whole numbers from 1 to {MAX_KERNEL_SIZE}"),
    ] = Field(
        [1, 2, 3, 4],
        min_length=1,
        description="How many characters the filters of the convolution see, the present one and those just before "
        "it: one set of filters for each number in the list. Only with front_end: convolution.",
    )
    filters: int = Field(
        32,
        ge=1,
        le=65536,
        description="Filters of each of the kernel_sizes: the first layer reads this many numbers for each size. "
        "Only with front_end: convolution.",
    )
    highway: bool = Field(
        False,
        description="Whether a highway layer (Srivastava et al. 2015) follows the convolution, which combines what "
        "the filters found. Only with front_end: convolution.",
    )
    residual: bool = Field(
        False,
        description="Whether each layer above the first adds its input to its output (He et al. 2016; Wu et al. "
        "2016), which lets the gradient pass by it: for deep networks. Only with num_layers of 2 or more.",
    )
    dropout: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Probability that a value on its way up, between layers and before the readout, is "
        "dropped while training. Never along time. Helps when the training loss falls and the "
        "held-out loss rises.",
    )
    dropout_kind: Literal["locked", "elementwise"] = Field(
        "locked",
        description="locked: one mask for all the steps of a chunk (variational dropout, Gal & Ghahramani "
        "2016; Merity et al. 2018). elementwise: a fresh mask each step, as in torch (Zaremba "
        "et al. 2014). Matters only where dropout is above 0.",
    )


if TYPE_CHECKING:

    class _NetworkOfCells(_Network):
        def __getattr__(self, option: str) -> Any: ...

else:
    _NetworkOfCells = create_model("_NetworkOfCells", __base__=_Network, __doc__=_Network.__doc__, **cell_fields())


class ModelOptions(_NetworkOfCells):
    """The fields of the model section, without the check that each has an effect."""

    washout: int = Field(
        0,
        ge=0,
        le=2**20,
        description="Characters at the start of each stream, where every epoch begins from a zero state, that the esn "
        "reads but that its training loss leaves out; below training.sequence_length. Held-out scores count every "
        f"character. {only_for('washout')}",
    )
    executor: Literal["auto", "reference", "eager", "vendor", "cpp", "triton"] = Field(
        "auto",
        description="What runs the cell: auto, on the CPU the one that trains fastest on this machine at this size, "
        "measured once and remembered (a resumed run keeps what it began with), elsewhere the first that can; "
        "reference, step by step with autograd, slow; eager, charlstm's own for every cell; vendor, cuDNN or "
        "oneDNN through torch; cpp, C++ made from the cell's equations and compiled at first use, for the CPU; "
        "triton, kernels made from the cell's equations for NVIDIA GPUs. One that is asked for and cannot run the "
        "cell is an error.",
    )


class ModelConfig(ModelOptions):
    """The network. An option without effect for the chosen cell, front end or depth is refused if it is set."""

    @model_validator(mode="before")
    @classmethod
    def _where_the_cell_decides(cls, fields: object) -> object:
        if isinstance(fields, dict) and "front_end" not in fields and "cell" in fields:
            return {**fields, "front_end": default_front_end(fields["cell"])}
        return fields

    @field_validator("front_end")
    @classmethod
    def _fits_the_cell(cls, value: str, info: ValidationInfo) -> str:
        cell = info.data.get("cell")
        if cell in RESERVOIRS and value != "one_hot":
            raise ValueError(
                f"cell: {cell} learns nothing but its readout, so characters enter as one_hot. Take it out"
            )
        return value

    @field_validator(*sorted(CONDITIONAL_OPTIONS))
    @classmethod
    def _has_an_effect(cls, value: object, info: ValidationInfo) -> object:
        option = str(info.field_name)
        reason = why_no_effect(option, info.data)
        if value is None and option in NULLS:
            return None if reason or "cell" not in info.data else default_value(option, info.data)
        if reason:
            raise ValueError(f"{reason}. Take it out")
        return value

    @field_validator("kernel_sizes")
    @classmethod
    def _distinct(cls, value: list[int]) -> list[int]:
        if len(set(value)) < len(value):
            raise ValueError(f"expected each size once, found {', '.join(map(str, value))}")
        return sorted(value)

    @model_serializer(mode="wrap")
    def _without_idle_options(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # An option that would be refused when set must not be written, or nothing written could be read back.
        fields: dict[str, Any] = handler(self)
        return {k: v for k, v in fields.items() if why_no_effect(k, fields) is None}


class Config(WholeFile):
    """One training run."""

    name: RunName | None = Field(
        None,
        description="Name of the run and of its folder under runs/. null: the name of the configuration file.",
    )
    corpus: CorpusConfig = Field(description="The text, and how it is split.")
    model: ModelConfig = Field(ModelConfig(), description="The network.")
    training: TrainingConfig = Field(TrainingConfig(), description="How the network learns.")

    @model_validator(mode="after")
    def _penalty_fits_the_network(self) -> Config:
        fits: dict[str, list[object]] = {
            "cell": ["rnn"],
            "nonlinearity": ["tanh"],
            "num_layers": [1],
            "direction": ["forward", "backward"],
        }
        for name, values in fits.items() if self.training.vanishing_penalty else ():
            if (found := getattr(self.model, name)) not in values:
                message = (
                    f"does not go with model.{name}: {found}, only with one layer of cell: rnn with nonlinearity: "
                    "tanh, forward or backward. Take it out"
                )
                raise as_one_error([Problem(("training", "vanishing_penalty"), message)])
        return self

    @model_validator(mode="after")
    def _washout_ends_within_a_chunk(self) -> Config:
        if self.model.washout and self.corpus.documents is not None:
            message = "has no effect on documents, each of which is scored from its beginning. Take it out"
            raise as_one_error([Problem(("model", "washout"), message)])
        length = self.training.sequence_length
        if self.model.washout >= length:
            message = f"expected a whole number below training.sequence_length, {length}, found {self.model.washout}"
            raise as_one_error([Problem(("model", "washout"), message)])
        return self
