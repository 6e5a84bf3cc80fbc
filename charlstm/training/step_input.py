"""What a training step reads of a batch: tensors on the device."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor


@dataclass(frozen=True, eq=False)
class StepInput:
    """A batch as a training step reads it: with masked inputs, on the device, the columns of this process.

    previous, targets, following  as in :class:`~charlstm.text.streams.Batch`, int64 [T, B]; ``following`` is None
                                  unless the model reads it
    lengths                       as there, int64 [B], or None
    reset_rows                    the rows whose carried state is replaced by zeros, bool [B]; None: no row
    counts                        those of :class:`~charlstm.training.regularization.ActivationRegularization`, or None
    count                         number of targets of the whole batch that count, if several processes divide their
                                  sums by it
    weight                        weight of the batch's mean in the loss of the step, []; None: it is the only one
    batch_size                    rows of the whole batch
    """

    previous: Tensor
    targets: Tensor
    following: Tensor | None
    lengths: Tensor | None
    reset_rows: Tensor | None
    counts: Tensor | None
    count: int | None
    weight: Tensor | None
    batch_size: int

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Its tensors by name."""
        return {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}

    @property
    def layout(self) -> tuple[object, ...]:
        """All that is not in the content of the tensors: the same operations read inputs of the same layout."""
        shapes = tuple((name, tuple(t.shape)) for name, t in self.tensors.items())
        return (*shapes, self.count, self.batch_size)

    def clone(self) -> StepInput:
        """A copy with tensors of its own."""
        tensors: dict[str, Any] = {name: t.clone() for name, t in self.tensors.items()}
        return replace(self, **tensors)

    def copy_(self, other: StepInput) -> None:
        """Copy the tensors of an input of the same layout into those of this one."""
        for name, t in other.tensors.items():
            self.tensors[name].copy_(t)
