"""The schema of the records of metrics.jsonl."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

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


class _Score(_Record):
    kind: Literal["train", "evaluation"]
    characters: _Count
    seconds: _Seconds
    nats: _Nats
    training_split_nats: _Nats | None = None


class _End(_Record):
    kind: Literal["end"]
    stop_reason: StopReason
    seconds: _Seconds


RECORD: TypeAdapter[_Record] = TypeAdapter(Annotated[_Start | _Score | _End, Field(discriminator="kind")])
