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
from charlstm.config.corpus import CorpusConfig
from charlstm.config.sections import RunName, Section, TrainingConfig, WholeFile

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

CONDITIONAL_OPTIONS = frozenset({"embedding_size"}).union(*CELL_OPTIONS.values())
"""The options of the model section that only some cells or front ends have."""

DEFAULT_EMBEDDING_SIZE = 64


def why_no_effect(option: str, cell: str, front_end: str) -> str | None:
    """Why a model option changes nothing with this cell and front end; None where it does."""
    if option == "embedding_size" and front_end != "embedding":
        return f"has no effect with front_end: {front_end}, only with embedding"
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
    front_end: Literal["one_hot", "embedding"] = Field(
        "embedding",
        description="How characters enter the first layer: embedding, as a learnt vector of embedding_size "
        "numbers; one_hot, each has its own column of input weights. embedding learns faster and has fewer "
        "parameters for large vocabularies.",
    )
    embedding_size: Annotated[int | None, Field(validate_default=True)] = Field(
        None,
        ge=1,
        le=65536,
        description="Numbers in each character's vector. Only with front_end: embedding, where leaving it "
        f"out means {DEFAULT_EMBEDDING_SIZE}.",
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
    """The network. An option without effect for the chosen cell or front end is refused if it is set."""

    @field_validator(*sorted(CONDITIONAL_OPTIONS - {"embedding_size"}))
    @classmethod
    def _belongs_to_the_cell(cls, value: object, info: ValidationInfo) -> object:
        reason = why_no_effect(str(info.field_name), info.data["cell"], "") if "cell" in info.data else None
        if reason:
            raise ValueError(f"{reason}. Take it out")
        return value

    @field_validator("embedding_size")
    @classmethod
    def _only_with_embedding(cls, value: int | None, info: ValidationInfo) -> int | None:
        front_end = info.data.get("front_end")
        if front_end == "embedding":
            return DEFAULT_EMBEDDING_SIZE if value is None else value
        if value is not None and front_end is not None:
            raise ValueError(f"{why_no_effect('embedding_size', '', front_end)}. Take it out")
        return value

    @model_serializer(mode="wrap")
    def _without_idle_options(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # An option that would be refused when set must not be written, or nothing written could be read back.
        fields: dict[str, Any] = handler(self)
        return {k: v for k, v in fields.items() if why_no_effect(k, self.cell, self.front_end) is None}


class Config(WholeFile):
    """One training run."""

    name: RunName | None = Field(
        None,
        description="Name of the run and of its folder under runs/. null: the name of the configuration file.",
    )
    corpus: CorpusConfig = Field(description="The text, and how it is split.")
    model: ModelConfig = Field(ModelConfig(), description="The network.")
    training: TrainingConfig = Field(TrainingConfig(), description="How the network learns.")
