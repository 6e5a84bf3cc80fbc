"""Print the events of a training run."""

from __future__ import annotations

from collections.abc import Iterable

from charlstm.console import ProgressLine, duration, out
from charlstm.text.visible import visible
from charlstm.training.events import Ended, Evaluated, Event, Notice, Progress


def follow(events: Iterable[Event], prefix: str = "", samples: bool = True, unit: str = "character") -> Ended:
    """Print the events as they arrive; returns the last one. ``unit``: character or byte."""
    ended: Ended | None = None
    with ProgressLine(prefix) as line:
        for event in events:
            if isinstance(event, Progress):
                line.update(event.fraction, lambda e=event: progress_text(e, unit))  # type: ignore[misc]
            elif isinstance(event, Evaluated):
                out(prefix + evaluated_text(event, unit))
                if samples and event.sample:
                    out("\n".join(f"    {part}" for part in visible(event.sample).split("\n")))
            elif isinstance(event, Notice):
                out(prefix + event.text)
            else:
                ended = event
    assert ended is not None
    return ended


def progress_text(e: Progress, unit: str) -> str:
    short = unit.removesuffix("acter")
    return (
        f"step {e.step:,} epoch {e.epoch:.2f}  loss {e.nats:.3f} nats, {e.bits_per_character:.3f} bits/{short}  "
        f"{e.characters_per_second:,.0f} {short}/s  {duration(e.seconds_left)} left"
    )


def evaluated_text(e: Evaluated, unit: str) -> str:
    kind = "pseudo-likelihood" if e.is_pseudo_likelihood else "held out"
    mark = "  (best so far)" if e.improved else ""
    training = "" if e.training_split_bits is None else f"training text {e.training_split_bits:.3f} bits, "
    return (
        f"step {e.step:,} epoch {e.epoch:.2f}  {training}{kind} {e.nats:.4f} nats, "
        f"{e.bits_per_character:.4f} bits per {unit}{mark}"
    )
