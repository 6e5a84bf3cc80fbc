"""Advice where the scores of training and held-out text part: the texts differ, or the network learns by heart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from charlstm.config import Config, ModelConfig
from charlstm.config.corpus import CorpusConfig
from charlstm.units import bits

SMALL_GAP, NOISE = 0.25, 2
"""Bits per character between training and held-out text that need no explanation, and standard errors of that."""
FEW_CHARACTERS = 500
"""Held-out characters whose score is chance: its standard error is a few tenths of a bit."""
EARLY_EPOCHS = 2
"""Passes over the training text in which little is learned by heart: of 100,000 characters of code in shuffled
paragraphs, an LSTM of 256 units had learned 0.06 bits after one and 0.15 after 1.8, with a standard error of 0.16."""
DROPOUTS = (0.3, 0.5)
"""Dropout to try if a network learns its training text by heart: the first that is higher than its own."""


def gap_advice(records: Sequence[Mapping[str, Any]], config: Config) -> list[str]:
    """A sentence for each reason why the scores of training and held-out text part, with what to try; or one that the
    held-out text is too short to tell. None after a divergence.

    A gap that is there from the beginning, when little can have been learned by heart, is one between the texts; how
    strongly the network is regularized does not matter then. A fine-tuned network may have begun with one by heart. A
    gap counts from 0.25 bits and two standard errors on.

    Args:
        records: the records of metrics.jsonl.
        config: of the run; the advice is more of the dropout that its network has.
    """
    scored = [
        record
        for record in records
        if record["kind"] == "evaluation"
        and record["nats"] is not None
        and record.get("training_split_nats") is not None
    ]
    if not scored or records[-1].get("stop_reason") == "diverged":
        return []
    characters = scored[-1].get("characters_scored")
    if characters is not None and characters <= FEW_CHARACTERS:
        return [
            f"only {characters:,} characters are held out, whose score is largely chance: a longer text or a larger "
            "corpus.validation_fraction makes it reliable"
        ]
    early = next((r for r in reversed(scored) if r["epoch"] <= 1), scored[0])
    is_early = early["epoch"] <= EARLY_EPOCHS and config.training.initial_run is None
    last, first = scored[-1], 0.0
    if is_early and _has_other_text(config.corpus) and _is_clear(early) and _is_clear(last):
        first = _gap(early) if _gap(early) * _gap(last) > 0 else 0.0
    lines = [_difference(first, config.corpus)] if first else []
    if min(_gap(last), _gap(last) - first) >= _noise(last):
        lines.append(_by_heart(last, config.model))
    return lines


def _gap(record: Mapping[str, Any]) -> float:
    """By how many bits per character the held-out text has a worse score than the training text."""
    return bits(record["nats"] - record["training_split_nats"])


def _noise(record: Mapping[str, Any]) -> float:
    """The largest gap, in bits, that needs no explanation. Runs of older versions have no standard error."""
    return max(SMALL_GAP, NOISE * bits(record.get("gap_nats_standard_error") or 0.0))


def _is_clear(record: Mapping[str, Any]) -> bool:
    return abs(_gap(record)) >= _noise(record)


def _difference(gap: float, corpus: CorpusConfig) -> str:
    what = "held-out text is" if corpus.validation == "tail" else "held-out files are"
    part = "its end is" if corpus.validation == "tail" else "they are"
    return (
        f"{what} {abs(gap):.1f} bits {'harder' if gap > 0 else 'easier'} than the training text from the beginning: "
        f"{part} not like the rest; try --set corpus.validation=blocks"
    )


def _by_heart(record: Mapping[str, Any], model: ModelConfig) -> str:
    training, held_out = (bits(record[name]) for name in ("training_split_nats", "nats"))
    return (
        f"the network learns by heart: {training:.1f} bits for training text, {held_out:.1f} for held-out text; "
        f"try more text, {_more_dropout(model)}or a smaller model.hidden_size"
    )


def _more_dropout(model: ModelConfig) -> str:
    """The option for the next higher dropout before the readout, with a space; "" if it is high already."""
    option, value = (
        ("dropout", model.dropout) if model.output_dropout is None else ("output_dropout", model.output_dropout)
    )
    higher = next((dropout for dropout in DROPOUTS if dropout > value), None)
    return "" if higher is None else f"--set model.{option}={higher} "


def _has_other_text(corpus: CorpusConfig) -> bool:
    """Whether the held-out text does not come from all over the text, so that it may differ from the rest."""
    is_spread = corpus.validation == "blocks" or (corpus.documents is not None and corpus.shuffle_documents)
    return corpus.validation == "files" or not is_spread
