"""All that a training run has to remember, in one place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from charlstm.checkpoints.counters import Counters
from charlstm.checkpoints.format import strip_prefix
from charlstm.config import TrainingConfig
from charlstm.errors import UserError
from charlstm.executors import State
from charlstm.hardware.device import random_states, set_random_states
from charlstm.model import LanguageModel
from charlstm.optimization import load_optimizer_tensors, optimizer_layout, optimizer_tensors
from charlstm.training.loader import BatchSource
from charlstm.training.schedule import Schedule


@dataclass
class TrainingState:
    """Model, optimiser, schedule, the place in the text, the carried state, the counters, and torch's random state.

    What is here, and the settings, determine how the run goes on; nothing else does. Of a team each process carries the
    state of its own ``columns`` of the batch; saved are all of them.
    """

    settings: TrainingConfig
    model: LanguageModel
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    streams: BatchSource
    carried: State
    counters: Counters = field(default_factory=Counters)
    columns: slice = field(default_factory=lambda: slice(None))

    @property
    def device(self) -> torch.device:
        return self.model.head.weight.device

    @property
    def finite(self) -> bool:
        """Whether every number of weights, optimiser and carried state is finite; what is not is never saved."""
        kept = [t for name, t in self.tensors().items() if not name.startswith("random.")]
        return bool(torch.stack([t.isfinite().all().to(self.device) for t in kept]).all())

    def tensors(self, carried: State | None = None) -> dict[str, Tensor]:
        """Every tensor by name: ``model.``, ``optimizer.``, ``state.``, ``random.``; with the carried state of all
        columns, if it is given."""
        return {
            **{f"model.{name}": t for name, t in self.model.state_dict().items()},
            **{f"optimizer.{name}": t for name, t in optimizer_tensors(self.optimizer, self.model).items()},
            **{f"state.{index}": part for index, part in enumerate(carried or self.carried)},
            **{f"random.{kind}": state for kind, state in random_states(self.device).items()},
        }

    def numbers(self) -> dict[str, Any]:
        """The rest, fit for JSON."""
        return {
            "counters": asdict(self.counters),
            "schedule": self.schedule.state_dict(),
            "streams": self.streams.state_dict(),
        }

    def load(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
        """Put back what :meth:`tensors` and :meth:`numbers` gave.

        Raises UserError, and nothing has changed, if something is missing or too much.
        """
        self._check(tensors, numbers)
        self.streams.load_state_dict(numbers["streams"])
        self.model.load_state_dict(strip_prefix("model", tensors))
        load_optimizer_tensors(self.optimizer, self.model, strip_prefix("optimizer", tensors))
        parts = sorted(strip_prefix("state", tensors).items())
        self.carried = tuple(part[:, self.columns].contiguous().to(self.device) for _, part in parts)
        self.counters = Counters(**numbers["counters"])
        self.schedule.load_state_dict(numbers["schedule"])
        set_random_states(self.device, strip_prefix("random", tensors))

    def _check(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
        names = {name for name in self.tensors() if not name.startswith("optimizer.")}
        if numbers["counters"]["step"] > 0:
            names |= {f"optimizer.{name}" for name in optimizer_layout(self.settings, self.model)}
        elsewhere = {"random.cuda", "random.mps"}  # a run may go on on another device
        odd = sorted((names ^ tensors.keys()) - elsewhere)
        for part, mine in self.numbers().items():
            odd += sorted(f"{part}.{name}" for name in mine.keys() ^ numbers[part].keys())
        if odd:
            raise UserError(f"the checkpoint does not fit this run: {', '.join(odd[:5])} missing or too much")
