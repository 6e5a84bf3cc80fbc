"""Lead-ins: passages of the training text that a model reads, unprinted, before it samples.

Truncated backpropagation through time carries the state, so training meets the zero state once per stream and epoch
only: a young model writes noise from it. After a passage that ends a line, it writes the beginning of the next line.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from charlstm.text.corpus import Corpus
from charlstm.text.documents import Direction
from charlstm.text.vocabulary import Vocabulary

COUNT = 16
LENGTH = 128  # characters
SEARCHED = 2000  # characters at each of the evenly spaced positions


def lead_ins(corpus: Corpus, direction: Direction) -> list[str]:
    """Up to 16 passages of equal length, at most 128 characters, evenly spaced over the training split. They are texts
    of the vocabulary's symbols, in the order in which a model of this direction reads them.

    Each ends at the end of a paragraph if there is one in the 2,000 characters around its position; otherwise of a
    line, of a word, or anywhere. Empty for documents, which are read from the zero state, and for a
    bidirectional model.
    """
    if corpus.documents is not None or direction == "bidirectional":
        return []
    part = corpus.splits["train"]
    spans = [(part.start, part.stop)] if corpus.spans is None else corpus.spans[part].tolist()
    texts = [corpus.ids[begin:end] for begin, end in spans]
    if direction == "backward":
        texts = [ids[::-1] for ids in texts]
    length = min(LENGTH, max(map(len, texts)) // 2)
    texts = [ids for ids in texts if len(ids) > length]
    if length == 0:
        return []
    chosen, total = dict[tuple[int, int], str](), sum(map(len, texts))
    starts = np.cumsum([0, *(len(ids) for ids in texts)])
    for position in np.linspace(0, total, COUNT + 1)[1:].astype(np.int64):
        n = min(int(np.searchsorted(starts, position)) - 1, len(texts) - 1)
        low = max(length, int(position - starts[n]) - SEARCHED)
        end = _end(corpus, texts[n], low, min(low + SEARCHED, len(texts[n])))
        chosen[n, end] = _symbols(corpus, texts[n][end - length : end])
    return list(chosen.values())


def encode_lead_ins(texts: Sequence[str], vocabulary: Vocabulary) -> list[list[int]]:
    """The ids of passages. Raises KeyError for symbols that are not in the vocabulary."""
    ids = {symbol: i for i, symbol in enumerate(vocabulary.symbols)}
    return [[ids[symbol] for symbol in text] for text in texts]


def _end(corpus: Corpus, ids: npt.NDArray[np.unsignedinteger], low: int, high: int) -> int:
    """The last end of a paragraph, line or word from ``low`` to ``high``; ``high`` if there is none."""
    window = _symbols(corpus, ids[low:high])
    for mark in ("\n\n", "\n", " "):
        if (position := window.rfind(mark)) >= 0:
            return low + position + len(mark)
    return high


def _symbols(corpus: Corpus, ids: npt.NDArray[np.unsignedinteger]) -> str:
    return "".join(corpus.vocabulary.symbols[i] for i in ids.tolist())
