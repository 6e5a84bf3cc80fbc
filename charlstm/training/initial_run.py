"""The weights of another run, from which a training starts: fine-tuning.

Weights that belong to a symbol are copied by symbol, since its id differs between vocabularies: rows of the embedding
and of the readout with their biases, or columns of the input weights of one-hot vectors. A symbol that the other run
does not have starts as in a training from scratch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from charlstm.checkpoints.checks import header_settings
from charlstm.checkpoints.format import strip_prefix
from charlstm.config import Config, ModelConfig, as_yaml
from charlstm.errors import UserError
from charlstm.model import LanguageModel
from charlstm.model.zoneout import NAME as ZONEOUT
from charlstm.runs.loading import load_checkpoint_of
from charlstm.runs.naming import initial_run_name
from charlstm.text.visible import listed_symbols
from charlstm.text.vocabulary import Vocabulary

REGULARIZATION = {
    "dropout",
    "dropout_kind",
    "embedding_dropout",
    "input_dropout",
    "hidden_dropout",
    "output_dropout",
    "weight_drop",
    "state_dropout",
    "zoneout_h",
    "zoneout_c",
}
MAY_DIFFER = REGULARIZATION | {"washout", "executor", "unigram_bias"}
"""The fields of the model section that do not change what its weights mean."""


@dataclass(frozen=True, eq=False)
class InitialRun:
    """A run whose weights another training starts from.

    Attributes:
        path: as the configuration of that training records it.
        step: the step of the checkpoint; None for a folder of a model hub, which does not say it.
        damaged: one message for each damaged checkpoint that was skipped.
    """

    path: Path
    config: Config
    vocabulary: Vocabulary
    step: int | None
    damaged: list[str]

    def new_characters(self, vocabulary: Vocabulary) -> str:
        """The symbols of a vocabulary that this run does not have."""
        return "".join(sorted({*vocabulary.symbols} - {*self.vocabulary.symbols}))

    def facts(self, vocabulary: Vocabulary) -> dict[str, Any]:
        """What the metrics of a run with this vocabulary record about its start."""
        name, new = initial_run_name(str(self.path)), self.new_characters(vocabulary)
        return {"name": name, "step": self.step, "new_characters": new}

    def describe(self, vocabulary: Vocabulary) -> str:
        """One line: where the weights come from, and which symbols of the vocabulary are new."""
        new = self.new_characters(vocabulary)
        known, unit = vocabulary.size - len(new), vocabulary.unit
        step = "" if self.step is None else f", step {self.step:,}"
        listed = f"{len(new):,} new: {listed_symbols(new, vocabulary.kind)}" if new else "none new"
        return f"starts from the weights of {self.path}{step}: {known:,} known {unit}s, {listed}"

    def check(self, config: Config, vocabulary: Vocabulary) -> None:
        """Raises UserError, with both values, unless a model of this configuration can start from these weights."""
        if vocabulary.kind != self.vocabulary.kind:
            raise encoding_error(config.corpus.encoding, self.config.corpus.encoding, self.path)
        check_same_network(config.model.model_dump(), self.config.model, self.path)

    def copy_weights(self, weights: Mapping[str, Tensor], model: LanguageModel, vocabulary: Vocabulary) -> None:
        """Copy the weights of this run into a model with the same network and another vocabulary, symbol by symbol.

        The rates of zoneout, which the state dictionary has too, stay those of the model's configuration.
        """
        ids = {symbol: index for index, symbol in enumerate(self.vocabulary.symbols)}
        common = [(ids[symbol], index) for index, symbol in enumerate(vocabulary.symbols) if symbol in ids]
        old, new = torch.tensor(common, dtype=torch.int64).reshape(-1, 2).unbind(1)
        dimensions = symbol_dimensions(model.config)
        with torch.no_grad():
            for name, tensor in model.state_dict().items():
                if name.rpartition(".")[2].startswith(f"{ZONEOUT}_"):
                    continue
                if name not in dimensions:
                    tensor.copy_(weights[name])
                    continue
                known = weights[name].index_select(dimensions[name], old)
                if name == "head.bias" and model.config.unigram_bias and len(new):
                    # The biases of the run are logarithms of frequencies up to a constant.
                    tensor += (known.to(tensor.device) - tensor[new.to(tensor.device)]).mean()
                tensor.index_copy_(dimensions[name], new.to(tensor.device), known.to(tensor.device))


def load_initial_run(path: Path) -> tuple[InitialRun, dict[str, Tensor]]:
    """The best checkpoint of a run, or another file, as `charlstm.runs.names.find_initial_run` finds it: the run, and
    the state dictionary of its model, of its averaged weights if it has them.

    Raises UserError as :func:`charlstm.runs.loading.load_checkpoint_of` does, with the name of the field.
    """
    try:
        checkpoint, _ = load_checkpoint_of(path)
        config, vocabulary = header_settings(checkpoint.header)
    except UserError as problem:
        raise UserError(f"training.initial_run: {problem}") from None
    step = checkpoint.header.get("counters", {}).get("step")
    return InitialRun(path, config, vocabulary, step, checkpoint.damaged), strip_prefix("model", checkpoint.tensors)


def digest_of(weights: Mapping[str, Tensor]) -> str:
    """SHA-256 (hex) of a state dictionary."""
    digest = hashlib.sha256()
    for _, tensor in sorted(weights.items()):
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def symbol_dimensions(config: ModelConfig) -> dict[str, int]:
    """The dimension of each tensor of a model that has an entry for each symbol of the vocabulary; others are left
    out."""
    with torch.device("meta"):
        smaller, larger = (LanguageModel(config, size).state_dict() for size in (2, 3))
    return {
        name: next(d for d, (a, b) in enumerate(zip(t.shape, larger[name].shape, strict=True)) if a != b)
        for name, t in smaller.items()
        if t.shape != larger[name].shape
    }


def check_same_network(given: Mapping[str, Any], model: ModelConfig, path: Path) -> None:
    """Raises UserError, with both values, if a given field of the model section is not that of the run at ``path``,
    although its weights would then mean something else."""
    own = model.model_dump()
    for name, value in given.items():
        if name in own and name not in MAY_DIFFER and value != own[name]:
            raise UserError(
                f"model.{name} is {as_yaml(value)}, but {as_yaml(own[name])} in {path}, whose weights training starts "
                "from: leave it out to take that one"
            )


def encoding_error(given: str, own: str, path: Path) -> UserError:
    """The error for a text of bytes and a run of characters, or the other way round."""
    return UserError(
        f"corpus.encoding is {given}, but {own} in {path}, whose weights training starts from: a model of bytes cannot "
        "become one of characters, or the other way round"
    )
