"""Whether the readouts of compared networks have the same initialization."""

from __future__ import annotations

from collections.abc import Iterable

from charlstm.config import ModelConfig


def readout_start_notes(models: Iterable[ModelConfig], field: str) -> list[str]:
    """A line if some of the readouts start from the frequencies of the characters only because that is the default of
    their cell, and others do not; else none. ``field``: the setting that is the same for all."""
    models = list(models)
    cells = {one.cell for one in models if one.unigram_bias and "unigram_bias" not in one.model_fields_set}
    if not cells or all(one.unigram_bias for one in models):
        return []
    return [
        f"note: the output biases of {' and '.join(sorted(cells))} are initialized from the frequencies of the "
        f"characters, the default with this cell, and others are not. To initialize all alike: --set {field}=false"
    ]
