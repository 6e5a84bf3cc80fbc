"""The basic fields of the training section of a configuration, and the base classes of all sections.

Every ``description`` is the public documentation of its field: ``charlstm config`` and the JSON Schema print it.
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


EVALUATIONS = 10
"""Evaluations of a run without ``evaluate_every``, one after each tenth of its budget."""


class TypeText(NamedTuple):
    """Metadata of an annotation: the type of a field as the user reads it, if the annotation cannot express it."""

    text: str


class Section(BaseModel):
    """A frozen section of a configuration: unknown fields are errors, and only int is converted, to float."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, defer_build=True)


MAX_NAME_BYTES = 160
"""File systems allow 255 bytes; a comparison appends the task, the learning rate and the seed."""

RunName = Annotated[str, TypeText("name of a folder")]


def check_name(value: str) -> str:
    """The name, if every operating system allows a folder of this name. Raises ValueError if not."""
    if not value or len(value) > 100 or value[0] in ".-" or value != value.strip():
        raise ValueError(
            "a name has 1 to 100 characters, does not begin with '.', '-' or a space, and does not end with a space"
        )
    if bad := re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff/\\:*?\"<>|]", value):
        raise ValueError(f"a name is used as the name of a folder, so it cannot contain {bad.group()!r}")
    if (length := len(value.encode("utf-8"))) > MAX_NAME_BYTES:
        raise ValueError(f"the name has {length} bytes in UTF-8; at most {MAX_NAME_BYTES} are allowed")
    return value


class ConfigFile(Section):
    """What the files of runs and comparisons have in common: the checks of their name, and empty sections."""

    @field_validator("name", check_fields=False)
    @classmethod
    def _is_folder_name(cls, value: str | None) -> str | None:
        return None if value is None else check_name(value)

    @field_validator("corpus", "model", "training", mode="before", check_fields=False)
    @classmethod
    def _empty_section(cls, value: object) -> object:
        return {} if value is None else value


class BudgetConfig(Section):
    """When training ends: at whichever of these limits is reached first. At least one must be set."""

    epochs: float | None = Field(
        None,
        gt=0,
        description="Passes over the training text; fractions are allowed. Without a budget section, the limit is 10 "
        "epochs.",
    )
    steps: int | None = Field(None, ge=1, description="Optimizer steps (updates of the weights).")
    minutes: float | None = Field(
        None, gt=0, description="Minutes of training time; evaluation, sampling and pauses of the process do not count."
    )

    target_nats: float | None = Field(
        None,
        gt=0,
        description="Target validation loss in nats per character: training ends at the first evaluation that reaches "
        "it. It may never be reached, so another limit must be set, too.",
    )

    @model_validator(mode="after")
    def _has_a_limit(self) -> BudgetConfig:
        if self.epochs is None and self.steps is None and self.minutes is None:
            raise ValueError("training would never end: give at least one of epochs, steps, minutes")
        return self


class TrainingBasics(Section):
    """The fields of the training section that every training needs."""

    batch_size: int = Field(
        64,
        ge=1,
        le=2**20,
        description="Number of text streams, or of documents, read in parallel; each update averages over all of them.",
    )
    sequence_length: int = Field(
        64,
        ge=1,
        le=2**20,
        description="Characters per chunk, through which gradients are backpropagated (truncated backpropagation "
        "through time, Williams & Peng 1990). The state is carried from chunk to chunk; with documents, within a "
        "document only. Short documents make short chunks.",
    )
    optimizer: OptimizerName = Field(
        "adamw",
        description=f"{' '.join(f'{name}: {known.summary}' for name, known in OPTIMIZERS.items())} Each needs a "
        "different learning_rate: sgd a far larger one than adamw.",
    )
    learning_rate: float = Field(
        2e-3, gt=0, le=1e6, description="Highest learning rate of the schedule, reached after the warmup."
    )
    momentum: float = Field(0.9, ge=0, lt=1, description="Momentum of sgd and rmsprop; adamw does not use it.")
    alpha: float = Field(
        0.99,
        ge=0,
        lt=1,
        description="Smoothing constant of rmsprop: its mean square of the gradient is, at each step, alpha times the "
        "previous one plus 1 - alpha times the squared gradient. adamw and sgd do not use it.",
    )
    weight_decay: float = Field(
        0.0,
        ge=0,
        le=1e6,
        description="Weight decay of all matrices, the embedding included, but not of biases and other vectors: "
        "decoupled from the gradient in adamw, an L2 penalty in sgd and rmsprop.",
    )
    schedule: Literal["constant", "cosine", "step", "plateau"] = Field(
        "cosine",
        description="Learning rate after the warmup. constant: no change. cosine: decays along a half cosine until the "
        "end of the budget (Loshchilov & Hutter 2017). step: multiplied by gamma every step_size epochs, the first "
        "time after hold_epochs. plateau: multiplied by gamma when more than patience evaluations in a row bring no "
        "improvement.",
    )
    warmup_steps: int | None = Field(
        None,
        ge=0,
        description="Steps over which the learning rate rises linearly to learning_rate; 0: no warmup. null: 100 "
        "steps, or the first twentieth of the budget, if that is shorter.",
    )
    final_learning_rate_fraction: float = Field(
        0.05, ge=0, le=1, description="Learning rate at the end of schedule: cosine, as a fraction of learning_rate."
    )
    step_size: float = Field(1.0, ge=1e-9, le=1e9, description="Epochs between two reductions with schedule: step.")
    hold_epochs: float | None = Field(
        None,
        gt=0,
        le=1e9,
        description="Epochs at the full learning rate before the first reduction with schedule: step; the others "
        "follow every step_size epochs. null: step_size.",
    )
    gamma: float = Field(
        0.5,
        gt=0,
        le=1,
        description="Factor by which schedule: step and schedule: plateau multiply the learning rate.",
    )
    patience: int = Field(
        2,
        ge=0,
        description="Evaluations in a row without improvement that schedule: plateau allows; after one more it reduces "
        "the learning rate.",
    )
    clip_grad_norm: float | None = Field(
        1.0,
        gt=0,
        description="Maximum norm of the gradient over all parameters together; a larger gradient is scaled down to it "
        "(Pascanu et al. 2013). null: no clipping.",
    )
    vanishing_penalty: float = Field(
        0.0,
        ge=0,
        le=1e6,
        description="Weight of a penalty on gradients that vanish or grow while they are backpropagated through time "
        "(Pascanu et al. 2013); it helps some plain networks on tasks that need memory. 8 corresponds to about 2 in "
        "the authors' code. 0: no penalty. Only for one layer of cell: rnn with nonlinearity: tanh, forward or "
        "backward, without zoneout and state_dropout.",
    )
    activation_regularization: float = Field(
        0.0,
        ge=0,
        le=1e6,
        description="Weight of a penalty on large outputs: alpha times the mean square of what the output layer "
        "reads, after dropout (AR; Merity et al. 2018, who take 2). The training loss that is shown does not "
        "include it.",
    )
    temporal_activation_regularization: float = Field(
        0.0,
        ge=0,
        le=1e6,
        description="Weight of a penalty on fast changes: beta times the mean square of the difference between "
        "successive outputs, before dropout (TAR; Merity et al. 2018, who take 1). Not included in the loss that is "
        "shown.",
    )
    reset_state: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Probability, per chunk and stream, that the carried state is reset to zero before the chunk, so "
        "that the network also learns to begin a text (Melis et al. 2020).",
    )
    input_masking: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Approximate fraction of the input characters that are masked in training, in spans of 1 to 8 "
        "characters; the targets stay. A bidirectional model then learns to fill gaps of several characters, and "
        "predicts single characters a little worse.",
    )
    budget: BudgetConfig = Field(
        BudgetConfig(epochs=10.0),
        description="When training ends: epochs, steps or minutes, whichever comes first. Default: 10 epochs. If a run "
        "is resumed with another budget, schedule: cosine continues as if the run had had this budget from the "
        "beginning; the other schedules do not depend on the budget.",
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="Data type of matrix multiplications in training. auto: bfloat16 on a GPU that supports it and on "
        "a CPU where that is faster, float32 elsewhere. Weights, cell state, loss and optimizer state stay in float32. "
        "With float32, training on an NVIDIA GPU uses TF32 (10 bits of mantissa) if the GPU supports it. Held-out "
        "scores are always computed in full float32.",
    )
    device: Annotated[str, TypeText(NAMES), AfterValidator(check_device_name)] = Field(
        "auto",
        json_schema_extra={"pattern": PATTERN},
        description="Device to train on: cpu, cuda (an NVIDIA or AMD GPU), cuda:N (GPU number N, counted from 0), mps "
        "(Apple's GPU). auto: a GPU if there is one, else the CPU.",
    )
    seed: int = Field(
        1,
        ge=0,
        le=2**32 - 1,
        description="Seed of the random numbers for weights, dropout and samples. The same seed gives the same run on "
        "the same machine with the same number of threads, unless the time limit of the budget is reached first.",
    )
    evaluate_every: int | None = Field(
        500,
        ge=1,
        description="Steps between two evaluations on the validation split. null: ten evaluations, after each tenth of "
        "the budget. Without a validation split, they score a sample of the training split.",
    )
    sample_length: int = Field(
        200,
        ge=0,
        description="Characters of sample text to generate and print at each evaluation; 0: no sample. A bidirectional "
        "model prints that much of the validation split (without one, of the training split) instead, with 8 "
        "characters in the middle, in brackets, predicted by the model.",
    )
    early_stopping: int | None = Field(
        None,
        ge=1,
        description="Number of evaluations in a row without improvement after which training stops early. null: never.",
    )
