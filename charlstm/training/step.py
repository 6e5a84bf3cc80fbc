"""One step of training: the loss of a batch, its gradients, and what the optimiser makes of them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from charlstm.config import TrainingConfig
from charlstm.executors import State
from charlstm.executors.moving import moved
from charlstm.executors.precision import float32_products
from charlstm.model import LanguageModel
from charlstm.model.head_loss import mean_nats
from charlstm.text.streams import IGNORE, Batch
from charlstm.training.hiding import hide
from charlstm.training.vanishing import VanishingPenalty


class TrainingStep:
    """Steps of one model with one optimiser.

    ``precision`` is that of the products, ``float32`` or ``bfloat16``; weights, states, loss and optimiser stay in
    float32.
    """

    def __init__(
        self, config: TrainingConfig, model: LanguageModel, optimizer: torch.optim.Optimizer, precision: str
    ) -> None:
        self.precision = precision
        self._config, self._model, self._optimizer = config, model, optimizer
        self._penalty = VanishingPenalty(model.recurrent, config.vanishing_penalty)

    def loss(self, batch: Batch, carried: State) -> tuple[Tensor, State]:
        """Mean -ln p of the targets that count, in nats, and the state after the batch."""
        model = self._model
        device = model.head.weight.device
        model.train()
        before, after = hide(batch.previous, batch.following, self._config.hidden_input, model.vocabulary_size)
        previous, targets = moved(before, device), moved(batch.targets, device)
        following = moved(after, device) if model.bidirectional else None
        lengths = None if batch.lengths is None else moved(batch.lengths, device)
        with torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            y, state = model.hidden(previous, carried, following, lengths=lengths)
            return mean_nats(y, model.head.weight, model.head.bias, targets, IGNORE), state

    def gradients(self, batch: Batch, carried: State) -> tuple[Tensor, State]:
        """Put the gradients into the parameters. Gives the loss in nats and the gradients' norm, [2], and the state
        after the batch, [L, B, H] each."""
        self._model.zero_grad()
        with float32_products(self._model.head.weight.device, rounded=True):
            loss, state = self.loss(batch, carried)
            loss.backward()  # type: ignore[no-untyped-call]
            self._penalty.add_gradient()
        norm = get_total_norm([p.grad for p in self._model.parameters() if p.grad is not None])
        # oneDNN under bfloat16 gives a state in bfloat16
        return torch.stack([loss.detach(), norm]), tuple(part.detach().to(torch.float32) for part in state)

    def update(self, rate: float, norm: Tensor) -> None:
        """Clip the gradients, whose norm is given, and apply them with this learning rate."""
        limit = self._config.clip_grad_norm
        # The CPU looks whether there is anything to clip; elsewhere that would be a wait, and scaling by 1 is cheaper.
        if limit and (norm.device.type != "cpu" or float(norm) > limit):
            clip_grads_with_norm_(self._model.parameters(), limit, norm)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.step()
