"""One step of training: the loss of a batch, its gradients, and what the optimiser makes of them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from charlstm.config import TrainingConfig
from charlstm.distributed import SINGLE_PROCESS, ProcessGroup, detect_lost_processes
from charlstm.executors import State
from charlstm.executors.precision import float32_products
from charlstm.executors.transfer import to_device
from charlstm.model import LanguageModel
from charlstm.model.dropout import part_of_batch
from charlstm.model.head_loss import mean_nats
from charlstm.text.streams import IGNORE, Batch
from charlstm.training.input_masking import mask_spans
from charlstm.training.vanishing_penalty import VanishingPenalty


class TrainingStep:
    """Steps of one model with one optimiser.

    ``precision`` is that of the products, ``float32`` or ``bfloat16``; weights, states, loss and optimiser stay in
    float32.

    Each process of a team is given the whole batch, and takes its own columns of it: a share of the loss, which is a
    sum over all targets divided by the whole batch's count. Random numbers are drawn for all columns by all processes
    alike. So a step of several processes is that of one, but for rounding.
    """

    def __init__(
        self,
        config: TrainingConfig,
        model: LanguageModel,
        optimizer: torch.optim.Optimizer,
        precision: str,
        team: ProcessGroup = SINGLE_PROCESS,
    ) -> None:
        self.precision = precision
        self._config, self._model, self._optimizer, self._team = config, model, optimizer, team
        self._penalty = VanishingPenalty(model.recurrent, config.vanishing_penalty, team)
        self._loss: nn.Module = _Loss(model, lambda: self.precision)

    def loss(self, batch: Batch, carried: State) -> tuple[Tensor, State]:
        """Mean -ln p of the targets that count, in nats, and the state after the batch; of a team, this process's share
        of the mean and its columns of the state."""
        model, team = self._model, self._team
        device, batch_size = model.head.weight.device, batch.targets.shape[1]
        columns = team.columns(batch_size)
        model.train()
        before, after = mask_spans(batch.previous, batch.following, self._config.input_masking, model.vocabulary_size)

        def own(x: Tensor) -> Tensor:
            return to_device(x if team.size == 1 else x[..., columns].contiguous(), device)

        previous, targets = own(before), own(batch.targets)
        following = own(after) if model.bidirectional else None
        lengths = None if batch.lengths is None else own(batch.lengths)
        count = None if team.size == 1 else batch.count
        with part_of_batch(columns, batch_size):
            found: tuple[Tensor, State] = self._loss(previous, carried, following, lengths, targets, count)
        return found

    def gradients(self, batch: Batch, carried: State) -> tuple[Tensor, State]:
        """Put the gradients into the parameters. Gives the loss in nats and the gradients' norm, [2], and the state
        after the batch, [L, B, H] each. Of a team: the same loss and gradients in all processes."""
        self._model.zero_grad()
        with float32_products(self._model.head.weight.device, rounded=True), detect_lost_processes():
            loss, state = self.loss(batch, carried)
            loss.backward()  # type: ignore[no-untyped-call]
            self._penalty.add_gradient()
        nats = self._team.all_reduce_sum(loss.detach())
        norm = get_total_norm([p.grad for p in self._model.parameters() if p.grad is not None])
        # oneDNN under bfloat16 gives a state in bfloat16
        return torch.stack([nats, norm]), tuple(part.detach().to(torch.float32) for part in state)

    def update(self, rate: float, norm: Tensor) -> None:
        """Clip the gradients, whose norm is given, and apply them with this learning rate."""
        limit = self._config.clip_grad_norm
        # The CPU looks whether there is anything to clip; elsewhere that would be a wait, so they are always scaled.
        if limit and (norm.device.type != "cpu" or float(norm) > limit):
            clip_grads_with_norm_(self._model.parameters(), limit, norm)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.step()

    def prepare(self) -> None:
        """Have the processes of a team share their gradients from now on; all of them call it, once the weights are
        those to begin with. A single process has nothing to prepare."""
        if self._team.size == 1:
            return
        self._loss = together = self._team.wrap_ddp(self._loss)
        # DistributedDataParallel lays its buckets out anew after the first pass that it sees, and where a gradient lies
        # decides in which order it is summed up: a resumed run must not begin with another layout than it ended with.
        one = torch.zeros(1, 1, dtype=torch.int64, device=self._model.head.weight.device)
        following = one if self._model.bidirectional else None
        self._model.eval()  # draws nothing
        loss, _ = together(one, self._model.initial_state(1), following, None, one, 1)
        loss.backward()
        self._model.zero_grad()


class _Loss(nn.Module):
    """Model and loss as one module, as DistributedDataParallel wants it."""

    def __init__(self, model: LanguageModel, precision: Callable[[], str]) -> None:
        super().__init__()
        self.model, self._precision = model, precision

    def forward(
        self,
        previous: Tensor,
        carried: State,
        following: Tensor | None,
        lengths: Tensor | None,
        targets: Tensor,
        count: int | None,
    ) -> tuple[Tensor, State]:
        """The mean as :func:`mean_nats` gives it, and the state after the batch."""
        head = self.model.head
        with torch.autocast(previous.device.type, torch.bfloat16, enabled=self._precision() == "bfloat16"):
            y, state = self.model.hidden(previous, carried, following, lengths=lengths)
            return mean_nats(y, head.weight, head.bias, targets, IGNORE, count), state
