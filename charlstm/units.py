"""Nats and bits."""

import math


def bits(nats: float) -> float:
    """Nats as bits: nats / ln 2. The one place where the two meet."""
    return nats / math.log(2.0)
