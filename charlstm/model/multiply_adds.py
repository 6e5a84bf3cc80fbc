"""The multiply-adds of a step, counted from the shapes of a model: the least that its equations ask for.

Counted are the products with whole matrices:

- the recurrent product of every layer at every time step;
- the input product of every layer above the first;
- in the first layer, the product of the front end's vectors with the input weights: of embeddings one for each of the V
  symbols, since all that a character brings in is one of V columns; one for each character where a batch has fewer
  characters than V, or a convolution makes them; none of one-hot vectors, which are looked up;
- the head.

A training step makes each of them forward, once more for the gradient of its weights, and once more for the gradient
of its input. Left out is what no gradient needs: that of the state before the first time step (of which the GRU with
the reset before the product would need a third, for its reset gate), and whatever does not learn. Everything pointwise
is left out too: gates, biases, peepholes, look-ups, the loss, clipping and the optimiser.

The count is one for all contenders of a cell, whatever they really do: torch.nn multiplies every character's embedding,
and its share of the machine's peak is the share of useful work.
"""

from __future__ import annotations

from charlstm.model import LanguageModel


def training_multiply_adds(model: LanguageModel, batch: int, steps: int) -> int:
    """Of one training step on ``batch`` streams of ``steps`` characters, forward and backward."""
    stack, characters, total = model.recurrent, batch * steps, 0
    rows = model.front_end.multiplied_rows(characters)
    learns_below = any(p.requires_grad for p in model.front_end.parameters())
    for layer in range(stack.num_layers):
        w = stack.weights(f"_l{layer}")
        total += rows * w.weight_ih.numel() * (1 + w.weight_ih.requires_grad + learns_below)
        own = (w.weight_ih, w.weight_hh, w.bias_ih, w.bias_hh, *w.parameters.values())
        learns_below = learns_below or any(p is not None and p.requires_grad for p in own)
        times = steps * (1 + w.weight_hh.requires_grad) + (steps - 1) * learns_below
        total += batch * times * w.weight_hh.numel()
        rows = characters
    head = model.head.weight
    return total + characters * head.numel() * (1 + head.requires_grad + learns_below)


def sampling_multiply_adds(model: LanguageModel) -> int:
    """Of one character of one text: forward, the first layer's input side from a table that is made once a text."""
    stack = model.recurrent
    layers = [stack.weights(f"_l{layer}") for layer in range(stack.num_layers)]
    recurrent = sum(w.weight_hh.numel() for w in layers)
    return recurrent + sum(w.weight_ih.numel() for w in layers[1:]) + model.head.weight.numel()
