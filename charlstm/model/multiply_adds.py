"""The multiply-adds of a step, counted from the shapes of a model: the minimum that its equations need.

Matmuls with weight matrices are counted:

- the recurrent matmul of every layer at every time step;
- the input matmul of every layer above the first;
- in the first layer, the matmul of the front end's vectors with the input weights: for embeddings one for each of the V
  symbols, since each character contributes one of V columns; one for each character if a batch has fewer characters
  than V, or for a convolution; none for one-hot vectors, which are looked up;
- the head.

A training step computes each of them in the forward pass, once more for the gradient of its weights, and once more for
the gradient of its input. Gradients that are not needed are not counted: that of the state before the first time step
(of which the GRU with the reset before the matmul would need a third, for its reset gate), and those of frozen
parameters. Pointwise work is not counted either: gates, biases, peepholes, look-ups, the loss, clipping, the optimizer.

The count is the same for all implementations of a cell, whatever they compute: torch.nn multiplies every character's
embedding, and its fraction of the machine's peak is the fraction of useful work.
"""

from __future__ import annotations

from charlstm.model import LanguageModel


def training_multiply_adds(model: LanguageModel, batch: int, steps: int) -> int:
    """Multiply-adds of one training step on ``batch`` streams of ``steps`` characters, forward and backward."""
    stack, characters, total = model.recurrent, batch * steps, 0
    rows = model.front_end.input_matmul_rows(characters)
    needs_grad_below = any(p.requires_grad for p in model.front_end.parameters())
    for layer in range(stack.num_layers):
        w = stack.weights(f"_l{layer}")
        total += rows * w.weight_ih.numel() * (1 + w.weight_ih.requires_grad + needs_grad_below)
        layer_parameters = (w.weight_ih, w.weight_hh, w.bias_ih, w.bias_hh, *w.parameters.values())
        needs_grad_below = needs_grad_below or any(p is not None and p.requires_grad for p in layer_parameters)
        matmuls = steps * (1 + w.weight_hh.requires_grad) + (steps - 1) * needs_grad_below
        total += batch * matmuls * w.weight_hh.numel()
        rows = characters
    head = model.head.weight
    return total + characters * head.numel() * (1 + head.requires_grad + needs_grad_below)


def sampling_multiply_adds(model: LanguageModel) -> int:
    """Multiply-adds of one sampled character of one text: the first layer's input side is looked up in a table."""
    stack = model.recurrent
    layers = [stack.weights(f"_l{layer}") for layer in range(stack.num_layers)]
    recurrent = sum(w.weight_hh.numel() for w in layers)
    return recurrent + sum(w.weight_ih.numel() for w in layers[1:]) + model.head.weight.numel()
