"""A trained run that writes texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from charlstm.api.arguments import check_text, whole_numbers
from charlstm.api.trained_model import TrainedModel
from charlstm.errors import UserError
from charlstm.generation import Infilled, Samples, Sampling, TextRequest, generate, infill
from charlstm.generation.beam import beam_search
from charlstm.generation.controls import Controls
from charlstm.generation.infilling import SWEEPS
from charlstm.generation.mixture import Mixture, Predictor, vocabulary_difference
from charlstm.generation.requests import LeadIns
from charlstm.generation.streaming import stream
from charlstm.text.automaton import Automaton
from charlstm.text.lead_ins import encode_lead_ins
from charlstm.text.vocabulary import Unknown

FILTERS = ("top_p", "min_p")


class LoadedRun(TrainedModel):
    """A trained run, as returned by ``charlstm.load``: it writes, fills and scores texts."""

    def generate(
        self,
        prime: str = "",
        length: int = 400,
        *,
        temperature: float | Sequence[float] = 1.0,
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
        average_with: Sequence[TrainedModel] = (),
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
            best_of: number of texts to sample; the ``num_samples`` with the highest mean ln p per character are
                returned, best first.
            average_with: runs whose probabilities are averaged with those of this one: see
                :mod:`charlstm.generation.mixture`.

        Raises:
            UserError: an argument is out of range, a character is unknown, or the model is bidirectional; the pattern
                is not one, or nothing of ``length`` matches it; the runs cannot be averaged.
        """
        top_k, seed, num_samples = whole_numbers(top_k=top_k, seed=seed, num_samples=num_samples)
        (count,) = whole_numbers(best_of=num_samples if best_of is None else best_of)
        if best_of is not None and count <= num_samples:
            raise UserError(f"best-of must be above num-samples, found {best_of} and {num_samples}")
        first, final = _first_and_final(temperature)
        request = self.request(
            prime,
            length,
            until=until,
            unknown=unknown,
            lead_in=lead_in,
            no_repeat=no_repeat,
            regex=regex,
            final_temperature=final,
        )
        sampling = Sampling(first, top_k, top_p, min_p)
        samples = generate(self.predictor(average_with), self.vocabulary, request, sampling, seed, count)
        return samples if best_of is None else samples.best(num_samples)

    def beam_search(
        self,
        prime: str = "",
        length: int = 400,
        *,
        width: int = 8,
        num_samples: int = 1,
        average_with: Sequence[TrainedModel] = (),
        **options: Any,
    ) -> Samples:
        """The most probable texts that a beam search finds, best first; see :mod:`charlstm.generation.beam`.

        Args:
            width: how many texts are continued at each step.
            num_samples: number of texts, at most ``width``.
            options: ``until``, ``unknown``, ``lead_in``, ``no_repeat`` and ``regex``.

        These options, the other arguments and the errors are those of :meth:`generate`.
        """
        width, num_samples = whole_numbers(width=width, num_samples=num_samples)
        request = self.request(prime, length, **options)
        return beam_search(self.predictor(average_with), self.vocabulary, request, width, num_samples)

    def stream(
        self,
        prime: str = "",
        length: int = 400,
        *,
        temperature: float | Sequence[float] = 1.0,
        seed: int = 1,
        average_with: Sequence[TrainedModel] = (),
        **options: Any,
    ) -> Iterator[str]:
        """One text of a forward model in pieces, while it is sampled: the prompt, then what follows it.

        Args:
            options: ``top_k``, ``top_p``, ``min_p``, ``until``, ``unknown``, ``lead_in``, ``no_repeat`` and ``regex``.

        These options, the other arguments and the errors are those of :meth:`generate`, and so is the text. Raises
        UserError also for a model that does not write from left to right.
        """
        if self.model.direction != "forward":
            raise UserError(f"a {self.model.direction} model does not write from left to right: use generate or infill")
        seed, top_k = whole_numbers(seed=seed, top_k=options.pop("top_k", 0))
        first, final = _first_and_final(temperature)
        sampling = Sampling(first, top_k, **{name: options.pop(name) for name in FILTERS if name in options})
        request = self.request(prime, length, final_temperature=final, **options)
        pieces = stream(self.predictor(average_with), self.vocabulary, request, sampling, seed)
        return map(self.vocabulary.incremental_decoder(), pieces)

    def request(
        self,
        prime: str = "",
        length: int = 400,
        *,
        until: str | None = None,
        unknown: Unknown = "error",
        lead_in: bool = True,
        no_repeat: int = 0,
        regex: str | None = None,
        final_temperature: float | None = None,
    ) -> TextRequest:
        """What the functions of :mod:`charlstm.generation` need to write a text with this run.

        ``final_temperature`` is that at the end of ``length``, if it changes. The other arguments and the errors are
        those of :meth:`generate`.
        """
        length, no_repeat = whole_numbers(length=length, no_repeat=no_repeat)
        for name, text in (("prime", prime), ("until", until or ""), ("regex", regex or "")):
            check_text(name, text)
        if until and regex is not None:
            raise UserError("until has no effect with a regex, whose pattern says where a text ends")
        automaton = None if regex is None else Automaton(regex, self.vocabulary, self.model.direction == "backward")
        return TextRequest(
            self.prepare(prime),
            length,
            self.document_end if until is None else self.prepare(until),
            unknown,
            leave_out_until=until is None,
            lead_ins=self.lead_ins if lead_in else (),
            controls=Controls(final_temperature, no_repeat, automaton),
        )

    def predictor(self, average_with: Sequence[TrainedModel] = ()) -> Predictor:
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
    def lead_ins(self) -> LeadIns:
        """Passages of the training text that the model reads before it samples; empty for a model of documents."""
        return encode_lead_ins(self.header.get("lead_ins", ()), self.vocabulary)

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
        top_k, seed, num_samples, sweeps = whole_numbers(top_k=top_k, seed=seed, num_samples=num_samples, sweeps=sweeps)
        for name, one in (("text", text), ("gap", gap)):
            check_text(name, one)
        sampling, text = Sampling(temperature, top_k, top_p, min_p), self.prepare_with_gaps(text, gap)
        return infill(self.model, self.vocabulary, text, gap, sampling, seed, num_samples, sweeps, unknown)


def _first_and_final(temperature: float | Sequence[float]) -> tuple[float, float | None]:
    """The temperature at the first character, and at the last one if it changes."""
    if not isinstance(temperature, Sequence):
        return temperature, None
    if len(temperature) != 2:
        raise UserError(f"temperature is one number, or the first and the last one, found {temperature}")
    return temperature[0], temperature[1]
