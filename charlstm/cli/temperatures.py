"""The temperatures of ``charlstm sample``: one, or several, of which each gives texts; each may change over a text."""

from __future__ import annotations

from typing import NamedTuple

import typer


class Temperature(NamedTuple):
    """A temperature, and the one at the end of the text, if it changes."""

    first: float
    final: float | None

    @property
    def value(self) -> float | tuple[float, float]:
        """The argument of :meth:`charlstm.api.LoadedRun.generate`."""
        return self.first if self.final is None else (self.first, self.final)

    @property
    def is_greedy(self) -> bool:
        """Whether the most probable character is always taken."""
        return self.first == 0 and self.final is None

    def __str__(self) -> str:
        return f"{self.first:g}" if self.final is None else f"{self.first:g}:{self.final:g}"


def parse_temperatures(given: str) -> list[Temperature]:
    """The temperatures, separated by commas. Raises BadParameter, a usage error."""
    return [_parse_temperature(part) for part in given.split(",")]


def _parse_temperature(given: str) -> Temperature:
    try:
        first, *last = [float(part) for part in given.split(":")]
        (final,) = last or [first]
    except ValueError:
        raise typer.BadParameter(
            f"{given!r} is neither a number nor two with a colon between them, such as 1.2:0.6; commas separate "
            "several temperatures, such as 0.2,0.5,1",
            param_hint="--temperature",
        ) from None
    return Temperature(first, None if final == first else final)
