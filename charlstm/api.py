"""The public interface of charlstm as a library.

    import charlstm

    run = charlstm.train("poem.txt", minutes=1)  # or charlstm.load("runs/poem")
    print(run.generate("Once", length=400, temperature=0.8))
    print(run.score("Once upon a time").bits_per_character)

=============  ===============================================================================================
``train``      trains a run on a text: :mod:`charlstm.text_training`
``load``       loads a trained run from its directory or a checkpoint: a :class:`LoadedRun`
``LoadedRun``  ``generate``, ``beam_search``, ``stream``, ``infill``, ``score``, ``corpus``; ``model``, ``config``
``Sample``     one text returned by ``generate``
``Infilled``   one text returned by ``infill``
``Score``      the result of ``score``, in nats and bits
``UserError``  raised for wrong input and for unreadable files, with a message for users
``inspect``    what the units of a run do, and what its predictions depend on: :mod:`charlstm.inspection`
``export``     a page that writes text, ONNX, torch.nn weights, or a folder for hubs: :mod:`charlstm.exports`
``nn``         recurrent layers with the interface of torch.nn: :mod:`charlstm.nn`
=============  ===============================================================================================

All of these are attributes of ``charlstm``, which imports torch on first access.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from charlstm import nn
from charlstm.checkpoints.checks import WEIGHTS_FILE, checkpoint_checks, header_settings
from charlstm.checkpoints.compatibility import check_same_model
from charlstm.checkpoints.format import Check, CheckpointFile, strip_prefix
from charlstm.checkpoints.store import LoadedCheckpoint
from charlstm.config import Config
from charlstm.errors import UserError
from charlstm.evaluation import Score, score
from charlstm.generation import Infilled, Sample, Samples, Sampling, generate, infill
from charlstm.generation.beam import beam_search
from charlstm.generation.controls import Controls
from charlstm.generation.infilling import SWEEPS
from charlstm.generation.mixture import Mixture, Predictor, vocabulary_difference
from charlstm.generation.sampler import LeadIns
from charlstm.generation.streaming import stream
from charlstm.hardware.device import resolve_device
from charlstm.model import LanguageModel
from charlstm.paths import expand_home, is_folder, path_exists
from charlstm.runs.directory import RunDirectory
from charlstm.runs.names import find_run
from charlstm.text.automaton import Automaton
from charlstm.text.corpus import Corpus, load_corpus
from charlstm.text.decoding import decode
from charlstm.text.documents import Documents, split_documents
from charlstm.text.lead_ins import encode_lead_ins
from charlstm.text.preparation import Changes, Preparation, normalizations
from charlstm.text.relocation import relocate_source
from charlstm.text.separators import end_text
from charlstm.text.tables import is_table
from charlstm.text.unpacking import unpack
from charlstm.text.vocabulary import Unknown, Vocabulary
from charlstm.units import bits

__all__ = ["Infilled", "LoadedRun", "Sample", "Score", "UserError", "load", "nn"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, repr=False)
class LoadedRun:
    """A model with its vocabulary and configuration, as returned by ``charlstm.load``.

    ``header`` is the checkpoint's JSON header; ``directory`` is the run directory that contains the checkpoint, if any.
    """

    model: LanguageModel
    vocabulary: Vocabulary
    config: Config
    header: dict[str, Any]
    directory: RunDirectory | None

    def generate(
        self,
        prime: str = "",
        length: int = 400,
        *,
        temperature: float | tuple[float, float] = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
        seed: int = 1,
        num_samples: int = 1,
        until: str | None = None,
        unknown: Unknown = "error",
        lead_in: bool = True,
        no_repeat: int = 0,
        regex: str | None = None,
        best_of: int | None = None,
        average_with: Sequence[LoadedRun] = (),
    ) -> Samples:
        """Sample texts from the model, a list that prints as text; see :func:`charlstm.generation.generate`.

        Args:
            prime: the prompt; each text continues it, or for a backward model precedes it.
            length: the largest number of characters to sample.
            temperature: divides the logits; 0: always the most probable character. Two numbers: it changes linearly
                from the first to the second over ``length``.
            top_k: sample from the k most probable characters; 0: from all.
            top_p: sample from the most probable characters whose probabilities add up to this; 1: from all.
            min_p: sample from characters at least this fraction as probable as the most probable one; 0: from all.
            seed: random seed; the same seed gives the same texts.
            num_samples: number of texts.
            until: end a text after this string; ``""``: only after ``length`` characters; None: a model of documents
                ends it at the end of a document, and leaves the separator out.
            unknown: what to do with characters of ``prime`` outside the vocabulary: ``error`` or ``skip``.
            lead_in: whether the model first reads a passage of its training text, which is not part of the texts: see
                :mod:`charlstm.text.lead_ins`. Without, it starts from the zero state.
            no_repeat: passages of more characters than this are unlikely to be repeated: see
                :mod:`charlstm.generation.repetition`; 0: off.
            regex: a pattern that each text, without the prompt, matches: see :mod:`charlstm.text.automaton`.
            best_of: sample so many texts, and return those with the highest mean ln p per character, best first.
            average_with: runs whose probabilities are averaged with those of this one: see
                :mod:`charlstm.generation.mixture`.

        Raises:
            UserError: an argument is out of range, a character is unknown, or the model is bidirectional; the pattern
                is not one, or nothing of ``length`` matches it; the runs cannot be averaged.
        """
        if best_of is not None and best_of <= num_samples:
            raise UserError(f"best-of must be above num-samples, found {best_of} and {num_samples}")
        first, final = temperature if isinstance(temperature, tuple) else (temperature, None)
        samples = generate(
            self.predictor(average_with),
            self.vocabulary,
            self.prepare(prime),
            length,
            Sampling(first, top_k, top_p, min_p),
            seed,
            num_samples if best_of is None else best_of,
            self._end(until, regex),
            unknown,
            leave_out_until=until is None,
            lead_ins=self.lead_ins if lead_in else (),
            controls=self.controls(final, no_repeat, regex),
        )
        return samples if best_of is None else samples.best(num_samples)

    def beam_search(
        self,
        prime: str = "",
        length: int = 400,
        *,
        width: int = 8,
        num_samples: int = 1,
        until: str | None = None,
        unknown: Unknown = "error",
        lead_in: bool = True,
        no_repeat: int = 0,
        regex: str | None = None,
        average_with: Sequence[LoadedRun] = (),
    ) -> Samples:
        """The most probable texts that a beam search finds, best first; see :mod:`charlstm.generation.beam`.

        Args:
            width: how many texts are continued at each step.
            num_samples: number of texts, at most ``width``.

        The other arguments and the errors are those of :meth:`generate`.
        """
        return beam_search(
            self.predictor(average_with),
            self.vocabulary,
            self.prepare(prime),
            length,
            width,
            num_samples,
            self._end(until, regex),
            unknown,
            leave_out_until=until is None,
            lead_ins=self.lead_ins if lead_in else (),
            controls=self.controls(None, no_repeat, regex),
        )

    def _end(self, until: str | None, regex: str | None) -> str:
        """The text that ends a text: ``until``, or the end of a document."""
        if until and regex is not None:
            raise UserError("until has no effect with a regex, whose pattern says where a text ends")
        return until if until is not None else self.document_end

    def controls(self, final_temperature: float | None, no_repeat: int, regex: str | None) -> Controls:
        """What controls a text as a whole. Raises UserError for a pattern that no text of this model matches."""
        backward = self.model.direction == "backward"
        automaton = None if regex is None else Automaton(regex, self.vocabulary, backward)
        return Controls(final_temperature, no_repeat, automaton)

    def predictor(self, average_with: Sequence[LoadedRun] = ()) -> Predictor:
        """The model, or its mixture with those of other runs.

        Raises UserError if their vocabularies, the ends of their documents, their directions or devices differ.
        """
        for run in average_with:
            if difference := vocabulary_difference(self.vocabulary, run.vocabulary):
                raise UserError(f"{run.name} cannot be averaged with {self.name}: {difference}")
            if run.document_end != self.document_end:
                raise UserError(
                    f"{run.name} cannot be averaged with {self.name}: their corpus.documents differ, and so would the "
                    "ends of their texts"
                )
            if run.model.head.weight.device != self.model.head.weight.device:
                raise UserError(f"{run.name} cannot be averaged with {self.name}: load both on the same device")
        return Mixture([self.model, *(run.model for run in average_with)]) if average_with else self.model

    @property
    def name(self) -> str:
        """The path of the run's directory, or the name in its configuration."""
        return str(self.config.name if self.directory is None else self.directory.path)

    @property
    def lead_ins(self) -> LeadIns:
        """Passages of the training text that the model reads before it samples; empty for a model of documents."""
        return encode_lead_ins(self.header.get("lead_ins", ()), self.vocabulary)

    def stream(self, prime: str = "", length: int = 400, *, temperature: float = 1.0, seed: int = 1) -> Iterator[str]:
        """One text of a forward model in pieces, while it is sampled: the prompt, then what follows it.

        Arguments and errors are those of :meth:`generate`, and so is the text.
        """
        arguments = (self.model, self.vocabulary, prime, length, Sampling(temperature), seed, self.document_end)
        pieces = stream(*arguments, leave_out_until=True, lead_ins=self.lead_ins)
        return map(self.vocabulary.incremental_decoder(), pieces)

    def __repr__(self) -> str:
        model, best = self.config.model, self.header.get("counters", {}).get("best_nats")
        score = "" if best is None else f", {bits(best):.3f} bits per {self.vocabulary.unit}"
        return f"<run {self.name}: {model.cell}, {model.num_layers} x {model.hidden_size} units{score}>"

    def prepare(self, prompt: str) -> str:
        """A prompt with the changes that lowercase and normalize of the corpus make; spaces at its end remain."""
        return self._preparation.apply_to_prompt(prompt)

    @property
    def _preparation(self) -> Preparation:
        corpus = self.config.corpus
        return Preparation(lowercase=corpus.lowercase, normalize=normalizations(corpus.normalize))

    @property
    def document_end(self) -> str:
        """The text that ends a document; "" if the corpus is one running text."""
        separator = self.config.corpus.documents
        return "" if separator is None else end_text(separator)

    def novel(self, samples: Sequence[Sample]) -> list[bool]:
        """For each text, whether it is not among the training documents; an empty text is not novel.

        Raises UserError if the corpus is not documents, or :meth:`corpus` does.
        """
        text = self.corpus().split("train") if self.document_end else None
        if not isinstance(text, Documents):
            raise UserError("the corpus is one running text: set corpus.documents to train on documents")
        known = text.contains_each([sample.ids for sample in samples])
        return [bool(sample.ids) and not is_known for sample, is_known in zip(samples, known, strict=True)]

    def infill(
        self,
        text: str,
        *,
        gap: str = "_",
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
        seed: int = 1,
        num_samples: int = 1,
        sweeps: int = SWEEPS,
        unknown: Unknown = "error",
    ) -> list[Infilled]:
        """The text with its gaps filled by a bidirectional model; see :func:`charlstm.generation.infill`.

        Args:
            text: the text, with ``gap`` in place of each missing character.
            gap: the character that marks a missing one.
            sweeps: number of Gibbs sweeps over all gaps.
            temperature, top_k, top_p, min_p, seed, num_samples, unknown: as for :meth:`generate`.

        Raises:
            UserError: the model is not bidirectional, the text has no gap, or a character is unknown.
        """
        sampling, text = Sampling(temperature, top_k, top_p, min_p), self.prepare(text)
        return infill(self.model, self.vocabulary, text, gap, sampling, seed, num_samples, sweeps, unknown)

    def score(self, text: str | bytes, unknown: Unknown = "error") -> Score:
        """Mean nats per character of a text; for a model of documents, the text is split at the corpus's separator.

        Raises UserError for characters outside the vocabulary, or an empty text.
        """
        return score(self.model, self.read(text, unknown))

    def decode(self, content: bytes, name: str = "") -> str | bytes:
        """The text of a file, as the corpus reads it: the documents of its column, if its name is that of a table.

        Raises UserError if it is not text in the encoding of the corpus, or a malformed table.
        """
        if self.vocabulary.kind == "bytes":
            return content
        corpus = self.config.corpus
        text = decode(content, corpus.encoding, name)
        if corpus.column is None or not is_table(name):
            return text
        columns = (corpus.documents, corpus.column, corpus.context_column, corpus.context_separator)
        return "".join(Preparation(*columns).apply(name, iter([text]), Changes()))

    def read(self, text: str | bytes, unknown: Unknown = "error") -> npt.NDArray[np.int64] | Documents:
        """A text to score, as ids [N] or documents; bytes are decoded like a corpus file. Raises like :meth:`score`."""
        if isinstance(text, bytes):
            text = self.decode(text) if self.vocabulary.kind == "characters" else unpack(text)
        if isinstance(text, str):
            text = self._preparation.apply_to_text(text)
        ids = self.vocabulary.encode(text, unknown)
        if len(ids) == 0:
            raise UserError("the text to score is empty")
        corpus = self.config.corpus
        content = (
            ids
            if corpus.documents is None
            else split_documents(ids, self.vocabulary, corpus.documents, corpus.score_after, corpus.score_end)
        )
        if len(content) == 0:
            raise UserError("the text to score has no document: it has nothing but separators")
        return content

    def corpus(self) -> Corpus:
        """The training corpus, from the source in the run's config.yaml, or relocated along with the run's directory.

        Raises UserError if it cannot be found, or has changed.
        """
        source = {"source": self._source()}
        try:
            corpus = load_corpus(**{**self.config.corpus.model_dump(), **source})
        except UserError as error:
            if self.directory is None:
                raise
            file = self.directory.config_file
            raise UserError(f"{error}. If the text was moved, set corpus.source in {file}") from None
        if corpus.digest != self.header["corpus_digest"]:
            raise UserError("the content of the corpus has changed since this model was trained on it")
        return corpus

    def _source(self) -> str | list[str]:
        if self.directory is None:
            return self.config.corpus.source
        recorded = self.directory.config().corpus.source
        return relocate_source(recorded, self.directory.path.absolute(), lambda: str(self.header["corpus_digest"]))

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """The records of metrics.jsonl."""
        return [] if self.directory is None else self.directory.metrics()


def load(path: str | Path, checkpoint: str = "best", device: str = "auto") -> LoadedRun:
    """Load a trained run.

    Args:
        path: the run's directory, its name in ``runs``, ``latest`` (the run there that was trained last), a checkpoint
            file, or a folder exported for model hubs; ``~`` is the home directory.
        checkpoint: for a directory, ``best`` (by the held-out score; the last if no text is held out) or ``last``.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.

    If a run's checkpoint is damaged, the newest intact one is loaded, with a warning (``logging``).

    Raises:
        UserError: the run, checkpoint or device does not exist, or the file is damaged.
    """
    path = find_run(_weights_file(expand_home(path)))
    directory = RunDirectory(path) if is_folder(path) else _containing_run(path)
    check = _checks_for(directory)
    if directory is not None and directory.path == path:
        if checkpoint not in ("best", "last"):
            raise UserError(f"no checkpoint {checkpoint!r}: expected best or last")
        store = directory.checkpoints
        loaded = store.best_or_newest(check) if checkpoint == "best" else store.newest(check)
        for line in loaded.damaged:
            log.warning("%s; loaded %s instead", line, loaded.path.name)
    else:
        with CheckpointFile(path) as file:
            loaded = LoadedCheckpoint(path, *file.read(check), [])
    config, vocabulary = header_settings(loaded.header)
    with torch.device("meta"):  # skips the initialization
        model = LanguageModel(config.model, vocabulary.size)
    model.load_state_dict(strip_prefix("model", loaded.tensors), assign=True)
    model.prefer(loaded.header.get("preferred_executor"))
    return LoadedRun(model.to(resolve_device(device)).eval(), vocabulary, config, loaded.header, directory)


def _weights_file(path: Path) -> Path:
    """The weights of a folder exported for model hubs; any other path is unchanged."""
    file = path / WEIGHTS_FILE
    return file if is_folder(path) and not RunDirectory(path).exists and path_exists(file) else path


def _containing_run(path: Path) -> RunDirectory | None:
    """The run whose checkpoints directory contains the file."""
    run = RunDirectory(path.parent.parent)
    return run if path.parent == run.checkpoints.folder and run.exists else None


def _checks_for(directory: RunDirectory | None) -> Check:
    """Checks that a checkpoint matches the model in the run's config.yaml. Raises UserError if it is not a run."""
    if directory is None:
        return checkpoint_checks(weights_only=True, optimizer=False)
    config, config_file = directory.config(), directory.config_file
    return checkpoint_checks(lambda path, saved: check_same_model(path, saved, config, config_file), optimizer=False)
