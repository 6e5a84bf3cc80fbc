"""A corpus: a text as memory-mapped ids, and its splits by position, by blocks, by files or by documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from charlstm.cache import user_cache_folder
from charlstm.errors import UserError
from charlstm.text.blocks import blocks, sample_of_documents, sample_of_text
from charlstm.text.documents import (
    Documents,
    permutation,
    split_documents,
    split_documents_of_files,
    without_repeated,
)
from charlstm.text.encoded import Metadata, encoded_ids, listed
from charlstm.text.preparation import Preparation, normalizations
from charlstm.text.reading import Progress, check_encoding, check_text, hash_sources
from charlstm.text.separators import meant_separator, separator_hint
from charlstm.text.sources import resolve
from charlstm.text.splits import (
    SHUFFLE_SEED,
    SPLITS,
    WHOLE_TEXT,
    Boundaries,
    Spans,
    blocks_of_documents,
    blocks_of_text,
    check_enough_documents,
    cumulative_fractions,
    describe_spans,
    document_boundaries,
    spans_of_files,
    splits_of_files,
)
from charlstm.text.vocabulary import Vocabulary

SAMPLE_CHARACTERS = 1 << 15
"""Largest size of the sample of the training split."""
STRETCH = 256
"""Characters of each stretch of a sample of the validation split."""
_REMEDIES = {
    "train": "lower corpus.validation_fraction and corpus.test_fraction, or use a longer text",
    "validation": f"raise corpus.validation_fraction, use a longer text, or {WHOLE_TEXT}",
    "test": "raise corpus.test_fraction, or use a longer text",
}
"""What to do if a split is empty."""


@dataclass(frozen=True, eq=False)
class Corpus:
    """A text, its vocabulary and its splits."""

    vocabulary: Vocabulary
    ids: npt.NDArray[np.unsignedinteger]
    """``[N]``, a read-only memory map in the smallest unsigned dtype that holds V-1."""
    splits: Mapping[str, slice]
    """The slices of train, validation and test, in this order, of the ids, of the documents or of the blocks; a split
    may be empty."""
    digest: str
    """SHA-256 (hex) of the decompressed bytes of all files, concatenated."""
    sources: tuple[str, ...]
    encoding: str
    documents: Documents | None = None
    """The documents in the order in which they are split; None: one running text."""
    separator_hint: str = ""
    """A hint that the separator of the documents may be wrong, if it is rare in the text."""
    spans: Spans | None = None
    """``[K, 2]``: begin and end of the blocks of a running text that is split by blocks or files, those of train first;
    None: the splits are contiguous, or consist of documents."""
    gap: int = 0
    """Number of characters on each side of a held-out block that are in no split."""
    held_out_unit: str = ""
    """What held-out blocks are: ``blocks`` or ``files``."""
    changes: tuple[str, ...] = ()
    """One line for each change that the configuration asks for: what it did."""
    unused_symbols: int = 0
    """The number of symbols of the vocabulary that the text does not have."""

    @property
    def distinct(self) -> int:
        """The number of different symbols in the text."""
        return self.vocabulary.size - self.unused_symbols

    def split(self, name: str) -> npt.NDArray[np.unsignedinteger] | Documents:
        """The ids of one split, as a view; or its documents; or its blocks, as documents without an end mark.

        Raises:
            UserError: no such split, or it is empty.
        """
        if name not in self.splits:
            raise UserError(f"unknown split {name!r}: expected one of {', '.join(self.splits)}")
        if not self.has(name):
            raise UserError(f"the {name} split of {self.describe()} is empty: {_REMEDIES[name]}")
        part = self.splits[name]
        if self.spans is not None:
            return blocks(self.ids, self.spans[part], 0 if name == "train" else self.gap)
        return self.ids[part] if self.documents is None else self.documents.select(part)

    def has(self, name: str) -> bool:
        """Whether a split has any text."""
        part = self.splits[name]
        return bool(part.start < part.stop)

    @property
    def excerpt_split(self) -> str:
        """The split whose beginning shows what a model does: ``validation``, or ``train`` if nothing is held out."""
        return "validation" if self.has("validation") else "train"

    def length(self, name: str) -> int:
        """The number of characters of a split; of documents, with their ends."""
        part = self.split(name)
        return part.characters if isinstance(part, Documents) else len(part)

    def training_sample(self, characters: int | None = None) -> Documents:
        """An evenly spread part of the training split, to be scored beside ``characters`` characters of the validation
        split, None for all of it: at most 32,768 characters, and at most as many as that has, if there is one."""
        size = self.length(self.excerpt_split) if characters is None else characters
        return self._sample("train", min(SAMPLE_CHARACTERS, size))

    def held_out_sample(self, characters: int) -> Documents:
        """An evenly spread part of the validation split, always the same: of a running text, stretches of 256
        characters with up to 128 more on each side to be read before they are scored; of documents, whole ones, at
        least one, with at most so many characters.

        Many short stretches represent a text better than a few long ones: of Python's standard library, samples for
        which 40,000 characters have to be read had a standard deviation of 0.03 nats per character with stretches of
        64 to 256 characters, and 0.06 with those of 1,024. A context of 128 characters made the score of an LSTM of 256
        units less than 0.003 nats worse.
        """
        return self._sample("validation", characters, STRETCH)

    def _sample(self, name: str, size: int, length: int | None = None) -> Documents:
        text = self.split(name)
        if isinstance(text, Documents) and not text.is_running_text:
            return sample_of_documents(text, size)
        part = self.splits[name]
        if self.spans is None:
            spans, gap = np.array([[part.start, part.stop]]), 0
        else:
            spans, gap = self.spans[part], 0 if name == "train" else self.gap
        return sample_of_text(self.ids, spans, size, length, gap)

    def describe(self) -> str:
        """One short line: name, length, number of distinct symbols, splits."""
        name = self.sources[0] if len(self.sources) == 1 else f"{len(self.sources)} files"
        noun = "bytes" if self.vocabulary.kind == "bytes" else "characters"
        if self.spans is None:
            parts = [f"{part.stop - part.start:,} {key}" for key, part in self.splits.items() if part.stop > part.start]
        else:
            spans = {key: self.spans[part] for key, part in self.splits.items()}
            parts = describe_spans(spans, self.gap, self.held_out_unit)
        documents = "" if self.documents is None else f", {len(self.documents):,} documents"
        documents += f" - {self.separator_hint} -" if self.separator_hint else ""
        return f"{name}: {self.ids.size:,} {noun}, {self.distinct:,} distinct{documents} ({', '.join(parts)})"


def load_corpus(
    source: str | Sequence[str],
    encoding: str = "utf-8",
    validation_fraction: float = 0.1,
    test_fraction: float = 0.0,
    cache: Path | None = None,
    on_progress: Progress | None = None,
    documents: str | None = None,
    shuffle_documents: bool = True,
    score_after: str | None = None,
    validation: str = "tail",
    *,
    score_end: bool = False,
    column: str | None = None,
    context_column: str | None = None,
    context_separator: str = "|",
    skip_header: bool = False,
    deduplicate: bool = False,
    lowercase: bool = False,
    normalize: bool | Sequence[str] = False,
    characters: str | None = None,
) -> Corpus:
    """Load the corpus of a catalog name, a file, a glob, or several of these, concatenated in order.

    Takes constant memory: the text is read in chunks, once to hash it and, if its ids are not cached, twice more to
    collect its symbols and to write the ids. The cache key is the content and the encoding: a changed text is encoded
    again, a moved text is not.

    Nothing is inserted between files. Files compressed with gzip, bzip2 or xz are decompressed. A byte-order mark at
    the start of a file is dropped, line endings are not changed; with ``encoding="bytes"`` all bytes are unchanged.

    Args:
        validation_fraction, test_fraction: train is the first ``1 - validation - test`` of the text, rounded
            down; validation follows it, test is the end. A split with a fraction of 0 is empty.
        documents: the separator of independent documents (:func:`charlstm.text.documents.split_documents`);
            None: one running text.
            With documents, the fractions are approximate, since documents are not divided; each split with a
            fraction above 0 gets at least one document.
        shuffle_documents: shuffle the documents, always in the same way, before they are split.
        score_after: in each document, only the text after it counts; see `charlstm.text.documents.split_documents`.
        validation: what is held out: ``tail``, the end of the text (or the last of the documents); ``blocks``, evenly
            spread blocks of the text (`charlstm.text.splits.blocks_of_text`) or of the documents, which are then not
            shuffled; ``files``, whole files.
        score_end, column, context_column, context_separator, skip_header, deduplicate, lowercase, normalize: as the
            fields of the configuration (`charlstm.config.corpus.CorpusConfig`). `Corpus.changes` says what they did.
        characters: symbols that the vocabulary has even if the text does not have them.
        cache: the cache folder; `user_cache_folder` by default. If it is not writable, a temporary folder is used.

    Raises:
        UserError: the source does not exist or is not a regular file, the encoding is unknown or wrong, the text is
            empty or has a single distinct symbol, the fractions leave no training text, there are too few documents,
            or a document has nothing after ``score_after``.
    """
    boundaries = cumulative_fractions(validation_fraction, test_fraction)
    encoding = check_encoding(encoding)
    cache = user_cache_folder() if cache is None else cache
    files = resolve(source, cache, on_progress)
    preparation = Preparation(
        documents, column, context_column, context_separator, skip_header, lowercase, normalizations(normalize)
    )
    prepared = preparation.key(file.name for file in files)
    digest, sizes = hash_sources(files, on_progress)
    names = tuple(file.name for file in files)
    if sum(sizes) == 0:
        raise UserError(f"the corpus is empty: {listed(names)} has no content. Set corpus.source to another text")

    for text in files:
        check_text(text, encoding)

    characters = characters or ""
    ids, metadata = encoded_ids(files, encoding, preparation, prepared, digest, sizes, cache, on_progress, characters)
    symbols = Vocabulary.from_json(metadata.vocabulary)
    vocabulary = symbols.extended(characters)
    separated, hint, spans, gap, changes = None, "", None, 0, list(metadata.changes)
    if documents is None and validation == "tail":
        total = metadata.characters
        train, end = (int(total * fraction) for fraction in boundaries)
    elif documents is None:
        parts, gap = _spans(validation, boundaries, metadata, listed(names))
        train, end, total = np.cumsum([len(part) for part in parts.values()]).tolist()
        spans = np.concatenate(list(parts.values()))
    else:
        options = (vocabulary, documents, score_after, score_end)
        is_of_files = validation == "files"  # a document of two files would be in both of their splits
        separated = (
            split_documents_of_files(ids, metadata.file_ends, *options)
            if is_of_files
            else split_documents(ids, *options)
        )
        total = len(separated)
        if deduplicate:
            separated = without_repeated(separated)
            noun = {"newline": "lines", "blank_line": "paragraphs", "file": "files"}.get(documents, "documents")
            changes.append(f"deduplicate: {total:,} {noun}, {len(separated):,} different")
            total = len(separated)
        hint = separator_hint(ids, vocabulary, documents, total)
        if hint and meant_separator(documents):
            raise UserError(
                f"corpus.documents: {documents!r} as a text cuts {listed(names)} into {total:,} documents: {hint} "
                "(If the text itself is meant, include some of the text around it.)"
            )
        if validation == "tail":
            separated = separated.select(permutation(total, SHUFFLE_SEED)) if shuffle_documents else separated
            train, end = document_boundaries(separated, boundaries, listed(names), hint)
        else:
            check_enough_documents(total, boundaries, listed(names), hint)
            numbers = _document_numbers(validation, boundaries, metadata, separated)
            train, end, _ = np.cumsum([len(part) for part in numbers]).tolist()
            separated = separated.select(np.concatenate(numbers))
    splits = {"train": slice(0, train), "validation": slice(train, end), "test": slice(end, total)}
    unused = vocabulary.size - symbols.size
    settings = (names, encoding, separated, hint, spans, gap, validation, tuple(changes), unused)
    return Corpus(vocabulary, ids, MappingProxyType(splits), digest, *settings)


def _spans(validation: str, boundaries: Boundaries, metadata: Metadata, name: str) -> tuple[dict[str, Spans], int]:
    """The spans of each split of a running text, and the gap on each side of those that are held out."""
    if validation == "blocks":
        return blocks_of_text(metadata.characters, boundaries, name)
    return spans_of_files(metadata.file_ends, splits_of_files(metadata.file_ends, boundaries)), 0


def _document_numbers(
    validation: str, boundaries: Boundaries, metadata: Metadata, documents: Documents
) -> list[npt.NDArray[np.int64]]:
    """The numbers of the documents of each split."""
    if validation == "blocks":
        return blocks_of_documents(len(documents), boundaries)
    file = np.searchsorted(metadata.file_ends, documents.starts, side="right")
    split = splits_of_files(metadata.file_ends, boundaries)[file]
    return [np.flatnonzero(split == number) for number in range(len(SPLITS))]
