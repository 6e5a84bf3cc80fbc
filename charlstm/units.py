"""Nats and bits, and numbers that are none."""

import math
from collections.abc import Mapping


def bits(nats: float) -> float:
    """Nats as bits: nats / ln 2. The one place where the two meet."""
    return nats / math.log(2.0)


def finite(value: object) -> object:
    """The same in JSON types, with None for what is not a finite number."""
    if isinstance(value, Mapping):
        return {str(key): finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
