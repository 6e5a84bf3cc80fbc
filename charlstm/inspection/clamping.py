"""Sample text with a unit of the network clamped to a value, which shows what the unit does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from charlstm.errors import UserError
from charlstm.executors import State
from charlstm.generation.sampler import UniformDraws, check_not_nan
from charlstm.generation.sampling import Sampling, sample_ids
from charlstm.inspection.unit_scores import Unit
from charlstm.model import LanguageModel
from charlstm.probes.editing import encode_edited
from charlstm.probes.reading import probe_mode


@dataclass(frozen=True)
class Clamp:
    """The value that a part of the state of one unit has after each character."""

    unit: Unit
    value: float


def check_unit(model: LanguageModel, unit: Unit) -> None:
    """Raises UserError if the model has no such unit."""
    letters, stack = model.recurrent.cell.state, model.recurrent
    if unit.part not in tuple(letters):
        raise UserError(
            f"{unit.part!r} is not a part of the state of {stack.cell.name}, which has {', '.join(letters)}"
        )
    if not 0 <= unit.layer < stack.num_layers:
        raise UserError(f"there is no layer {unit.layer + 1}: the model has {stack.num_layers}")
    if not 0 <= unit.unit < stack.hidden_size:
        raise UserError(f"there is no unit {unit.unit}: each layer has units 0 to {stack.hidden_size - 1}")


@torch.no_grad()
def sample_clamped(
    model: LanguageModel,
    prime: Sequence[int],
    length: int,
    sampling: Sampling,
    seed: int,
    clamps: Sequence[Clamp | None],
) -> list[list[int]]:
    """Sample a text of ``length`` ids under each of the clamps (None: unchanged), all with the same random numbers.

    prime: the ids that the model reads first, in its direction, with the units clamped.

    Raises UserError for a bidirectional model, and for a unit that the model does not have.
    """
    for clamp in clamps:
        if clamp is not None:
            check_unit(model, clamp.unit)

    def edit(layer: int, parts: State) -> None:
        for text, clamp in enumerate(clamps):
            if clamp is not None and clamp.unit.layer == layer:
                parts[model.recurrent.cell.state.index(clamp.unit.part)][text, clamp.unit.unit] = clamp.value

    texts, draws = len(clamps), UniformDraws(seed, 1)
    device = model.head.weight.device
    ids = torch.tensor([model.vocabulary_size, *prime], device=device)[:, None].expand(-1, texts)
    state, sampled = model.initial_state(texts), []
    with probe_mode(model):
        for _ in range(length):
            y, state = encode_edited(model, ids, state, edit)
            logits = model.head(y[-1])
            check_not_nan(logits)
            ids = sample_ids(logits, sampling, draws.take(1)[0].expand(texts))[None]
            sampled.append(ids[0].tolist())
    return [list(text) for text in zip(*sampled, strict=True)] or [[] for _ in clamps]
