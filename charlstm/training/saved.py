"""What the header and the tensors of a checkpoint must be before they are used: a checksum can be forged."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from torch import Tensor

from charlstm.config import Config, parse_config
from charlstm.errors import UserError
from charlstm.model import LanguageModel
from charlstm.text.vocabulary import Vocabulary
from charlstm.training.checkpoint import under
from charlstm.training.state import Counters, TrainingState

_LARGEST = 1 << 53


class Header(BaseModel):
    """The keys that are read, with their types; others are let be."""

    model_config = ConfigDict(strict=True)

    config: dict[str, Any]
    vocabulary: str
    corpus_digest: str
    written: dict[Literal["metrics", "samples"], int] = Field(min_length=2)
    counters: dict[str, bool | int | float | None]
    schedule: dict[str, int]
    streams: dict[str, int]
    device: str
    precision: Literal["float32", "bfloat16"]
    threads: int
    processes: int = 1
    versions: dict[str, str]
    parameters: int
    executors: list[str]


def checked(path: Path, header: Mapping[str, Any]) -> tuple[Config, Vocabulary]:
    """The configuration and the vocabulary in a header whose every part has its type. Raises UserError."""
    try:
        Header.model_validate(header)
        counters = TypeAdapter(Counters).validate_json(json.dumps(header["counters"]), strict=True)
        numbers = (counters.step, counters.characters, *header["written"].values(), *header["streams"].values())
        if not all(0 <= number < _LARGEST for number in numbers):
            raise UserError(f"{path}: not a checkpoint of charlstm: a number in its header is out of range")
    except ValidationError as problem:
        first = problem.errors(include_input=False, include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise UserError(f"{path}: not a checkpoint of charlstm: {place!r:.80} in its header: {first['msg']}") from None
    try:
        vocabulary = Vocabulary.from_json(header["vocabulary"])
    except (ValueError, RecursionError) as problem:
        raise UserError(f"{path}: not a checkpoint of charlstm: its vocabulary: {problem!s:.200}") from None
    return parse_config(header["config"], str(path)), vocabulary


def check_model(path: Path, tensors: Mapping[str, Tensor], config: Config, vocabulary: Vocabulary) -> None:
    """Raises UserError if the weights are not those of this model; allocates none to find out."""
    weights = under("model", tensors)
    if config.model.num_layers > len(weights):
        raise UserError(f"{path}: {len(weights)} tensors are too few for a model of {config.model.num_layers} layers")
    with torch.device("meta"):
        expected = LanguageModel(config.model, vocabulary.size).state_dict()
    check_shapes(path, weights, expected)


def check_shapes(path: Path, tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Raises UserError at the first tensor that is missing, unexpected, or of another shape or dtype."""
    for name in sorted(expected.keys() | tensors.keys()):
        is_, should = (_described(found.get(name)) for found in (tensors, expected))
        if is_ != should:
            raise UserError(
                f"{path}: of another vocabulary or model than its configuration says: "
                f"{name!r:.80} is {is_}, should be {should}"
            )


def check_optimizer(path: Path, tensors: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> None:
    """Raises UserError if the optimiser's state is not that of these parameters: a number each, or of their shape."""
    for name, t in under("optimizer", tensors).items():
        owner = weights.get(name.rpartition(".")[0])
        if owner is None or not t.is_floating_point() or (t.shape != owner.shape and t.dim() > 0):
            raise UserError(f"{path}: of another model: the optimiser's {name!r:.80} is {_described(t)}")


def load_state(state: TrainingState, path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """Put a checkpoint into a training state. Raises UserError if it does not fit."""
    check_shapes(path, under("model", tensors), state.model.state_dict())
    carried = state.model.initial_state(state.streams.batch_size)
    check_shapes(path, under("state", tensors), {str(index): part for index, part in enumerate(carried)})
    check_optimizer(path, tensors, dict(state.model.named_parameters()))
    try:
        state.load(tensors, header)
    except (KeyError, TypeError, ValueError, RuntimeError) as problem:
        raise UserError(f"{path}: does not fit this run: {str(problem).splitlines()[0]:.200}") from None


def _described(t: Tensor | None) -> str:
    return "missing" if t is None else f"{str(t.dtype).removeprefix('torch.')} {list(t.shape)}"
