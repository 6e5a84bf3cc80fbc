"""What each measure leaves in a run's folder, as a schema: a file that is not so is measured again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import from_json

from charlstm.errors import UserError
from charlstm.files import read_regular

SIZE_LIMIT = 1 << 28

Number = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0, lt=1 << 53)]
Numbers = Annotated[list[Number], Field(min_length=1)]


class _Figures(BaseModel):
    model_config = ConfigDict(strict=True)


class _Share(_Figures):
    share: Share


class _Answers(_Share):
    characters_right: Share
    nats: Number | None


class _Critical(_Share):
    places: Count
    largest: Number | None


class _Surgery(_Figures):
    exchanged: str
    own: Share
    partner: Share
    neither: Share
    count: Count


class _Counted(_Figures):
    longest: Count
    accepted: list[bool]
    unit: str
    correlation: Number | None
    rise: Number | None
    fall: Number | None
    values: Numbers
    counts: list[int]


class _Context(_Figures):
    nats: list[Numbers]
    all: Number
    blocks: Numbers


class _Bin(_Figures):
    low: Count
    high: Count | None
    count: Count
    right: Number
    nats: Number | None


class _NGram(_Figures):
    nats: Number
    signs: dict[str, list[_Bin]]


class _Saturation(_Figures):
    mean: Numbers
    left: Numbers
    right: Numbers


class _Gates(_Figures):
    saturation: dict[str, _Saturation]
    half_lives: list[Number | None] | None
    letter: str
    series: list[Numbers]
    characters: list[str | None]


SCHEMAS: dict[str, TypeAdapter[Any]] = {
    "answers": TypeAdapter(_Answers),
    "gradient": TypeAdapter(dict[str, Numbers]),
    "exchange": TypeAdapter(dict[str, _Surgery]),
    "counted": TypeAdapter(_Counted),
    "critical": TypeAdapter(_Critical),
    "closing_symbol": TypeAdapter(_Share),
    "kept_context": TypeAdapter(_Context),
    "signs": TypeAdapter(dict[str, list[_Bin]]),
    "ngram": TypeAdapter(_NGram),
    "gate_values": TypeAdapter(_Gates),
}
"""By the measure's name."""


def read_measured(path: Path, measure: str) -> dict[str, Any]:
    """The figures that a measure left. Raises UserError if the file is missing, or is no such figures."""
    content = read_regular(path, SIZE_LIMIT)
    try:
        figures: dict[str, Any] = from_json(content)
        SCHEMAS[measure].validate_python(figures)
    except ValidationError as problem:
        first = problem.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise UserError(f"{path}: no result of the measure {measure}: {place:.80}: {first['msg']:.200}") from None
    except ValueError:
        raise UserError(f"{path}: no result of the measure {measure}: it is not JSON") from None
    return figures
