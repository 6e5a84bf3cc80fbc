"""Requests for texts: prompt, length, end, and the controls of the text as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from charlstm.errors import UserError
from charlstm.generation.controls import NO_CONTROLS, Controls
from charlstm.generation.mixture import Predictor
from charlstm.generation.samples import Sample
from charlstm.text.vocabulary import Unknown, UnknownSymbolsError, Vocabulary

LeadIns = Sequence[Sequence[int]]
"""Passages of equal length, as ids, of which the model reads one before a prompt; none: it starts from the zero state.
"""


@dataclass(frozen=True)
class TextRequest:
    """A text of at most ``length`` characters after the prompt ``prime``; a backward model writes what precedes it.

    until            ends a text early: forward, once it ends with this, backward, once it begins with it; "": nothing
    unknown          for characters of ``prime`` outside the vocabulary: ``error``, or ``skip``, which drops them
    leave_out_until  removes ``until`` from the text
    lead_ins         passages that are read before the prompt and are not part of the text
                     (:mod:`charlstm.text.lead_ins`)
    controls         with a pattern, the text ends where it matches, before ``until``
    """

    prime: str = ""
    length: int = 400
    until: str = ""
    unknown: Unknown = "error"
    leave_out_until: bool = False
    lead_ins: LeadIns = ()
    controls: Controls = NO_CONTROLS

    def encode(self, model: Predictor, vocabulary: Vocabulary) -> EncodedRequest:
        """The request for this model.

        Raises UserError for a prompt with characters outside the vocabulary, unless they are skipped, for an ``until``
        with such characters, and for a pattern that needs a longer text.
        """
        backward = model.direction == "backward"
        step = -1 if backward else 1
        prompt = vocabulary.encode(self.prime, self.unknown).tolist()[::step]
        try:
            end = vocabulary.encode(self.until).tolist()[::step]
        except UnknownSymbolsError as error:
            raise UserError(f"until: {error.found}. The model can never write it") from None
        if self.controls.automaton is not None:
            self.controls.automaton.check_length(self.length)
        return EncodedRequest(self, vocabulary, backward, prompt, end)


@dataclass(frozen=True)
class EncodedRequest:
    """A request for one model: ``prompt`` and ``end``, the ids of ``prime`` and ``until``, are in its direction."""

    request: TextRequest
    vocabulary: Vocabulary
    backward: bool
    prompt: list[int]
    end: list[int]

    @property
    def begun(self) -> list[int]:
        """The ids at the end of the prompt with which the end of a document may begin: a text is then complete when it
        goes on with the rest. Empty for an ``until`` that is to be sampled."""
        if not (self.request.leave_out_until and self.end):
            return []
        return self.prompt[max(0, len(self.prompt) - len(self.end) + 1) :]

    def ends(self, ids: Sequence[int]) -> bool:
        """Whether a text ends with these sampled ids."""
        return bool(self.end) and [*self.begun, *ids[-len(self.end) :]][-len(self.end) :] == self.end

    def sample(self, ids: Sequence[int], log_probabilities: Sequence[float]) -> Sample:
        """The text from its ids in the order in which the model wrote them."""
        step, matches = -1 if self.backward else 1, self.request.controls.automaton is not None
        ids, ended = list(ids), not matches and self.ends(ids)
        if ended and self.request.leave_out_until:
            ids = ids[: max(0, len(ids) - len(self.end))]
        prime, text = self.vocabulary.decode(self.prompt[::step]), self.vocabulary.decode(ids[::step])
        all_ids = (self.prompt + ids)[::step]
        ended = ended or matches
        return Sample(prime, text, list(log_probabilities), self.backward, all_ids, ended, len(self.prompt))
