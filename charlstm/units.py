"""Conversion of nats to bits, of seconds to text, and of values to finite JSON numbers."""

import math
from collections.abc import Mapping


def bits(nats: float) -> float:
    """Nats converted to bits: nats / ln 2."""
    return nats / math.log(2.0)


def finite(value: object) -> object:
    """The value in JSON types, with None for numbers that are not finite."""
    if isinstance(value, Mapping):
        return {str(key): finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def duration(seconds: float) -> str:
    """``1:23:45`` or ``4:05``."""
    if not math.isfinite(seconds):
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
