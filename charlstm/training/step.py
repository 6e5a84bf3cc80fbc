"""One training step: the loss of a batch, its gradients, and the optimizer step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from charlstm.config import TrainingConfig
from charlstm.distributed import SINGLE_PROCESS, ProcessGroup, detect_lost_processes
from charlstm.executors import State
from charlstm.executors.precision import float32_matmul_precision, flush_subnormals
from charlstm.executors.transfer import to_device
from charlstm.model import LanguageModel
from charlstm.model.dropout import part_of_batch
from charlstm.model.head_loss import mean_nats
from charlstm.optimization import set_learning_rate
from charlstm.text.streams import IGNORE, Batch
from charlstm.training.input_masking import mask_spans
from charlstm.training.regularization import ActivationRegularization, rows_to_reset, state_after_reset
from charlstm.training.step_input import StepInput
from charlstm.training.vanishing_penalty import VanishingPenalty


class TrainingStep:
    """Training steps of one model with one optimizer.

    ``precision`` of the matmuls is ``float32`` or ``bfloat16``; weights, states, loss and optimizer stay in float32.

    With several processes, each gets the whole batch and trains on its columns; its loss is the sum over its targets
    divided by the target count of the whole batch. Every process draws the random numbers of all columns. So a step of
    several processes equals that of one, up to rounding.
    """

    def __init__(
        self,
        config: TrainingConfig,
        model: LanguageModel,
        optimizer: torch.optim.Optimizer,
        precision: str,
        group: ProcessGroup = SINGLE_PROCESS,
    ) -> None:
        self.precision = precision
        # On other devices than the CPU, a comparison with the norm would wait for the device.
        self.scales_always = model.head.weight.device.type != "cpu"
        self._config, self._model, self._optimizer, self._group = config, model, optimizer, group
        self._penalty = VanishingPenalty(model.recurrent, config.vanishing_penalty, group)
        self._activations = ActivationRegularization(
            config.activation_regularization, config.temporal_activation_regularization
        )
        self._loss: nn.Module = _LossModule(model, lambda: self.precision, config.label_smoothing, self._activations)

    def inputs(self, batches: Sequence[Batch]) -> list[StepInput]:
        """What the step reads of consecutive chunks of the text, on the device: draws the spans to mask and the rows to
        reset."""
        count = sum(batch.count for batch in batches)
        return [self._input(batch, batch.count / count if len(batches) > 1 else None) for batch in batches]

    def _input(self, batch: Batch, weight: float | None) -> StepInput:
        model, group, config = self._model, self._group, self._config
        device, batch_size = model.head.weight.device, batch.targets.shape[1]
        columns = group.columns(batch_size)

        def local(x: Tensor) -> Tensor:
            return to_device(x if group.size == 1 else x[..., columns].contiguous(), device)

        rows = rows_to_reset(batch, config.reset_state, device)
        before, after = mask_spans(batch.previous, batch.following, config.input_masking, model.vocabulary_size)
        counts = self._activations.counts(batch.targets)
        return StepInput(
            previous=local(before),
            targets=local(batch.targets),
            following=local(after) if model.bidirectional else None,
            lengths=None if batch.lengths is None else local(batch.lengths),
            reset_rows=None if rows is None else rows[columns],
            counts=None if counts is None else to_device(counts, device),
            count=None if group.size == 1 else batch.count,
            weight=None if weight is None else to_device(torch.tensor(weight), device),
            batch_size=batch_size,
        )

    def loss(self, x: StepInput, carried: State) -> tuple[Tensor, State]:
        """Mean -ln p of the counted targets, in nats, and the state after them. With several processes: the part of the
        mean that this process's columns contribute, and its columns of the state. The gradient of the loss includes
        that of the activation regularization."""
        self._model.train()
        columns = self._group.columns(x.batch_size)
        with part_of_batch(columns, x.batch_size):
            result: tuple[Tensor, State] = self._loss(
                x.previous, carried, x.following, x.lengths, x.targets, x.count, x.counts
            )
        return result

    def gradients(self, inputs: Sequence[StepInput], carried: State) -> tuple[Tensor, State]:
        """Compute the gradients of the parameters: those of the mean loss over all targets of the inputs. Returns this
        loss in nats and the gradient norm, [2], and the state after the inputs, [L, B, H] each. Loss and gradients are
        the same in all processes.

        Reads only tensors on the device, so that a CUDA graph can repeat it.
        """
        self._model.zero_grad()
        losses = []
        matmul_precision = float32_matmul_precision(self._model.head.weight.device, tf32=True)
        with matmul_precision, flush_subnormals(), detect_lost_processes():
            self._penalty.clear()
            for x in inputs:
                with nullcontext() if x is inputs[-1] else self._without_all_reduce():
                    loss, state = self.loss(x, state_after_reset(carried, x.reset_rows))
                    loss = loss if x.weight is None else loss * x.weight
                    loss.backward()  # type: ignore[no-untyped-call]
                losses.append(loss.detach())
                # oneDNN under bfloat16 returns a bfloat16 state
                carried = tuple(part.detach().to(torch.float32) for part in state)
            self._penalty.add_gradient()
        nats = self._group.all_reduce_sum(torch.stack(losses).sum())
        norm = get_total_norm([p.grad for p in self._model.parameters() if p.grad is not None])
        return torch.stack([nats, norm]), carried

    def _without_all_reduce(self) -> AbstractContextManager[None]:
        """Accumulate gradients in this process: those of the last batch are summed over the processes with them."""
        loss = self._loss
        return loss.no_sync() if isinstance(loss, nn.parallel.DistributedDataParallel) else nullcontext()

    def set_learning_rate(self, rate: float) -> None:
        """Set the learning rate of the following updates."""
        set_learning_rate(self._optimizer, rate)

    def update(self, norm: Tensor) -> None:
        """Clip the gradients, given their norm, and apply them."""
        limit = self._config.clip_grad_norm
        if limit and (self.scales_always or float(norm) > limit):
            clip_grads_with_norm_(self._model.parameters(), limit, norm)
        with flush_subnormals():
            self._optimizer.step()

    def prepare(self) -> None:
        """Wrap the model in DistributedDataParallel; all processes call it, once the initial weights are loaded. Does
        nothing with a single process."""
        if self._group.size == 1:
            return
        self._loss = ddp = self._group.wrap_ddp(self._loss)
        # DistributedDataParallel rebuilds its buckets after its first backward pass, and the bucket layout sets the
        # order of summation: a resumed run must start with the layout that it ended with.
        one = torch.zeros(1, 1, dtype=torch.int64, device=self._model.head.weight.device)
        following = one if self._model.bidirectional else None
        self._model.eval()  # draws no dropout masks
        loss, _ = ddp(one, self._model.initial_state(1), following, None, one, 1, None)
        loss.backward()
        self._model.zero_grad()


class _LossModule(nn.Module):
    """Model and loss as one module, as DistributedDataParallel requires."""

    def __init__(
        self,
        model: LanguageModel,
        precision: Callable[[], str],
        label_smoothing: float,
        activations: ActivationRegularization,
    ) -> None:
        super().__init__()
        self.model, self._precision = model, precision
        self._label_smoothing, self._activations = label_smoothing, activations

    def forward(
        self,
        previous: Tensor,
        carried: State,
        following: Tensor | None,
        lengths: Tensor | None,
        targets: Tensor,
        count: int | None,
        counts: Tensor | None,
    ) -> tuple[Tensor, State]:
        """The loss of :func:`mean_nats`, with the gradient of the activation regularization, and the state after the
        batch."""
        head = self.model.head
        with torch.autocast(previous.device.type, torch.bfloat16, enabled=self._precision() == "bfloat16"):
            y, state = self.model.outputs(previous, carried, following, lengths=lengths)
            dropped = self.model.drop_output(y)
            loss = mean_nats(dropped, head.weight, head.bias, targets, IGNORE, count, self._label_smoothing)
            return self._activations.add_gradient(loss, y, dropped, targets, counts), state
