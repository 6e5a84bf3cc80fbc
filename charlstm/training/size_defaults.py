"""The settings that ``charlstm train`` takes for what a configuration leaves out: by the sizes of text and alphabet."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from charlstm.config import Config, Document
from charlstm.text.corpus import Corpus
from charlstm.text.documents import Documents
from charlstm.text.hints import has_crlf_lines

MINUTES = 3.0
WHOLE = 2_000
"""Characters of the longest text from which nothing is held out. The tenth of it that would be held out has 200: their
mean score has a standard error of about 0.15 bits (Shakespeare, War and Peace, names), and the network would never see
them."""

HELD_OUT = 200_000
"""Characters to hold out of a long text. Evaluations score a sample of a longer split, but at the end of training all
of it is scored: a tenth of 100 MB would take a minute or two, after three minutes of training. A mean over so many
characters has a standard error of about 0.005 bits, and the network learns from the rest."""
FRACTION = 0.1
"""The fraction held out of texts in between, the default of the configuration."""


@dataclass(frozen=True)
class SizeDefaults:
    """Settings for texts of up to ``characters`` characters in the training split; ``fine_tuning_rate`` is the learning
    rate from the weights of another run."""

    characters: float
    hidden_size: int
    dropout: float
    batch_size: int
    sequence_length: int
    learning_rate: float
    fine_tuning_rate: float
    epochs: float


CELL = "capped"
"""The cell for every size. Nats held out at the best of two or three learning rates (`charlstm sweep`, method: grid),
one layer, biases of the readout that start at zero (for the lstm: ``unigram_bias: false``). After 6.1 million
characters with 256 units and a forget bias of 0, one seed:

| cell | Tiny Shakespeare | War and Peace | Python's standard library |
|---|---|---|---|
| lstm | 1.492 | 1.320 | 1.160 |
| gru | 1.499 | 1.286 | 1.174 |
| coupled | 1.491 | 1.280 | 1.143 |
| capped | 1.475 | 1.259 | 1.123 |

(All but the lstm were best at the lowest rate that was tried.) After 20.5 million characters of the first two texts
with dropout 0.1, capped has 1.479 and 1.208 at 8e-3, 1.487 and 1.204 at 5e-3, and the lstm 1.498 and 1.273 at 1e-2, its
only rate. With the settings of the table below, lstm and capped have 1.704 and 1.692 on 50,000 characters of Tiny
Shakespeare, 2.174 and 2.153 on 5,000 (three seeds each), 1.317 and 1.312 on 500,000 (one seed); on 5,000 characters of
War and Peace 2.200 and 2.204 (three seeds).

Its initialization is the usual one. With biases at the frequencies and forget gates at time scales of 1 to 10
characters (``unigram_bias``, ``forget_bias: chrono``, ``chrono_length: 10``) it is better where a long text is read for
long, and worse before; with the usual initialization and with this one, at the rates of the table below (500,000: one
seed, and 100,000 other characters held out; 50,000 and 5,000: three seeds, and 50,000):

| characters | Tiny Shakespeare | War and Peace |
|---|---|---|
| 20.5 million, read from the whole text | 1.479, 1.481 | 1.208, 1.179 |
| 500,000, read 12 times | 1.747, 1.753 | 1.482, 1.512 |
| 50,000, read 30 times | 2.128, 2.157 | 1.823, 1.833 |
| 5,000, read 30 times | 2.658, 2.666 | 2.135, 2.148 |

On 10 million characters of Python's standard library it has 1.187 and 1.184. The lstm has 1.488 and 1.198 with this
one, after 20.5 million; with its own defaults, the frequencies and the forget bias of torch, it was not measured at
these sizes.

With 256 units it trains about as fast as the lstm, 129,000 to 145,000 characters per second against 125,000 to 158,000
(one core of an AMD EPYC, bfloat16, while other work ran). Without a compiler for its kernels it is slower than the
lstm, which torch has."""

TABLE = (
    SizeDefaults(WHOLE, 64, 0.5, 4, 32, 1e-2, 1e-3, 60),
    SizeDefaults(5e3, 64, 0.5, 4, 32, 1e-2, 1e-3, 30),
    SizeDefaults(5e4, 128, 0.3, 8, 64, 1e-2, 3e-3, 30),
    SizeDefaults(5e5, 256, 0.3, 16, 64, 8e-3, 8e-3, 12),
    SizeDefaults(5e6, 256, 0.1, 32, 64, 8e-3, 8e-3, 10),
    SizeDefaults(float("inf"), 256, 0.0, 32, 64, 8e-3, 8e-3, 2),
)
"""By rising size.

Without weight drop, which gives 512 units 0.03 to 0.04 nats when they read 1 MB ten times
(configs/compare/regularization.yaml): here it is worse or gives nothing that is sure, and takes 15 to 50% more time.
Nats of the best evaluation (`charlstm sweep`, method: grid), one seed, on the last 100,000 characters of the text,
which are another part of it than the first 500,000 that were read: Tiny Shakespeare and War and Peace, dropout 0.3,
1.763 and 1.535 without it, 1.756 and 1.522 at 0.1, 1.770 and 1.545 at 0.2. On the last 50,000 characters of Tiny
Shakespeare, after its first 50,000: 2.133 without it, 2.143 at 0.2, 2.167 at 0.4; after 5,000 (two seeds): 2.638,
2.639 at 0.2, 2.651 at 0.5; no better after twice as many epochs. Dropout of 0.5 instead of 0.3 after 50,000: 2.133,
too. Twice as many units, 2.112 with dropout 0.5 after 50,000 and 2.622 after 5,000, take more than twice the time for
that."""


LARGE_ALPHABET = 10
"""A row's network has half of its units for an alphabet of more than this many symbols for each unit, V > 10 H: for a
character, the readout's V H multiply-adds are then more than twice the 4 H^2 of the recurrence, and with half of the
units more is read in the same time.

Measured on Chinese poems, nats held out (one seed, one thread, AMD EPYC, bfloat16): 2.6 MB, V = 5,387, 40 s of CPU:
256 units 4.914, 128 4.800, 64 4.834; 100 s: 256 4.597, 128 4.621; 150 s on a slower CPU: 256 4.952, 128 4.750. 200 KB,
V = 3,084: 256 5.280 in 23 s, 128 5.283 in 13 s. 20 KB, V = 1,362: 128 5.729, 64 5.689. 2.6 MB with only the 2,100 most
frequent characters, 40 s: 256 4.542, 128 4.533, so the limit is above that."""
SMALLEST = 64
"""Units below which no network is halved."""


def size_defaults(characters: int, symbols: int) -> SizeDefaults:
    """The row of the table for a training split of this many characters, with half of its units for a large alphabet.

    Args:
        symbols: V, the number of different characters.
    """
    row = next(row for row in TABLE if characters <= row.characters)
    return replace(row, hidden_size=row.hidden_size // 2) if symbols > largest_alphabet(row) else row


def largest_alphabet(row: SizeDefaults) -> float:
    """The number of different characters up to which a row's network has all of its units."""
    return LARGE_ALPHABET * row.hidden_size if row.hidden_size > SMALLEST else float("inf")


def chosen_by(corpus: Corpus, hidden_size: int) -> str:
    """What a network of ``hidden_size`` units was chosen by, in words."""
    characters, symbols = corpus.length("train"), corpus.vocabulary.size
    row, without = size_defaults(characters, symbols), size_defaults(characters, 0)
    if row == without or hidden_size != row.hidden_size:
        return "chosen by the size of the text"
    return (
        f"chosen by the size of the text, with {row.hidden_size} units in place of {without.hidden_size} for its "
        f"{symbols:,} different characters, whose output layer takes most of a step"
    )


def fill_left_out(
    document: Document, settings: Config, corpus: Corpus, is_fine_tuned: bool = False
) -> tuple[Document, list[str]]:
    """The document with what it leaves out, and the names of the sections that were filled: ``model`` and ``training``,
    and ``corpus`` if without both of them another fraction of the text is held out than the settings say, or its lines
    end in CR LF, which become LF.

    Args:
        settings: what the document says so far, with the changes of the command line.
        corpus: the text, split as ``settings`` say.
        is_fine_tuned: whether training starts from the weights of another run, whose network it takes: of the section
            ``model``, only the dropout is chosen, and line ends remain.
    """
    missing = [section for section in ("model", "training") if document.data.get(section) is None]
    if not missing:
        return document, missing
    text, given = chosen_text(corpus), settings.corpus.model_fields_set
    fraction = text["validation_fraction"]
    is_needed = fraction == 0 and settings.training.fields_on_held_out_scores
    is_changed = fraction != settings.corpus.validation_fraction
    characters, filled = corpus.length("train"), dict(document.data)
    if not is_changed or {"validation_fraction", "validation"} & given or is_needed:
        del text["validation_fraction"]
    elif len(missing) == 2:
        characters = int((1 - fraction - settings.corpus.test_fraction) * corpus.ids.size)
    if "normalize" in given or is_fine_tuned:
        text.pop("normalize", None)
    if text and len(missing) == 2:
        filled["corpus"] = {**(filled.get("corpus") or {}), **text}
        missing.append("corpus")
    chosen = chosen_sections(corpus, is_fine_tuned, characters)
    filled |= {section: chosen[section] for section in missing if section in chosen}
    return replace(document, data=filled), missing


def chosen_text(corpus: Corpus) -> dict[str, Any]:
    """The fields of the section ``corpus`` that are chosen for a text: the fraction that is held out, and that CR LF
    becomes LF, if it ends the lines."""
    fields: dict[str, Any] = {"validation_fraction": chosen_fraction(corpus)}
    return fields | ({"normalize": ["line_ends"]} if has_crlf_lines(corpus) else {})


def chosen_fraction(corpus: Corpus) -> float:
    """The fraction of a text that is held out, unless the user says otherwise: nothing of a short one, a tenth, or of a
    long one about `HELD_OUT` characters, with one significant digit."""
    size = corpus.ids.size
    return 0.0 if size <= WHOLE else min(FRACTION, float(f"{HELD_OUT / size:.1g}"))


def chosen_sections(
    corpus: Corpus, is_fine_tuned: bool = False, characters: int | None = None
) -> dict[str, dict[str, Any]]:
    """The sections ``model`` and ``training`` for a corpus, as plain data of a configuration.

    The budget is a number of epochs or 3 minutes, whichever ends first. A batch of documents has about as many
    characters as one of a running text.

    Args:
        characters: of the training split; None: that of ``corpus``.
    """
    train = corpus.split("train")
    row = size_defaults(corpus.length("train") if characters is None else characters, corpus.vocabulary.size)
    batch, length = row.batch_size, row.sequence_length
    if isinstance(train, Documents) and not train.is_running_text:
        mean = min(corpus.length("train") / len(train), length)  # of a longer one, a chunk is read at a time
        batch = max(1, min(512, round(batch * length / mean), len(train) // 4))
    network = {} if is_fine_tuned else {"cell": CELL, "hidden_size": row.hidden_size}
    return {
        "model": {**network, "dropout": row.dropout},
        "training": {
            "batch_size": batch,
            "sequence_length": length,
            "learning_rate": row.fine_tuning_rate if is_fine_tuned else row.learning_rate,
            "evaluate_every": None,
            "budget": {"epochs": row.epochs, "minutes": MINUTES},
        },
    }
