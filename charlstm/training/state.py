"""All that a training run has to remember, in one place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from charlstm.executors import State
from charlstm.model import LanguageModel
from charlstm.text.streams import Streams
from charlstm.training.checkpoint import under
from charlstm.training.optimisation import Schedule, load_optimizer_tensors, optimizer_tensors


@dataclass
class Counters:
    """Numbers that a run has to remember. ``sum_nats`` and ``sum_count`` cover the steps since the last record."""

    step: int = 0
    characters: int = 0
    seconds: float = 0.0
    sum_nats: float = 0.0
    sum_count: int = 0
    recorded_seconds: float = 0.0
    recorded_characters: int = 0
    best_nats: float | None = None
    best_step: int | None = None
    evaluations_without_improvement: int = 0


@dataclass
class TrainingState:
    """Model, optimiser, schedule, the place in the text, the carried state, the counters, and torch's random state.

    What is here, and the settings, determine how the run goes on; nothing else does.
    """

    model: LanguageModel
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    streams: Streams
    carried: State
    counters: Counters = field(default_factory=Counters)

    @property
    def device(self) -> torch.device:
        return self.model.head.weight.device

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor by name: ``model.``, ``optimizer.``, ``state.``, ``random.``."""
        found = {
            **{f"model.{name}": t for name, t in self.model.state_dict().items()},
            **{f"optimizer.{name}": t for name, t in optimizer_tensors(self.optimizer, self.model).items()},
            **{f"state.{index}": part for index, part in enumerate(self.carried)},
            "random.cpu": torch.get_rng_state(),
        }
        if self.device.type == "cuda":
            found["random.cuda"] = torch.cuda.get_rng_state(self.device)
        return found

    def numbers(self) -> dict[str, Any]:
        """The rest, fit for JSON."""
        return {
            "counters": asdict(self.counters),
            "schedule": self.schedule.state_dict(),
            "streams": self.streams.state_dict(),
        }

    def load(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
        """Put back what :meth:`tensors` and :meth:`numbers` gave."""
        self.model.load_state_dict(under("model", tensors))
        load_optimizer_tensors(self.optimizer, self.model, under("optimizer", tensors))
        self.carried = tuple(part.to(self.device) for _, part in sorted(under("state", tensors).items()))
        self.counters = Counters(**numbers["counters"])
        self.schedule.load_state_dict(numbers["schedule"])
        self.streams.load_state_dict(numbers["streams"])
        torch.set_rng_state(tensors["random.cpu"])
        if self.device.type == "cuda" and "random.cuda" in tensors:
            torch.cuda.set_rng_state(tensors["random.cuda"], self.device)
