"""What 8 bits cost: the score of a run with the original and with the quantized weights, on the same text."""

from __future__ import annotations

from dataclasses import dataclass

from charlstm.evaluation import score
from charlstm.evaluation.score import Text
from charlstm.model import LanguageModel
from charlstm.text.documents import Documents

CHARACTERS = 50_000


@dataclass(frozen=True)
class QuantizationCost:
    """Bits per character on the same ``characters`` characters of ``split``, or its beginning."""

    original: float
    quantized: float
    characters: int
    is_whole_split: bool
    split: str = "validation"

    def sentence(self, unit: str) -> str:
        split = "training" if self.split == "train" else self.split
        text = f"the {split} split" if self.is_whole_split else f"the beginning of the {split} split"
        return (
            f"{self.quantized:.4f} bits per {unit} with weights of 8 bits, {self.original:.4f} with the original ones "
            f"of 32 bits, on {self.characters:,} {unit}s: {text}"
        )


def quantization_cost(original: LanguageModel, quantized: LanguageModel, split: str, text: Text) -> QuantizationCost:
    """Score both models on at most about 50,000 characters of the text of a split, from its beginning."""
    part = _beginning(text)
    scores = [score(model, part) for model in (original, quantized)]
    bits = [one.bits_per_character for one in scores]
    return QuantizationCost(bits[0], bits[1], scores[0].characters, len(part) == len(text), split)


def _beginning(text: Text) -> Text:
    if not isinstance(text, Documents):
        return text[:CHARACTERS]
    sizes = (text.ends - text.starts + len(text.end_mark)).cumsum()
    return text.select(slice(0, max(1, int((sizes <= CHARACTERS).sum()))))
