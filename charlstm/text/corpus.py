"""A text as memory-mapped ids, split by position, or by its documents."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from charlstm.cache import user_cache_folder, writable_folder, written_whole
from charlstm.errors import UserError
from charlstm.text.documents import Documents, cut, permutation
from charlstm.text.reading import Progress, Source, check_encoding, check_text, hash_sources, read_codes
from charlstm.text.separators import called, question
from charlstm.text.sources import resolve
from charlstm.text.splits import document_boundaries, kept_shares
from charlstm.text.vocabulary import Codes, Vocabulary

SPLITS = ("train", "validation", "test")
SHUFFLED_BY = 1
"""The seed of the order in which documents are split: the same for all, so that what is held out stays held out."""
FORMAT = 1
"""Raised whenever the files in the cache change their meaning."""


@dataclass(frozen=True, eq=False)
class Corpus:
    """A text, its vocabulary and its splits."""

    vocabulary: Vocabulary
    ids: npt.NDArray[np.unsignedinteger]
    """``[N]``, a read-only memory map in the smallest unsigned dtype that holds V-1."""
    splits: Mapping[str, slice]
    """Where train, validation and test lie, in this order, among the ids, or among the documents; a split may be
    empty."""
    digest: str
    """SHA-256 (hex) of the files' bytes, unpacked, one file after the other."""
    sources: tuple[str, ...]
    encoding: str
    documents: Documents | None = None
    """The text's documents in the order in which they are split; None: it is one running text."""
    question: str = ""
    """What to ask about the separator of the documents, if it hardly occurs."""

    def split(self, name: str) -> npt.NDArray[np.unsignedinteger] | Documents:
        """The ids of one split, a view; or its documents.

        Raises:
            UserError: no such split, or it is empty.
        """
        if name not in self.splits:
            raise UserError(f"no split {name!r}: there are {', '.join(self.splits)}")
        part = self.splits[name]
        if part.start == part.stop:
            remedy = (
                "lower corpus.validation_fraction and corpus.test_fraction"
                if name == "train"
                else f"raise corpus.{name}_fraction"
            )
            raise UserError(f"the {name} split of {self.describe()} is empty: {remedy}, or give a longer text")
        return self.ids[part] if self.documents is None else self.documents.chosen(part)

    def describe(self) -> str:
        """One short line: what, how long, how many symbols, how it is split."""
        name = self.sources[0] if len(self.sources) == 1 else f"{len(self.sources)} files"
        noun = "bytes" if self.vocabulary.kind == "bytes" else "characters"
        parts = [f"{part.stop - part.start:,} {key}" for key, part in self.splits.items() if part.stop > part.start]
        documents = "" if self.documents is None else f", {len(self.documents):,} documents"
        documents += f" - {self.question} -" if self.question else ""
        return f"{name}: {self.ids.size:,} {noun}, {self.vocabulary.size:,} distinct{documents} ({', '.join(parts)})"


@dataclass(frozen=True)
class _Record:
    """What lies beside the ids in the cache, and makes them valid."""

    format: int
    characters: int
    dtype: str
    vocabulary: str


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
) -> Corpus:
    """The corpus of a catalogue name, a file, a glob, or several of these, concatenated in order.

    Takes constant memory: the text is read in pieces (once to know it; if its ids are not in the cache, once
    more to count its symbols and once to write them). The cache is keyed by the content and the encoding, so
    a text that changed is read anew and one that moved is not.

    Nothing is put between files. What gzip, bzip2 or xz has compressed is read unpacked. A byte-order mark at the start
    of a file is dropped, line ends stay as they are; with ``encoding="bytes"`` every byte stays as it is.

    Args:
        validation_fraction, test_fraction: train is the first ``1 - validation - test`` of the text, rounded
            down; validation follows it, test is the end.
        documents: the separator of independent documents, for `charlstm.text.documents.cut`; None: one running text.
            The shares are then those of the documents' characters, as closely as whole documents allow, but each
            split that is asked for gets one document at least.
        shuffle_documents: put the documents into a random order, always the same, before they are split.
        score_after: what only the rest of each document after it counts; see `charlstm.text.documents.cut`.
        cache: the cache folder; `user_cache_folder` by default. One that cannot be written is replaced by a
            temporary folder.

    Raises:
        UserError: no such source, no regular file, an unknown encoding, a text that is not in it, an empty
            text, one with a single distinct symbol, fractions that leave no room, too few documents, or one without
            ``score_after``.
    """
    kept = kept_shares(validation_fraction, test_fraction)
    encoding = check_encoding(encoding)
    cache = user_cache_folder() if cache is None else cache
    files = resolve(source, cache, on_progress)
    digest, sizes = hash_sources(files, on_progress)
    names = tuple(file.name for file in files)
    if sum(sizes) == 0:
        raise UserError(f"the corpus is empty: {_listed(names)} has no content. Give corpus.source another text")

    for text in files:
        check_text(text, encoding)

    # The sizes belong to the key: a byte-order mark is dropped at the start of a file only.
    key = hashlib.sha256(json.dumps([FORMAT, digest, sizes, encoding]).encode()).hexdigest()
    ids_name, record_name = f"{key}.ids", f"{key}.json"
    cached = cache / "ids"
    record = _valid_record(cached / ids_name, cached / record_name)
    if record is None:
        cached = writable_folder(cached)
        record = _valid_record(cached / ids_name, cached / record_name)
    if record is None:
        record = _write_ids(files, encoding, digest, cached / ids_name, sum(sizes), on_progress)
        with written_whole(cached / record_name) as file:
            file.write(json.dumps(asdict(record)).encode())

    ids = np.memmap(cached / ids_name, dtype=record.dtype, mode="r", shape=(record.characters,))
    vocabulary = Vocabulary.from_json(record.vocabulary)
    separate, asked = None, ""
    if documents is None:
        whole = record.characters
        train, validation = (int(whole * fraction) for fraction in kept)
    else:
        separate = cut(ids, vocabulary, documents, score_after)
        whole = len(separate)
        asked = question(ids, vocabulary, documents, whole)
        if asked and called(documents):
            raise UserError(
                f"corpus.documents: {documents!r} as a text cuts {_listed(names)} into {whole:,} documents: {asked} "
                "(To mean the text, give it with what stands around it.)"
            )
        if shuffle_documents:
            separate = separate.chosen(permutation(whole, SHUFFLED_BY))
        train, validation = document_boundaries(separate, kept, _listed(names), asked)
    splits = {"train": slice(0, train), "validation": slice(train, validation), "test": slice(validation, whole)}
    return Corpus(vocabulary, ids, MappingProxyType(splits), digest, names, encoding, separate, asked)


def _valid_record(ids: Path, record: Path) -> _Record | None:
    try:
        found = _Record(**json.loads(record.read_text(encoding="utf-8")))
        Vocabulary.from_json(found.vocabulary)
        whole = ids.stat().st_size == found.characters * np.dtype(found.dtype).itemsize
        return found if found.format == FORMAT and whole else None
    except (OSError, ValueError, TypeError):
        return None


class _Seen:
    """Which code points or byte values have occurred."""

    def __init__(self) -> None:
        self._small = b""
        self._all = np.zeros(0x110000, bool)

    def add(self, codes: Codes) -> None:
        if codes.dtype == np.uint8:
            self._small += bytes(set(codes.tobytes().translate(None, self._small)))
        else:
            self._all[codes] = True

    def codes(self) -> list[int]:
        self._all[list(self._small)] = True
        return [int(code) for code in np.flatnonzero(self._all)]


def _write_ids(
    files: list[Source],
    encoding: str,
    digest: str,
    target: Path,
    total: int,
    on_progress: Progress | None,
) -> _Record:
    seen = _Seen()
    characters, done = 0, 0
    for file in files:
        for piece, codes in read_codes(file, encoding):
            seen.add(codes)
            characters += codes.size
            done += len(piece)
            if on_progress:
                on_progress(f"counting {file.name}", done, total)
    names = tuple(file.name for file in files)
    if characters == 0:
        empty = f"the corpus is empty: {_listed(names)} has no content but a byte-order mark"
        raise UserError(f"{empty}. Give corpus.source another text")
    vocabulary = Vocabulary.from_codes(seen.codes(), "bytes" if encoding == "bytes" else "characters")
    if vocabulary.size == 1:
        raise UserError(
            f"there is nothing to learn from {_listed(names)}: its {characters:,} characters are all "
            f"the same, {vocabulary.symbols[0]!r}. Give corpus.source a text with at least two different ones"
            if characters > 1
            else f"there is nothing to learn from {_listed(names)}: it is a single character, "
            f"{vocabulary.symbols[0]!r}. Give corpus.source a longer text"
        )

    dtype = np.min_scalar_type(vocabulary.size - 1).newbyteorder("<")
    pack = vocabulary.packer(dtype)
    content, written, done = hashlib.sha256(), 0, 0
    with written_whole(target, characters * dtype.itemsize) as output:
        for file in files:
            for piece, codes in read_codes(file, encoding):
                content.update(piece)
                output.write(pack(codes))
                written += codes.size
                done += len(piece)
                if on_progress:
                    on_progress(f"encoding {file.name}", done, total)
        if content.hexdigest() != digest or written != characters:
            raise UserError(f"{_listed(names)} changed while it was being read: run this again when it is whole")
    return _Record(FORMAT, characters, dtype.str, vocabulary.to_json())


def _listed(names: tuple[str, ...]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
