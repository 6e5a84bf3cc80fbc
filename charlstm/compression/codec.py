"""Compression of files by a model's predictions, and their restoration."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from charlstm.compression import rans
from charlstm.compression.container import DIGEST, Container
from charlstm.compression.fixed_model import Ids, Reading, model_digest
from charlstm.compression.fixed_point import check_machine
from charlstm.compression.layout import Layout
from charlstm.compression.predictions import Predictions
from charlstm.compression.symbols import (
    DamagedSymbolsError,
    Symbols,
    pack_codes,
    to_bytes,
    to_symbols,
    unpack_codes,
)
from charlstm.config import Config
from charlstm.errors import UserError
from charlstm.model import LanguageModel
from charlstm.text.separators import end_text
from charlstm.text.vocabulary import Vocabulary

MAX_BYTES = 1 << 30
"""The longest file; content and result are held in memory."""
MAX_STREAMS = 4096
RATE, MAX_RATE = 8, 30
"""The readout learns at 2^-8 for each character."""
SYMBOLS_PER_STREAM = 8192
MAX_DEFAULT_STREAMS = 128

Progress = Callable[[int, int], None]
"""Called with the number of symbols that are done and of all symbols."""


@dataclass(frozen=True)
class Coder:
    """What a model needs to compress: made by :func:`coder_of`."""

    model: LanguageModel
    vocabulary: Vocabulary
    reading: Reading
    encoding: str
    step: int

    @property
    def digest(self) -> bytes:
        """The digest of the model that a compressed file holds."""
        return model_digest(self.model, self.vocabulary, self.reading)[:DIGEST]


def coder_of(model: LanguageModel, vocabulary: Vocabulary, config: Config, step: int) -> Coder:
    """The coder of a run. Raises UserError for a model that cannot predict all characters of a text in order."""
    if model.bidirectional:
        raise UserError(
            "a bidirectional model cannot compress: it predicts a character from both sides, and the side that follows "
            "is not decoded yet. Use a run with direction: forward or backward"
        )
    if config.corpus.score_after is not None:
        raise UserError(
            f"a model with corpus.score_after cannot compress: it was trained to predict only what follows "
            f"{config.corpus.score_after!r}. Use a run without it"
        )
    separator, is_backward = config.corpus.documents, model.direction == "backward"
    mark = [] if separator is None else vocabulary.encode(end_text(separator)).tolist()
    reading = Reading(is_backward, tuple(mark[::-1] if is_backward else mark))
    return Coder(model, vocabulary, reading, config.corpus.encoding, step)


def default_streams(symbols: int) -> int:
    """Number of streams for a text: more are faster, and each costs its first characters, which lack context."""
    return max(1, min(symbols // SYMBOLS_PER_STREAM, MAX_DEFAULT_STREAMS))


def compress(
    coder: Coder,
    content: bytes,
    streams: int | None = None,
    on_progress: Progress = lambda *_: None,
    rate: int = 0,
) -> Container:
    """Compress a file; with a ``rate`` k, the readout learns from what is coded, at 2^-k. Raises UserError if the file
    is too long."""
    if len(content) > MAX_BYTES:
        raise UserError(f"the file has {len(content):,} bytes; the limit is {MAX_BYTES:,}")
    check_machine()
    symbols = to_symbols(content, coder.vocabulary, coder.encoding)
    count = len(symbols.ids)
    streams = default_streams(count) if streams is None else max(1, min(streams, count, MAX_STREAMS))
    blocks = []
    if count:
        layout = Layout(count, streams)
        table = layout.split(symbols.ids[::-1] if coder.reading.is_backward else symbols.ids, coder.vocabulary.size)
        predictions = Predictions(coder.model, coder.reading, streams, rate)
        for steps in layout.blocks():
            starts, sizes = (np.empty((len(steps), streams), np.uint32) for _ in range(2))
            for row, t in enumerate(steps):
                starts[row], sizes[row] = predictions.intervals(table[t])
                predictions.read(table[t])
                on_progress(layout.done(t), layout.symbols)
            blocks.append(rans.encode(starts, sizes, layout.counts[steps.start : steps.stop]))
    return Container(
        coder.digest,
        coder.step,
        hashlib.sha256(content).digest()[:DIGEST],
        len(content),
        symbols.encoding,
        count,
        streams,
        rate,
        len(symbols.codes),
        pack_codes(symbols.codes),
        tuple(blocks),
    )


def decompress(coder: Coder, container: Container, name: str, on_progress: Progress = lambda *_: None) -> bytes:
    """Restore the original; ``name`` is that of the compressed file, for messages.

    Raises UserError if it was compressed by another model, or is damaged.
    """
    if container.model != coder.digest:
        steps = f" (step {container.step:,} of its training, not {coder.step:,})"
        where = "" if container.step == coder.step else steps
        raise UserError(
            f"{name}: it was compressed by another model{where}. Give the run and the --checkpoint that compressed it"
        )
    damaged = UserError(f"{name}: the file is damaged: its content does not fit its header. Get it again")
    symbols, streams = container.symbols, container.streams
    if max(symbols, container.length, container.escapes) > MAX_BYTES or not 1 <= streams <= max(symbols, 1):
        raise damaged
    if container.rate > MAX_RATE or streams > MAX_STREAMS:
        raise damaged
    check_machine()
    layout = Layout(symbols, streams)
    if len(container.blocks) != len(list(layout.blocks())):
        raise damaged
    try:
        ids = _decode(coder, container, layout, on_progress)
        codes = unpack_codes(container.codes, container.escapes)
        content = to_bytes(Symbols(ids, codes, container.encoding), coder.vocabulary)
    except (rans.DamagedStreamError, DamagedSymbolsError):
        raise damaged from None
    if len(content) != container.length or hashlib.sha256(content).digest()[:DIGEST] != container.original:
        raise damaged
    return content


def _decode(coder: Coder, container: Container, layout: Layout, on_progress: Progress) -> Ids:
    table = np.full((layout.steps, layout.streams), coder.vocabulary.size, np.min_scalar_type(coder.vocabulary.size))
    predictions = Predictions(coder.model, coder.reading, layout.streams, container.rate) if layout.steps else None
    for steps, block in zip(layout.blocks(), container.blocks, strict=True):
        decoder = rans.Decoder(block, layout.streams)
        for t in steps:
            assert predictions is not None
            count = layout.counts[t]
            table[t, :count], starts, sizes = predictions.find(decoder.points(), count)
            decoder.advance(starts, sizes)
            predictions.read(table[t].astype(np.int64))
            on_progress(layout.done(t), layout.symbols)
        decoder.check_end()
    ids = layout.join(table)
    return ids[::-1] if coder.reading.is_backward else ids


def bits_per_character(container: Container, size: int) -> float:
    """The bits of a compressed file of ``size`` bytes per symbol of the original; NaN for an empty one."""
    return 8 * size / container.symbols if container.symbols else math.nan
