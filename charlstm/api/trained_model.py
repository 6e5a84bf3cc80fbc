"""A trained model with its vocabulary and configuration, which reads and scores texts as its corpus was read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from charlstm.api.arguments import check_text, whole_numbers
from charlstm.config import Config
from charlstm.errors import UserError
from charlstm.evaluation import Score, score
from charlstm.generation import Sample
from charlstm.model import LanguageModel
from charlstm.paths import shown
from charlstm.probes.reading import float64_copy, probe_mode, trajectory
from charlstm.runs.directory import RunDirectory
from charlstm.text.corpus import Corpus, load_corpus
from charlstm.text.decoding import decode
from charlstm.text.documents import Documents, split_documents
from charlstm.text.preparation import Changes, Preparation, normalizations
from charlstm.text.relocation import recorded_in, relocate_source
from charlstm.text.separators import end_text
from charlstm.text.tables import is_table
from charlstm.text.unpacking import unpack
from charlstm.text.vocabulary import Unknown, Vocabulary
from charlstm.units import bits


class ChangedCorpusError(UserError):
    """The content of the corpus is no longer that on which the model was trained."""


@dataclass(frozen=True, repr=False)
class TrainedModel:
    """A model with its vocabulary and configuration.

    ``header`` is the checkpoint's JSON header; ``directory`` is the run directory that contains the checkpoint, if any,
    with an absolute path, which a later change of the working directory does not affect.
    """

    model: LanguageModel
    vocabulary: Vocabulary
    config: Config
    header: dict[str, Any]
    directory: RunDirectory | None

    def __repr__(self) -> str:
        model, counters = self.config.model, self.header.get("counters", {})
        is_best = counters.get("step") == counters.get("best_step")
        best = counters.get("best_nats") if is_best else None
        sample = self.header.get("held_out_sample") or {"characters": 0, "of": 0}
        kind = " of a sample" if sample["characters"] < sample["of"] else ""
        score = "" if best is None else f", {bits(best):.3f} bits per {self.vocabulary.unit}{kind}"
        return f"<run {self.name}: {model.cell}, {model.num_layers} x {model.hidden_size} units{score}>"

    @property
    def folder(self) -> Path | None:
        """The path of the run's directory, relative to the working directory if it is inside of it; None without a
        directory."""
        return None if self.directory is None else shown(self.directory.path)

    @property
    def name(self) -> str:
        """The path of the run's directory, or the name in its configuration."""
        return str(self.folder or self.config.name)

    def prepare(self, prompt: str) -> str:
        """A prompt with the changes that lowercase and normalize of the corpus make; spaces at its end remain."""
        return self.preparation.apply_to_prompt(prompt)

    def prepare_with_gaps(self, text: str, gap: str) -> str:
        """A text with gaps, prepared like a prompt; ``gap`` stays what it is."""
        return gap.join(self.prepare(part) for part in (text.split(gap) if gap else [text]))

    def prepare_text(self, text: str) -> str:
        """A complete text with the changes that lowercase and normalize of the corpus make."""
        return self.preparation.apply_to_text(text)

    @property
    def preparation(self) -> Preparation:
        """What lowercase and normalize of the corpus do to a text."""
        corpus = self.config.corpus
        return Preparation(lowercase=corpus.lowercase, normalize=normalizations(corpus.normalize))

    @property
    def document_end(self) -> str:
        """The text that ends a document; "" if the corpus is one running text."""
        separator = self.config.corpus.documents
        return "" if separator is None else end_text(separator)

    def score(self, text: str | bytes, unknown: Unknown = "error") -> Score:
        """Mean nats per character of a text; for a model of documents, the text is split at the corpus's separator.

        Raises UserError for characters outside the vocabulary, or an empty text.
        """
        return score(self.model, self.read(text, unknown))

    def decode(self, content: bytes, name: str = "") -> str | bytes:
        """The text of a file, as the corpus reads it: without the header that it skips, or the documents of its column,
        if its name is that of a table.

        Raises UserError if it is not text in the encoding of the corpus, or a malformed table.
        """
        if self.vocabulary.kind == "bytes":
            return content
        corpus = self.config.corpus
        text = decode(content, corpus.encoding, name)
        if corpus.skip_header and name:
            return "".join(Preparation(skip_header=True).apply(name, iter([text]), Changes()))
        if corpus.column is None or not is_table(name):
            return text
        columns = (corpus.documents, corpus.column, corpus.context_column, corpus.context_separator)
        return "".join(Preparation(*columns).apply(name, iter([text]), Changes()))

    def read(self, text: str | bytes, unknown: Unknown = "error") -> npt.NDArray[np.int64] | Documents:
        """A text to score, as ids [N] or documents; bytes are decoded like a corpus file. Raises like :meth:`score`."""
        check_text("text", text)
        if isinstance(text, bytes):
            text = self.decode(text) if self.vocabulary.kind == "characters" else unpack(text)
        if isinstance(text, str):
            text = self.prepare_text(text)
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

    def states(self, text: str | bytes, unknown: Unknown = "error") -> dict[str, npt.NDArray[np.float32]]:
        """The state of the network after each of the T characters of a text, which it reads from the zero state.

            run = charlstm.load("runs/quickstart")
            h = run.states("def f(x):")["h"]  # [9, L, H]

        Each part by its letter in the cell, such as ``h`` and ``c`` of an LSTM: [T, L, H], of L layers of H units, the
        first layer first; computed in float64. A backward model reads from the end of the text: its state after
        character t depends on ``text[t:]``. The text is one document of a model of documents.

        Raises UserError for characters outside the vocabulary, an empty text, or a bidirectional model.
        """
        ids = self._ids_read(text, unknown)
        if len(ids) == 1:
            raise UserError("the text to read is empty")
        network = float64_copy(self.model)
        previous = ids[:, None].to(network.head.weight.device)
        parts = trajectory(network, previous, network.initial_state(1))
        step = -1 if self.model.direction == "backward" else 1
        return {
            letter: part[2:, :, 0].float().cpu().numpy()[::step].copy() for letter, part in parts.items()
        }  # without the states before and after "no character"

    @torch.no_grad()
    def next_characters(
        self, text: str | bytes = "", k: int = 5, unknown: Unknown = "error"
    ) -> list[tuple[str, float]]:
        """The k most probable characters after a text, each with its probability, the most probable first.

            (best, probability), *others = charlstm.load("runs/quickstart").next_characters("def ")

        Of a backward model, the characters before the text. The model reads the text from the zero state. Bytes that
        are not ASCII are named as 0xE2.

        Raises UserError for characters outside the vocabulary, ``k`` below 1, or a bidirectional model.
        """
        (k,) = whole_numbers(k=k)
        if k < 1:
            raise UserError(f"k must be 1 or more, found {k}")
        ids = self._ids_read(text, unknown)
        with probe_mode(self.model):
            outputs, _ = self.model.encode(ids[:, None].to(self.model.head.weight.device))
            p = self.model.head(outputs[-1, 0]).double().softmax(-1)
        values, indices = p.topk(min(k, len(p)))
        return [
            (self.vocabulary.symbol_name(i), value) for i, value in zip(indices.tolist(), values.tolist(), strict=True)
        ]

    def _ids_read(self, text: str | bytes, unknown: Unknown) -> torch.Tensor:
        """What the model reads of a text, in its direction: "no character", then the ids; [T + 1]."""
        check_text("text", text)
        ids = self.vocabulary.encode(self.prepare(text) if isinstance(text, str) else text, unknown)
        if self.model.direction == "backward":
            ids = ids[::-1]
        return torch.tensor([self.vocabulary.size, *ids.tolist()])

    def corpus(self) -> Corpus:
        """The training corpus, from the source in the run's config.yaml, or relocated along with the run's directory.

        Raises UserError if it cannot be found, and ChangedCorpusError if it has changed.
        """
        source = {"source": self._source()}
        with recorded_in(None if self.directory is None else self.directory.config_file):
            corpus = load_corpus(**{**self.config.corpus.model_dump(), **source})
        if corpus.digest != self.header["corpus_digest"]:
            raise ChangedCorpusError("the content of the corpus has changed since this model was trained on it")
        return corpus

    def _source(self) -> str | list[str]:
        if self.directory is None:
            return self.config.corpus.source
        recorded = self.directory.config().corpus.source
        return relocate_source(recorded, self.directory.path, lambda: str(self.header["corpus_digest"]))

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """The records of metrics.jsonl."""
        return [] if self.directory is None else self.directory.metrics()

    def novel(self, samples: Sequence[Sample]) -> list[bool]:
        """For each text, whether it is not among the training documents; an empty text is not novel.

        Raises UserError if the corpus is not documents, or :meth:`corpus` does.
        """
        text = self.corpus().split("train") if self.document_end else None
        if not isinstance(text, Documents):
            raise UserError("the corpus is one running text: set corpus.documents to train on documents")
        known = text.contains_each([sample.ids for sample in samples])
        return [bool(sample.ids) and not is_known for sample, is_known in zip(samples, known, strict=True)]
