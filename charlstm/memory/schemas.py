"""Schemas of the stored measurement files; a file that does not match its schema is measured again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import from_json

from charlstm.errors import UserError
from charlstm.files import read_regular

SIZE_LIMIT = 1 << 28

Number = Annotated[float, Field(allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0, lt=1 << 53)]
Fractions = Annotated[list[Fraction], Field(min_length=1)]
Numbers = Annotated[list[Number], Field(min_length=1)]


class _Result(BaseModel):
    model_config = ConfigDict(strict=True)


class _Fraction(_Result):
    accuracy: Fraction


class _Answers(_Fraction):
    character_accuracy: Fraction
    nats: Number | None


class _ContinualReber(_Fraction):
    positions: Count
    max_abs_state: Number | None


class _Surgery(_Result):
    exchanged: str
    original: Fraction
    swapped: Fraction
    neither: Fraction
    count: Count


class _Counting(_Result):
    longest: Count
    accepted: list[bool]
    unit: str
    correlation: Number | None
    rise: Number | None
    fall: Number | None
    values: Numbers
    counts: list[int]


class _Context(_Result):
    nats: list[Numbers]
    full_context_nats: Number
    blocks: Numbers


class _NGram(_Result):
    nats: Number


class _CharacterLosses(_Result):
    nats: Numbers
    text: str


class _Saturation(_Result):
    mean: Numbers
    left: Numbers
    right: Numbers


class _Gates(_Result):
    saturation: dict[str, _Saturation]
    half_lives: list[Number | None] | None
    letter: str
    series: list[Numbers]
    characters: list[str | None]


class _Dynamics(_Result):
    largest: Number
    median: Number
    smallest: Number
    spectral_radius: dict[str, Numbers]
    self_connection: dict[str, Number]
    exponents: list[list[Number | None]]


class _Readout(_Result):
    capacity: Number
    accuracy: Numbers
    r_squared: Numbers


class _FarContext(_Result):
    nats: list[Numbers]


class _DependencyBin(_Result):
    low: Count
    high: Count | None
    count: Count
    positions: list[Count]
    nats: Numbers
    correct: list[bool]


class _Ablation(_Result):
    count: Count
    loss: Number
    loss_elsewhere: Number | None
    change: list[Numbers]
    change_elsewhere: list[list[Number | None]]


class _SentenceAnswers(_Result):
    accuracy: Fractions
    candidates: Fractions
    probability: Fractions
    unigram: Fractions
    recency: Fractions


class _SentenceGates(_Result):
    means: dict[str, dict[str, Fraction]]
    letter: str | None
    series: list[Numbers]
    text: str


SCHEMAS: dict[str, TypeAdapter[Any]] = {
    "answers": TypeAdapter(_Answers),
    "gradient": TypeAdapter(dict[str, Numbers]),
    "longer": TypeAdapter(dict[str, Fraction]),
    "state_surgery": TypeAdapter(dict[str, _Surgery]),
    "counting": TypeAdapter(_Counting),
    "continual_reber": TypeAdapter(_ContinualReber),
    "reber": TypeAdapter(_Fraction),
    "context_loss": TypeAdapter(_Context),
    "character_losses": TypeAdapter(_CharacterLosses),
    "ngram": TypeAdapter(_NGram),
    "gate_values": TypeAdapter(_Gates),
    "state_dynamics": TypeAdapter(_Dynamics),
    "memory_capacity": TypeAdapter(dict[str, _Readout]),
    "far_context_loss": TypeAdapter(_FarContext),
    "dependency_loss": TypeAdapter(dict[str, list[_DependencyBin]]),
    "ngram_dependency_loss": TypeAdapter(dict[str, list[_DependencyBin]]),
    "unit_ablation": TypeAdapter(dict[str, _Ablation]),
    "sentence_answers": TypeAdapter(_SentenceAnswers),
    "sentence_gates": TypeAdapter(_SentenceGates),
}
"""Schemas by the name of the measure."""


def read_measurement(path: Path, measure: str) -> dict[str, Any]:
    """Read the result of a measure. Raises UserError if the file is missing or does not match the schema."""
    content = read_regular(path, SIZE_LIMIT)
    try:
        result: dict[str, Any] = from_json(content)
        SCHEMAS[measure].validate_python(result)
    except ValidationError as problem:
        first = problem.errors(include_url=False, include_input=False)[0]
        field = ".".join(map(str, first["loc"]))
        raise UserError(f"{path}: not a result of the measure {measure}: {field:.80}: {first['msg']:.200}") from None
    except ValueError:
        raise UserError(f"{path}: not a result of the measure {measure}: invalid JSON") from None
    return result
