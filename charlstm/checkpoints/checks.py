"""Checks of a checkpoint against its configuration before it is used: a checksum can be forged."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from torch import Tensor

from charlstm import __version__
from charlstm.checkpoints.counters import LARGEST_LOSS, Count, Counters, Nats
from charlstm.checkpoints.format import WEIGHTS_ONLY, Check, DamagedError
from charlstm.checkpoints.layout import check_layout, check_weights
from charlstm.config import Config, parse_config, with_former_defaults
from charlstm.config.training import MAX_PATIENCE
from charlstm.errors import UserError
from charlstm.text.vocabulary import Vocabulary

_Text = Annotated[str, Field(max_length=1000)]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True)


class _Versions(_Strict):
    charlstm: _Text
    torch: _Text


class _Streams(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")
    __pydantic_extra__: dict[str, Count]

    epoch: Count
    position: Count
    batch_size: Annotated[int, Field(ge=1)]


class _Average(_Strict):
    start: Count | None
    scores: list[Nats] = Field(max_length=MAX_PATIENCE + 1)


class _HeldOutSample(_Strict):
    characters: Annotated[Count, Field(ge=1)]
    of: Count

    @model_validator(mode="after")
    def _is_part(self) -> _HeldOutSample:
        if self.characters > self.of:
            raise ValueError("more characters than the split has")
        return self


class _WeightsHeader(_Strict):
    """The keys of the header of a file with weights alone, except the vocabulary, with types and ranges."""

    config: dict[str, Any]
    corpus_digest: _Text
    lead_ins: list[_Text] = Field([], max_length=1000)
    versions: _Versions
    parameters: Count

    @field_validator("lead_ins")
    @classmethod
    def _equally_long(cls, texts: list[str]) -> list[str]:
        if len(set(map(len, texts))) > 1:
            raise ValueError("they have different lengths")
        return texts


class Header(_WeightsHeader):
    """The keys that are read, except the vocabulary, with types and ranges; other keys are ignored."""

    written: dict[Literal["metrics", "samples"], Count] = Field(min_length=2)
    counters: Counters
    schedule: dict[Literal["reductions", "without_improvement"], Count] = Field(min_length=2)
    streams: _Streams
    average: _Average | None = None
    held_out_sample: _HeldOutSample | None = None
    device: _Text
    precision: Literal["float32", "bfloat16"]
    threads: Annotated[int, Field(ge=1, lt=1 << 31)]
    processes: Annotated[int, Field(ge=1, lt=1 << 31)] = 1
    executors: list[_Text] = Field(max_length=1024)

    @model_validator(mode="after")
    def _consistent(self) -> Header:
        c = self.counters
        conditions = {
            "more evaluations than steps": c.step >= c.evaluations_without_improvement,
            "a best score after the last step": c.best_step is None or c.best_step <= c.step,
            "only a part of the best score": (c.best_step is None) == (c.best_nats is None),
            "more recorded than trained": c.recorded_characters <= c.characters and c.recorded_seconds <= c.seconds,
            "an impossible sum of losses": abs(c.sum_nats) <= LARGEST_LOSS * c.sum_count,
            "more steps with a high loss than steps": c.high_loss_steps <= c.step,
            "a kept checkpoint after the last step": c.kept_step <= c.step and c.kept_seconds <= c.seconds,
            "more reductions than steps": max(self.schedule.values()) <= c.step,
            "averaged weights of more steps": self.average is None or (self.average.start or 0) <= c.step,
        }
        if wrong := [what for what, holds in conditions.items() if not holds]:
            raise ValueError(f"it has {wrong[0]}")
        return self


ConfigCheck = Callable[[Path, Config], None]
"""Takes a checkpoint's path and configuration; raises UserError if the configuration does not match the run."""


def checkpoint_checks(
    check_config: ConfigCheck = lambda *_: None, weights_only: bool = False, optimizer: bool = True
) -> Check:
    """A check that header, names, shapes and dtypes are what the header's configuration implies.

    With ``weights_only`` a file may have the weights alone, so that it can be sampled but not trained on. Without
    ``optimizer`` the optimizer's tensors may be any: for uses that ignore them.

    The check raises DamagedError if they are not, UserError if another version of charlstm wrote them, and whatever
    ``check_config`` raises.
    """

    def check(path: Path, header: Mapping[str, Any], declared: Mapping[str, Tensor]) -> None:
        try:
            fields, config, vocabulary = _parse_header(header)
            if not weights_only and not isinstance(fields, Header):
                raise UserError("it has the weights of a model alone, and not the state of its training")
        except UserError as problem:
            reason = str(problem).splitlines()[0]
            raise _unusable(path, header, f"not a checkpoint of charlstm: {reason}") from None
        check_config(path, config)
        try:
            if not set("".join(fields.lead_ins)) <= set(vocabulary.symbols):
                raise UserError("its lead_ins have characters that its vocabulary does not have")
            if not isinstance(fields, Header):
                check_weights(declared, config, vocabulary.size)
                return
            batch_size = fields.streams.batch_size
            if batch_size > config.training.batch_size:
                raise UserError(f"its header has {batch_size} streams, more than training.batch_size")
            chunks = fields.counters.step * config.training.gradient_accumulation
            if max(fields.streams.epoch, fields.streams.position) > chunks:
                raise UserError("its header has more of the text read than there were steps")
            check_layout(declared, config, vocabulary.size, fields.counters.step, batch_size, optimizer)
        except UserError as problem:
            raise _unusable(path, header, str(problem)) from None

    return check


def _unusable(path: Path, header: Mapping[str, Any], reason: str) -> UserError:
    """DamagedError; UserError if another version wrote the checkpoint, so that no older one is used in its place."""
    versions = header.get("versions")
    version = versions.get("charlstm") if isinstance(versions, Mapping) else None
    if not isinstance(version, str) or version == __version__:
        return DamagedError(f"{path}: {reason}")
    return UserError(
        f"{path}: written by charlstm {version!r:.30}, and this is {__version__}: {reason}. Install that version"
    )


def header_settings(header: Mapping[str, Any]) -> tuple[Config, Vocabulary]:
    """The configuration and the vocabulary in a checked header."""
    _, config, vocabulary = _parse_header(header)
    return config, vocabulary


def _parse_header(header: Mapping[str, Any]) -> tuple[Header | _WeightsHeader, Config, Vocabulary]:
    kind = _WeightsHeader if header.get(WEIGHTS_ONLY) is True else Header
    try:
        # Without the vocabulary, which may have megabytes: it is parsed below.
        fields = kind.model_validate_json(json.dumps({**header, "vocabulary": ""}))
    except ValidationError as problem:
        first = problem.errors(include_input=False, include_url=False)[0]
        key = ".".join(map(str, first["loc"])) or "a number"
        raise UserError(f"{key!r:.80} in its header: {first['msg']:.200}") from None
    try:
        vocabulary = Vocabulary.from_json(header["vocabulary"])
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as problem:
        raise UserError(f"its vocabulary: {problem!s:.200}") from None
    return fields, parse_config(with_former_defaults(fields.config), "its configuration"), vocabulary
