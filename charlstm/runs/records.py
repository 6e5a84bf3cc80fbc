"""The schema of the records of metrics.jsonl."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

StopReason = Literal["budget", "target_reached", "early_stopping", "stopped", "diverged"]

_Count = Annotated[int, Field(ge=0, lt=1 << 53)]
_Seconds = Annotated[float, Field(ge=0, lt=1e12, allow_inf_nan=False)]
_Nats = Annotated[float, Field(gt=-1e30, lt=1e30, allow_inf_nan=False)]


class _Record(BaseModel):
    """The fields that are read, with their ranges; a record may have others."""

    model_config = ConfigDict(strict=True)
    step: _Count


class _Start(_Record):
    kind: Literal["start"]


class _Train(_Record):
    kind: Literal["train"]
    characters: _Count
    seconds: _Seconds
    nats: _Nats


class _Evaluation(_Record):
    """``nats``: of the held-out text; null if nothing is held out. ``sampled_from``: if it is the score of a sample,
    the number of characters of that text."""

    kind: Literal["evaluation"]
    characters: _Count
    seconds: _Seconds
    nats: _Nats | None
    training_split_nats: _Nats | None = None
    raw_nats: _Nats | None = None
    sampled_from: _Count | None = None
    nats_standard_error: _Nats | None = None
    gap_nats_standard_error: _Nats | None = None

    @model_validator(mode="after")
    def _has_a_score(self) -> _Evaluation:
        if self.nats is None and self.training_split_nats is None:
            raise ValueError("it has no score")
        return self


class _WholeSplit(_Record):
    """A score on the whole validation split, if evaluations have scored a sample of it."""

    kind: Literal["whole_split"]
    network: Literal["best", "last"]
    seconds: _Seconds
    nats: _Nats
    characters_scored: _Count


class _End(_Record):
    kind: Literal["end"]
    stop_reason: StopReason
    seconds: _Seconds


RECORD: TypeAdapter[_Record] = TypeAdapter(
    Annotated[_Start | _Train | _Evaluation | _WholeSplit | _End, Field(discriminator="kind")]
)
