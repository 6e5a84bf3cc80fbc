"""The fields of the model section before the options of single cells: the layers, and their regularization.

Every ``description`` is the public documentation of its field: ``charlstm config`` and the JSON Schema print it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from charlstm.cells import CELLS
from charlstm.config.front_ends import FRONT_ENDS
from charlstm.config.options import CELL_OPTIONS, CELL_STATE, DEFAULT_EMBEDDING_SIZE, RESERVOIRS
from charlstm.config.sections import Section, TypeText

if TYPE_CHECKING:
    CellName = str
    FrontEndName = str
else:
    CellName, FrontEndName = Literal[tuple(CELL_OPTIONS)], Literal[tuple(FRONT_ENDS)]

MAX_KERNEL_SIZE = 64


class NetworkOptions(Section):
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
        description="forward: reads from left to right. backward: reads from right to left, a language model of "
        "the reversed text. bidirectional: predicts each character from both sides, with two stacks that are "
        "combined before the output layer. It fills gaps; its score is a pseudo-likelihood, not comparable with "
        "the score of a forward or backward model.",
    )
    front_end: FrontEndName = Field(
        "embedding",
        description="How characters enter the first layer. "
        f"{'; '.join(f'{name}: {entry.description}' for name, entry in FRONT_ENDS.items())}. embedding trains faster "
        f"than one_hot and has fewer parameters for large vocabularies. With cell: {', '.join(sorted(RESERVOIRS))}, "
        "the default is one_hot, the only front end allowed.",
    )
    tie_weights: bool = Field(
        False,
        description="Whether the output layer's matrix is the embedding (Press & Wolf 2017; Inan et al. 2017): "
        "fewer parameters, for large vocabularies. embedding_size must then be hidden_size, or null. Only with "
        "front_end: embedding, in one direction.",
    )
    embedding_size: Annotated[int | None, Field(validate_default=True)] = Field(
        None,
        ge=1,
        le=65536,
        description="Size of the embedding vector of each character; null means "
        f"{DEFAULT_EMBEDDING_SIZE}, or hidden_size with tie_weights. Only with front_end: embedding or convolution.",
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
    output: Literal["last", "sum"] = Field(
        "last",
        description="What the output layer reads. last: the output of the last layer. sum: the sum of the outputs "
        "of all layers (skip connections to the output; Graves 2013; Melis et al. 2018). Only with num_layers of 2 "
        "or more, without residual, whose last output is this sum.",
    )
    init_range: float | None = Field(
        None,
        gt=0,
        le=10,
        description="All weights are initialized uniformly between plus and minus this value: front end, recurrent "
        "layers and output layer, with their biases (Sutskever et al. 2014 and Karpathy et al. 2015 take 0.08). Only "
        "what other options initialize differs: unigram_bias if it is true, forget_bias if it is set, recurrent_init: "
        "orthogonal, identity_scale, leak_rate. null: each part in its usual way. Not with cell: "
        f"{', '.join(sorted(RESERVOIRS))}.",
    )
    unigram_bias: Annotated[bool | None, Field(validate_default=True)] = Field(
        None,
        description="Whether the biases of the output layer are initialized to the logarithms of the characters' "
        "frequencies in the training text, so that the untrained network is about the unigram model; false: to "
        "zero, or uniform with init_range. With true, an lstm mostly learns better, a plain rnn with nonlinearity: "
        "relu diverges less, and a gru with gates that are not open is worse in long trainings on text "
        "(charlstm/cells/README.md). With training.initial_run it concerns new characters only. null means true "
        "with cell: lstm, else false.",
    )
    dropout: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Dropout probability between layers and before the output layer, in training; hidden_dropout "
        "and output_dropout replace it in their places. Use it when the training loss falls and the held-out loss "
        "rises.",
    )
    dropout_kind: Literal["locked", "elementwise"] = Field(
        "locked",
        description="locked: one mask for all time steps of a chunk (variational dropout, Gal & Ghahramani 2016; "
        "Merity et al. 2018). elementwise: a new mask at each time step, as in torch (Zaremba et al. 2014). Has an "
        "effect only if dropout, input_dropout, hidden_dropout or output_dropout is above 0.",
    )
    embedding_dropout: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Probability that a character of the vocabulary is dropped from the input: in a chunk of a stream, "
        "all its occurrences are zero vectors, and the vectors of the others are scaled up (Gal & Ghahramani 2016; "
        "embedding dropout of Merity et al. 2018). With every front end.",
    )
    input_dropout: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Dropout probability on the input vectors of the first layer (Merity et al. 2018). Only with "
        "front_end: embedding or convolution; one-hot vectors have embedding_dropout.",
    )
    hidden_dropout: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="Dropout probability between layers. null: dropout. Only with num_layers of 2 or more.",
    )
    output_dropout: float | None = Field(
        None, ge=0, lt=1, description="Dropout probability before the output layer. null: dropout."
    )
    weight_drop: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Probability that an element of the recurrent matrices is dropped, one mask for all streams and "
        "time steps of a chunk (DropConnect on the recurrent weights; Merity et al. 2018). Not with cell: esn.",
    )
    state_dropout: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Dropout probability on what the recurrent matrices read of the state, one mask per stream for all "
        "time steps of a chunk (Gal & Ghahramani 2016; Melis et al. 2018). Not with cell: esn, nor with executor: "
        "vendor.",
    )
    zoneout_h: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Zoneout (Krueger et al. 2017): probability, per step and unit, that the output h retains its "
        "previous value, in training; later the expected value is used. Not with cell: esn, nor with executor: vendor.",
    )
    zoneout_c: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Zoneout of the cell state c, as zoneout_h. Only with cells that have one: "
        f"{', '.join(sorted(CELL_STATE))}.",
    )
