"""What other predictors of the same held-out text reach: what the bits of a model mean."""

from __future__ import annotations

import hashlib
import json
import lzma
import math
from contextlib import suppress
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from charlstm.cache import open_atomic, user_cache_folder, writable_folder
from charlstm.config import Config
from charlstm.probes.ngram_scores import HELD_OUT_LIMIT, LIMIT, ngram_bits
from charlstm.text.corpus import Corpus
from charlstm.text.documents import Documents
from charlstm.units import bits

ORDERS = range(1, 8)
FORMAT = 2
"""Version of the cached scores; increased when they are computed in another way."""


class Baseline(NamedTuple):
    """A predictor and its score in bits per character of the held-out text."""

    name: str
    bits: float


def baselines(config: Config, corpus: Corpus) -> list[Baseline]:
    """The scores of the alphabet alone, of n-gram models and of xz, each of which knows the training text; of a long
    text, its last million characters.

    Documents are joined by their end marks. The scores are cached by the content and the split of the text.
    Raises UserError if a split is empty.
    """
    settings = config.corpus.model_dump(mode="json", exclude={"source"})
    key = json.dumps([FORMAT, corpus.digest, settings, [*ORDERS], LIMIT, HELD_OUT_LIMIT], sort_keys=True)
    folder, name = user_cache_folder() / "baselines", f"{hashlib.sha256(key.encode()).hexdigest()}.json"
    with suppress(OSError, ValueError, TypeError):
        content = json.loads((folder / name).read_text(encoding="utf-8"))
        return [Baseline(str(known), float(score)) for known, score in content]
    computed = _compute(corpus)
    with open_atomic(writable_folder(folder) / name) as file:
        file.write(json.dumps(computed).encode())
    return computed


def _compute(corpus: Corpus) -> list[Baseline]:
    train, held_out = joined(corpus.split("train")), joined(corpus.split("validation"))
    size, unit = corpus.vocabulary.size, corpus.vocabulary.unit
    scores = [Baseline(f"{size:,} {unit}s, all equally likely", bits(math.log(size)))]
    ngrams = ngram_bits(train, held_out, size, ORDERS)
    scores += [Baseline(f"{order}-gram model", score) for order, score in ngrams.items()]
    return [*scores, Baseline("xz", xz_bits(corpus, train[-LIMIT:], held_out[:HELD_OUT_LIMIT]))]


def xz_bits(corpus: Corpus, train: npt.NDArray[np.integer], held_out: npt.NDArray[np.integer]) -> float:
    """The bits per held-out character by which an xz file of the training text grows if the held-out text follows."""
    sizes = []
    for ids in (train, np.concatenate([train, held_out])):
        sizes.append(len(lzma.compress(text_bytes(corpus, ids), preset=6)))
    return 8 * (sizes[1] - sizes[0]) / len(held_out)


def text_bytes(corpus: Corpus, ids: npt.NDArray[np.integer]) -> bytes:
    """The text of the ids in UTF-8, or the bytes that they are."""
    if corpus.vocabulary.kind == "bytes":
        return corpus.vocabulary.decode_bytes(ids)
    return corpus.vocabulary.decode(ids).encode("utf-8", "surrogatepass")


def joined(part: npt.NDArray[np.integer] | Documents) -> npt.NDArray[np.integer]:
    """The ids of a split as one text: of blocks, what counts in them."""
    if not isinstance(part, Documents):
        return part
    begins, ends = part.starts, part.ends
    if part.is_running_text and part.scored is not None and part.scored_ends is not None:
        begins, ends = part.scored, part.scored_ends
    pieces = (part.ids[begin:end] for begin, end in zip(begins, ends, strict=True))
    mark = part.end_mark.astype(part.ids.dtype)
    return np.concatenate([each for piece in pieces for each in (piece, mark)])
