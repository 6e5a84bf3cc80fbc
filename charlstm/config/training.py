"""The training section of a configuration.

Every ``description`` is the public documentation of its field: ``charlstm config`` and the JSON Schema print it.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from charlstm.config.sections import Section, TrainingBasics, TypeText

MAX_PATIENCE = 1000
MAX_KEPT = 1000
MIN_EVALUATION_CHARACTERS = 1000
"""Characters of the smallest sample that can be asked for: it has three stretches, from which its standard error is
estimated."""

Factor = Annotated[float, Field(ge=0, le=1e6)]


class LearningRateFactors(Section):
    """Factors of the learning rate for the parts of the network, as ``charlstm train --dry-run`` lists them."""

    front_end: Factor = Field(1.0, description="Factor for the front end: embedding, convolution and highway layer.")
    recurrent: Factor = Field(1.0, description="Factor for the recurrent layers, in both directions.")
    head: Factor = Field(
        1.0,
        description="Factor for the output layer. With tie_weights, for its biases only: its matrix is that of the "
        "front end.",
    )


class TrainingConfig(TrainingBasics):
    """How the network is trained: truncated backpropagation through time with carried state."""

    averaging_decay: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Decay of an exponential average of the weights (Polyak & Juditsky 1992), such as 0.999, which "
        "averages over about 1,000 steps. Its bias is corrected (Kingma & Ba 2015): the initial weights do not count. "
        "The average is what is scored, sampled and saved; checkpoints also have the trained weights, to resume from. "
        "null: no average, or with averaging_patience one in which all steps count equally.",
    )
    averaging_patience: int | None = Field(
        None,
        ge=1,
        le=MAX_PATIENCE,
        description="The average of the weights starts at the first evaluation whose score is worse than the best of "
        "those before the latest averaging_patience evaluations, as in NT-ASGD (Merity et al. 2018, with 5), with any "
        "optimizer. null: with averaging_decay it starts with the first step, else there is none.",
    )
    evaluation_characters: Annotated[int, Field(ge=MIN_EVALUATION_CHARACTERS)] | Literal["auto", "all"] = Field(
        "auto",
        description="Characters of the validation split that an evaluation scores: an evenly spread sample, the "
        "same each time, so that the scores of a run are comparable. auto: so many, but at least 10,000, that an "
        "evaluation reads an eighth as many characters as training has read since the one before, and takes at most "
        "about a tenth of the training time on a CPU. That counts the sample of the training split, half as many "
        "characters of context as are scored, and with averaged weights both networks. The number is chosen at the "
        "first evaluation and then kept. all: the whole split. A split with fewer characters is scored whole. If "
        "evaluations scored a sample, the best and the last network are scored on the whole split at the end. Of "
        "documents, whole ones are taken.",
    )
    keep_checkpoints: Annotated[int, Field(ge=0, le=MAX_KEPT)] | Literal["all"] = Field(
        0,
        description="Checkpoints of evaluations to keep beside the last and the best: this many, evenly spread "
        "over the budget, or all. `checkpoints/step-00000400.safetensors` is that of step 400: charlstm sample RUN "
        "--checkpoint 400. Each is as large as the last.",
    )
    label_smoothing: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Label smoothing (Szegedy et al. 2016): this fraction of the target probability is spread evenly "
        "over all characters of the vocabulary. Reported losses and scores are still those of the true characters. "
        "0: none.",
    )
    gradient_accumulation: int = Field(
        1,
        ge=1,
        le=2**16,
        description="Number of consecutive chunks whose gradients make one update of the weights, with the memory "
        "of one chunk: the gradient of the mean loss over all their characters. The state is carried from chunk to "
        "chunk. A step is one update in all settings and records, so it reads this many chunks; the last step of "
        "an epoch reads those that are left.",
    )
    initial_run: Annotated[str | None, TypeText("run")] = Field(
        None,
        min_length=1,
        max_length=4096,
        description="The run whose weights training starts from, to fine-tune them on another text (Howard & Ruder "
        "2018): its folder, its name in the folder of runs, or latest; or a checkpoint file. Its best checkpoint "
        "is taken, with the averaged weights if it has them. Fields that the model section leaves out are as in "
        "that run, except for dropout without a model section; a field that contradicts its network is an error. "
        "Weights of characters are copied by character, and those of new characters are initialized as usual. "
        "null: all weights are initialized.",
    )
    learning_rate_factors: LearningRateFactors = Field(
        LearningRateFactors(),
        description="Factors by which the learning rate is multiplied for parts of the network (discriminative "
        "fine-tuning, Howard & Ruder 2018).",
    )
    sequence_length_std: int = Field(
        0,
        ge=0,
        le=2**18,
        description="Standard deviation of random chunk lengths, so that chunks are not cut at the same characters "
        "in each epoch (Merity et al. 2018: 5 with sequence_length 70). The lengths are normal with mean "
        "sequence_length, or with probability 0.05 half of that. The learning rate of a step is multiplied by "
        "length / sequence_length. At most a quarter of sequence_length. 0: all chunks are equally long. Only for "
        "one running text, without documents and with validation: tail.",
    )

    @field_validator("sequence_length_std")
    @classmethod
    def _is_fraction_of_length(cls, value: int, info: ValidationInfo) -> int:
        length = info.data.get("sequence_length")
        if length is not None and 4 * value > length:
            raise ValueError(f"expected at most a quarter of sequence_length, {length}, found {value}")
        return value

    @property
    def averages_weights(self) -> bool:
        """Whether the average of the weights is what is scored, sampled and saved."""
        return self.averaging_decay is not None or self.averaging_patience is not None

    @property
    def fields_on_held_out_scores(self) -> list[tuple[str, ...]]:
        """The fields that make training depend on held-out scores."""
        depends = {
            ("schedule",): self.schedule == "plateau",
            ("early_stopping",): self.early_stopping is not None,
            ("averaging_patience",): self.averaging_patience is not None,
            ("budget", "target_nats"): self.budget.target_nats is not None,
        }
        return [field for field, is_set in depends.items() if is_set]
