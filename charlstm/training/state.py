"""The complete state of a training run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from charlstm.checkpoints.counters import Counters
from charlstm.checkpoints.format import strip_prefix
from charlstm.checkpoints.layout import raw_weights
from charlstm.config import TrainingConfig
from charlstm.errors import UserError
from charlstm.executors import State
from charlstm.hardware.device import get_rng_states, set_rng_states
from charlstm.model import LanguageModel
from charlstm.optimization import load_optimizer_tensors, optimizer_layout, optimizer_tensors
from charlstm.training.averaging import WeightAverage
from charlstm.training.held_out_sample import HeldOutSample
from charlstm.training.loader import BatchSource
from charlstm.training.schedule import Schedule

NEWER_COUNTERS = ("high_loss_steps", "kept_step", "kept_epochs", "kept_seconds")
"""Older checkpoints do not have them."""


@dataclass
class TrainingState:
    """Model, its weight average if there is one, optimizer, schedule, position in the text, carried hidden state,
    counters, what evaluations score of the validation split once that is chosen, and torch's RNG states.

    Together with the settings this determines the rest of the run. With several processes, each carries the state of
    its ``columns`` of the batch; a checkpoint holds all columns.
    """

    settings: TrainingConfig
    model: LanguageModel
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    streams: BatchSource
    carried: State
    counters: Counters = field(default_factory=Counters)
    columns: slice = field(default_factory=lambda: slice(None))
    average: WeightAverage | None = None
    held_out_sample: HeldOutSample | None = None

    @property
    def device(self) -> torch.device:
        return self.model.head.weight.device

    @property
    def evaluated_model(self) -> LanguageModel:
        """The model that is scored, sampled and saved: with the averaged weights, if there are any."""
        return self.model if self.average is None else self.average.model

    @property
    def is_finite(self) -> bool:
        """Whether weights, optimizer state and carried state are all finite; only then may they be saved."""
        tensors = [t for name, t in self.tensors().items() if not name.startswith("random.")]
        return bool(torch.stack([t.isfinite().all().to(self.device) for t in tensors]).all())

    def tensors(self, carried: State | None = None) -> dict[str, Tensor]:
        """Every tensor by name: ``model.``, ``optimizer.``, ``state.``, ``random.``.

        With averaged weights, these are ``model.``, and ``raw.`` the trained weights.

        ``carried``: the carried state of all columns, in place of this process's."""
        return {
            **{f"model.{name}": t for name, t in self.evaluated_model.state_dict().items()},
            **({} if self.average is None else raw_weights(self.model)),
            **{f"optimizer.{name}": t for name, t in optimizer_tensors(self.optimizer, self.model).items()},
            **{f"state.{index}": part for index, part in enumerate(carried or self.carried)},
            **{f"random.{kind}": state for kind, state in get_rng_states(self.device).items()},
        }

    def numbers(self) -> dict[str, Any]:
        """The state that is not tensors, as JSON values."""
        return {
            "counters": asdict(self.counters),
            "schedule": self.schedule.state_dict(),
            "streams": self.streams.state_dict(),
            **({} if self.average is None else {"average": self.average.state_dict()}),
            **({} if self.held_out_sample is None else {"held_out_sample": self.held_out_sample._asdict()}),
        }

    def load(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
        """Restore the result of :meth:`tensors` and :meth:`numbers`.

        Raises UserError, before anything changes, if an entry is missing or unexpected.
        """
        self._check(tensors, numbers)
        self.streams.load_state_dict(numbers["streams"])
        self.evaluated_model.load_state_dict(strip_prefix("model", tensors))
        if self.average is not None:
            self.model.load_state_dict(strip_prefix("model", tensors) | strip_prefix("raw", tensors))
            self.average.load_state_dict(numbers["average"])
        load_optimizer_tensors(self.optimizer, self.model, strip_prefix("optimizer", tensors))
        parts = sorted(strip_prefix("state", tensors).items())
        self.carried = tuple(part[:, self.columns].contiguous().to(self.device) for _, part in parts)
        self.counters = Counters(**numbers["counters"])
        self.schedule.load_state_dict(numbers["schedule"])
        sample = numbers.get("held_out_sample")
        self.held_out_sample = None if sample is None else HeldOutSample(**sample)
        set_rng_states(self.device, strip_prefix("random", tensors))

    def _check(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
        names = {name for name in self.tensors() if not name.startswith("optimizer.")}
        if numbers["counters"]["step"] > 0:
            names |= {f"optimizer.{name}" for name in optimizer_layout(self.settings, self.model)}
        differences = names ^ tensors.keys()
        for part, expected in self.numbers().items():
            differences |= {f"{part}.{name}" for name in expected.keys() ^ numbers[part].keys()}
        differences -= {"random.cuda", "random.mps"}  # a run may be resumed on another device
        differences -= {f"counters.{name}" for name in NEWER_COUNTERS}
        mismatches = sorted(differences)
        if mismatches:
            raise UserError(f"the checkpoint does not fit this run: {', '.join(mismatches[:5])} missing or unexpected")
