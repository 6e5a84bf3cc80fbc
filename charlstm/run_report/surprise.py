"""The page of a text that a run scores: each character shaded by its surprise, and what other predictors give."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from charlstm.api import LoadedRun
from charlstm.evaluation.score import Text
from charlstm.probes.closing import characters_of
from charlstm.probes.compressors import ZSTD_LEVEL, xz_size, zstd_size
from charlstm.probes.ngram_scores import HELD_OUT_LIMIT, LIMIT, ngram_bits
from charlstm.report.document import Document, Sample, Section, Table
from charlstm.report.writer import write_document
from charlstm.run_report.baselines import Baseline, joined, text_bytes, xz_bits
from charlstm.text.documents import Direction, Documents, Sequences
from charlstm.units import bits

EDGES = (1.0, 2.0, 3.0, 5.0, 8.0)
"""Surprise in bits from which on a character has the next stronger shade."""
SHOWN = 200_000
"""Characters of a text that a page shows, the first ones."""
ORDER = 7


@dataclass(frozen=True)
class Surprise:
    """The characters of a text that count, in the order of the text, and the surprise of each in bits, [N].

    ``is_pseudo_likelihood``: each was predicted from both sides.
    """

    name: str
    symbols: str
    bits: npt.NDArray[np.float64]
    unit: str
    is_pseudo_likelihood: bool

    @property
    def levels(self) -> list[int]:
        """The shade of each character: 0 below the first of `EDGES`, 5 from the last on."""
        levels: list[int] = np.searchsorted(EDGES, self.bits, side="right").tolist()
        return levels


def surprise(run: LoadedRun, content: Text, nats: npt.NDArray[np.float32], name: str) -> Surprise:
    """The surprise of every character of a text, given the result of
    :func:`charlstm.evaluation.nats_per_character`."""
    model = run.model
    if isinstance(content, Documents):
        ids, nats = _counted(content, nats, model.vocabulary_size, model.direction)
    else:
        ids = content
    symbols = characters_of(ids, run.vocabulary)
    return Surprise(name, symbols, bits(1.0) * nats.astype(np.float64), run.vocabulary.unit, model.bidirectional)


def _counted(
    documents: Documents, nats: npt.NDArray[np.float32], vocabulary_size: int, direction: Direction
) -> tuple[npt.NDArray[np.integer], npt.NDArray[np.float32]]:
    """The ids of the characters that count, and their nats, both in the order of the documents."""
    sequences = Sequences(documents, vocabulary_size, direction)
    ids, ordered = [], []
    for number, (first, count, offset) in enumerate(
        zip(sequences.first.tolist(), sequences.counts.tolist(), sequences.offsets.tolist(), strict=True)
    ):
        step = -1 if direction == "backward" else 1
        ids.append(sequences.window(np.array([number]), first, first + count)[::step, 0])
        ordered.append(nats[offset : offset + count][::step])
    return np.concatenate(ids), np.concatenate(ordered)


def other_predictors(run: LoadedRun, content: Text) -> list[Baseline]:
    """What general compressors, and predictors that know the training text, give on the text, in bits per character.

    An n-gram model and xz with the training text read its last million characters, and the first 200,000 of the text.
    Raises UserError if the training text cannot be read, or has changed.
    """
    corpus = run.corpus()
    train, ids = joined(corpus.split("train")), joined(content)
    written = text_bytes(corpus, ids)
    zstd = zstd_size(written)
    grams = ngram_bits(train, ids, corpus.vocabulary.size, [ORDER])
    return [
        *(Baseline(f"{order}-gram model of the training text", value) for order, value in grams.items()),
        Baseline("xz, after the training text", xz_bits(corpus, train[-LIMIT:], ids[:HELD_OUT_LIMIT])),
        Baseline("xz -9e", 8 * xz_size(written) / len(ids)),
        *([] if zstd is None else [Baseline(f"zstd -{ZSTD_LEVEL}", 8 * zstd / len(ids))]),
    ]


def write_page(scored: Surprise, predictors: list[Baseline], run_name: str, folder: Path, command: str) -> Path:
    """Write the page and its report.json into a folder. Returns the page.

    Args:
        predictors: what others give on the same text; if there are none, their section is left out.
        command: the command line that makes the page.

    Raises:
        UserError: the files cannot be written.
    """
    mean, unit = float(scored.bits.mean()), scored.unit
    rows = [[run_name, f"{mean:.3f}"], *([baseline.name, f"{baseline.bits:.3f}"] for baseline in predictors)]
    edges = [f"{edge:g}" for edge in EDGES]
    shown = scored.symbols[:SHOWN]
    count = len(scored.symbols)
    legend = (
        f"The shade of a {unit} is its surprise, -log2 p: none below {edges[0]} bit, then from {', '.join(edges)} bits."
    )
    if count > SHOWN:
        legend += f" The first {SHOWN:,} of {count:,} {unit}s are shown."
    text = Section(
        "The text",
        [legend],
        samples=[Sample(scored.name, shown, levels=scored.levels[:SHOWN], note=f"{count:,} {unit}s")],
        command=command,
        data={"bits": [round(value, 3) for value in scored.bits[:SHOWN].tolist()]},
    )
    table = Section(
        "What others give",
        ["Compressors know nothing but the text itself; the n-gram model and the first xz know the training text."],
        tables=[Table(["predictor", f"bits per {unit}"], rows)],
        data={baseline.name: baseline.bits for baseline in predictors},
    )
    headline = [f"{run_name} reads {scored.name} at {mean:.3f} bits per {unit}."]
    if scored.is_pseudo_likelihood:
        headline.append(f"That is a pseudo-likelihood: each {unit} was predicted from both sides of it.")
    sections = [table, text] if predictors else [text]
    files = write_document(Document(f"Surprise of {scored.name}", headline, sections), {"name": scored.name}, folder)
    return files[0]
