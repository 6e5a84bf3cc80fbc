"""The section of a configuration about the training, and what sections are made of.

Every ``description`` is the field's documentation; ``charlstm config`` and the JSON Schema print it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from charlstm.config.device import NAMES, PATTERN, check_device_name
from charlstm.optimizers import OPTIMIZERS

if TYPE_CHECKING:
    OptimizerName = str
else:
    OptimizerName = Literal[tuple(OPTIMIZERS)]


class Reads(NamedTuple):
    """How a user reads a field's type, where the annotation cannot say it."""

    text: str


class Section(BaseModel):
    """A frozen part of a configuration that refuses unknown fields and converts nothing but int to float."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


LONGEST_NAME = 160
"""Bytes of a name. File systems take 255; a comparison adds the task, the learning rate and the seed."""

RunName = Annotated[str, Reads("name of a folder")]


def check_name(value: str) -> str:
    """Refuse what cannot be the name of one folder on every system. Raises ValueError."""
    if not value or len(value) > 100 or value[0] in ".-" or value != value.strip():
        raise ValueError("a name has 1 to 100 characters and no '.', '-' or space in front, no space at the end")
    if bad := re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff/\\:*?\"<>|]", value):
        raise ValueError(f"{bad.group()!r} cannot be part of a name: it is the name of a folder")
    if (length := len(value.encode("utf-8"))) > LONGEST_NAME:
        raise ValueError(f"it has {length} bytes in UTF-8; a name has at most {LONGEST_NAME}")
    return value


class WholeFile(Section):
    """What the files of a run and of a comparison share: a name that a folder takes, and sections that may be empty."""

    @field_validator("name", check_fields=False)
    @classmethod
    def _is_a_folder_name(cls, value: str | None) -> str | None:
        return None if value is None else check_name(value)

    @field_validator("corpus", "model", "training", mode="before", check_fields=False)
    @classmethod
    def _empty_section(cls, value: object) -> object:
        return {} if value is None else value


class BudgetConfig(Section):
    """When training ends: at whichever of these limits comes first. At least one is needed."""

    epochs: float | None = Field(
        None,
        gt=0,
        description="Passes over the training text; fractions are allowed. The only limit, at 10, where "
        "no budget is given at all.",
    )
    steps: int | None = Field(None, ge=1, description="Updates of the weights.")
    minutes: float | None = Field(
        None, gt=0, description="Minutes of training time; evaluation and sampling do not count."
    )

    target_nats: float | None = Field(
        None,
        gt=0,
        description="Held-out score, in nats per character, that is good enough: training ends at the first evaluation "
        "that reaches it. It may never come, so it is no limit by itself.",
    )

    @model_validator(mode="after")
    def _has_a_limit(self) -> BudgetConfig:
        if self.epochs is None and self.steps is None and self.minutes is None:
            raise ValueError("training would never end: give at least one of epochs, steps, minutes")
        return self


class TrainingConfig(Section):
    """How the network learns: truncated back-propagation through time with carried state."""

    batch_size: int = Field(
        64,
        ge=1,
        le=2**20,
        description="Streams of text, or documents, read side by side; each update averages over all of them.",
    )
    sequence_length: int = Field(
        64,
        ge=1,
        le=2**20,
        description="Characters of a chunk, over which gradients flow back (truncated back-propagation "
        "through time, Williams & Peng 1990). The state is carried on from chunk to chunk, within a document if there "
        "are documents; short documents make short chunks.",
    )
    optimizer: OptimizerName = Field(
        "adamw",
        description=f"{' '.join(f'{name}: {known.summary}' for name, known in OPTIMIZERS.items())} Each wants its own "
        "learning_rate; sgd a far "
        "larger one than adamw.",
    )
    learning_rate: float = Field(
        2e-3, gt=0, le=1e6, description="Step size of the optimiser at its highest, after the warm-up."
    )
    momentum: float = Field(0.9, ge=0, lt=1, description="Momentum of sgd and rmsprop; adamw does not use it.")
    weight_decay: float = Field(
        0.0,
        ge=0,
        le=1e6,
        description="Pull of the weights towards zero at each step: decoupled from the gradient in adamw, "
        "an L2 penalty in sgd and rmsprop.",
    )
    schedule: Literal["constant", "cosine", "step", "plateau"] = Field(
        "cosine",
        description="How the learning rate goes on after the warm-up. constant: as it is. cosine: down "
        "along a half cosine to the end of the budget (Loshchilov & Hutter 2017). step: times "
        "gamma every step_size epochs. plateau: times gamma when more than patience "
        "evaluations in a row bring no improvement.",
    )
    warmup_steps: int = Field(
        100,
        ge=0,
        description="Steps over which the learning rate climbs from near zero to learning_rate; 0: none.",
    )
    final_learning_rate_fraction: float = Field(
        0.05, ge=0, le=1, description="Where schedule: cosine ends, as a fraction of learning_rate."
    )
    step_size: float = Field(1.0, ge=1e-9, le=1e9, description="Epochs between two reductions with schedule: step.")
    gamma: float = Field(
        0.5,
        gt=0,
        le=1,
        description="Factor of each reduction of the learning rate with schedule: step and plateau.",
    )
    patience: int = Field(
        2,
        ge=0,
        description="Evaluations in a row without improvement that schedule: plateau still bears; at the next one it "
        "reduces the learning rate.",
    )
    clip_grad_norm: float | None = Field(
        1.0,
        gt=0,
        description="Longest gradient allowed, as the norm over all parameters together; a longer one is "
        "scaled down (Pascanu et al. 2013). null: no clipping.",
    )
    vanishing_penalty: float = Field(
        0.0,
        ge=0,
        le=1e6,
        description="Weight of a penalty on gradients that vanish or grow on their way back through time (Pascanu et "
        "al. 2013), which rescues some plain networks on tasks that need a memory; 8 is about what 2 is in the "
        "authors' code. 0: none. Only for one layer of cell: rnn with nonlinearity: tanh, forward or backward.",
    )
    input_masking: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="About what share of the characters that the network reads in training is hidden from it, in runs "
        "of 1 to 8, each read as no character at all; what is to be predicted stays. A bidirectional model so learns "
        "to fill gaps of several characters, and predicts single ones a little worse.",
    )
    budget: BudgetConfig = Field(
        BudgetConfig(epochs=10.0),
        description="When training ends: epochs, steps or minutes, whichever comes first. Default: 10 epochs. Another "
        "budget on resume lays schedule: cosine anew over all of it, so the learning rate moves to where it would "
        "stand had the run had this budget from the beginning; the other schedules do not depend on it.",
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="What matrix products are computed in. auto: bfloat16 on a GPU that has it and on a CPU "
        "with a matrix unit (AMX), float32 elsewhere. Weights, cell state, loss and optimiser stay in float32. With "
        "float32, training on an NVIDIA GPU multiplies numbers rounded to TF32 (10 bits of the mantissa) where the GPU "
        "can; held-out scores are made in float32 with all its bits, on any device and with either setting.",
    )
    device: Annotated[str, Reads(NAMES), AfterValidator(check_device_name)] = Field(
        "auto",
        json_schema_extra={"pattern": PATTERN},
        description="Where to train: cpu, cuda (an NVIDIA or AMD GPU), cuda:N (the GPU with number N, "
        "from 0), mps (Apple's GPU). auto: a GPU where there is one.",
    )
    seed: int = Field(
        1,
        ge=0,
        le=2**32 - 1,
        description="Where the random numbers of weights, dropout and samples start. Same seed, same "
        "machine, same thread count: same run.",
    )
    evaluate_every: int = Field(500, ge=1, description="Steps between two scores of the validation split.")
    sample_length: int = Field(
        200,
        ge=0,
        description="Characters of text that the model writes at each evaluation, to look at; 0: none. A bidirectional "
        "model shows as much of the validation split instead, 8 characters in its middle filled anew in brackets.",
    )
    early_stopping: int | None = Field(
        None,
        ge=1,
        description="Evaluations without improvement after which training stops before its budget ends. null: never.",
    )
