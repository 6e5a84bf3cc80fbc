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
    field_validator,
    model_serializer,
)

from charlstm.cells import CELLS
from charlstm.config.sections import CorpusConfig, Reads, RunName, Section, TrainingConfig, WholeFile

CELL_OPTIONS: dict[str, frozenset[str]] = {
    base: frozenset().union(
        *(({"forget_bias"} if c.forget_gate else set()) | c.options.keys() for c in CELLS.values() if c.base == base)
    )
    for base in sorted({c.base for c in CELLS.values()})
}
"""Cell -> the options of the model section that belong to this cell. Every other cell refuses them."""

if TYPE_CHECKING:
    CellName = str
else:
    CellName = Literal[tuple(CELL_OPTIONS)]

FRONT_END_OPTIONS: dict[str, tuple[str, ...]] = {
    "embedding_size": ("embedding", "convolution"),
    "kernel_sizes": ("convolution",),
    "filters": ("convolution",),
    "highway": ("convolution",),
}
"""Option of the model section -> the front ends that have it. Every other front end refuses it."""

CONDITIONAL_OPTIONS = frozenset({"residual", *FRONT_END_OPTIONS}).union(*CELL_OPTIONS.values())
"""The options of the model section that only some cells, front ends or depths have."""

DEFAULT_EMBEDDING_SIZE = 64
MAX_KERNEL_SIZE = 64


def why_no_effect(option: str, cell: str, front_end: str, num_layers: int) -> str | None:
    """Why a model option changes nothing with this cell, front end and depth; None where it does."""
    if option == "residual" and num_layers == 1:
        return "has no effect with num_layers: 1, only with 2 or more"
    if option in FRONT_END_OPTIONS and front_end not in FRONT_END_OPTIONS[option]:
        return f"has no effect with front_end: {front_end}, only with {', '.join(FRONT_END_OPTIONS[option])}"
    owners = [name for name, options in CELL_OPTIONS.items() if option in options]
    if owners and cell not in owners:
        return f"has no effect with cell: {cell}, only with {', '.join(owners)}"
    return None


class ModelOptions(Section):
    """The fields of the model section, without the check that each has an effect."""

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
    front_end: Literal["one_hot", "embedding", "convolution"] = Field(
        "embedding",
        description="How characters enter the first layer: embedding, as a learnt vector of embedding_size "
        "numbers; one_hot, each has its own column of input weights; convolution, as what learnt filters find in "
        "the embedded character and the few before it (CNN-LSTM; Kim et al. 2016). embedding learns faster than "
        "one_hot and has fewer parameters for large vocabularies.",
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
    forget_bias: float = Field(
        1.0,
        ge=-1000,
        le=1000,
        description="Where the forget gate's bias starts; above 0 lets the cell remember from the "
        "beginning (Gers et al. 2000; Jozefowicz et al. 2015). Only for cells with a forget "
        "gate: lstm, peephole, coupled.",
    )
    reset_after: bool = Field(
        True,
        description="Where the gru applies its reset gate. true: after the recurrent product, as cuDNN "
        "and torch do. false: before it, as Cho et al. 2014 wrote it. Only for gru.",
    )
    nonlinearity: Literal["tanh", "relu"] = Field(
        "tanh",
        description="The rnn's activation. relu starts the recurrent weights as the identity: the IRNN of "
        "Le et al. 2015. Only for rnn.",
    )
    executor: Literal["auto", "reference", "sequence", "library", "native"] = Field(
        "auto",
        description="What runs the cell: auto, the fastest that can; reference, step by step with "
        "autograd, slow; sequence, charlstm's own for every cell; library, cuDNN or oneDNN "
        "through torch; native, C++ made from the cell's equations and compiled at first use, "
        "for the CPU. One that is asked for and cannot run the cell is an error.",
    )


class ModelConfig(ModelOptions):
    """The network. An option without effect for the chosen cell, front end or depth is refused if it is set."""

    @field_validator(*sorted(CONDITIONAL_OPTIONS))
    @classmethod
    def _has_an_effect(cls, value: object, info: ValidationInfo) -> object:
        chosen: list[Any] = [info.data.get(name) for name in ("cell", "front_end", "num_layers")]
        if value is None or None in chosen:  # left out, or what it depends on is wrong itself
            return value
        if reason := why_no_effect(str(info.field_name), *chosen):
            raise ValueError(f"{reason}. Take it out")
        return value

    @field_validator("embedding_size")
    @classmethod
    def _default_embedding_size(cls, value: int | None, info: ValidationInfo) -> int | None:
        has_one = info.data.get("front_end") in FRONT_END_OPTIONS["embedding_size"]
        return DEFAULT_EMBEDDING_SIZE if value is None and has_one else value

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
        chosen = (self.cell, self.front_end, self.num_layers)
        return {k: v for k, v in fields.items() if why_no_effect(k, *chosen) is None}


class Config(WholeFile):
    """One training run."""

    name: RunName | None = Field(
        None,
        description="Name of the run and of its folder under runs/. null: the name of the configuration file.",
    )
    corpus: CorpusConfig = Field(description="The text, and how it is split.")
    model: ModelConfig = Field(ModelConfig(), description="The network.")
    training: TrainingConfig = Field(TrainingConfig(), description="How the network learns.")
