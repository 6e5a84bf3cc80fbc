"""The progress of a comparison that trains many runs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """Progress of a phase: the job that was just completed, and how many of its jobs are. As long as none is, the label
    is empty."""

    phase: str
    label: str
    done: int
    total: int
