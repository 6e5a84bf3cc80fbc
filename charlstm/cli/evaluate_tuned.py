"""``charlstm evaluate --dynamic`` and ``--tune-temperature``: scores with settings that are tuned on held-out text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from charlstm import console
from charlstm.errors import UserError
from charlstm.progress_line import ProgressLine

if TYPE_CHECKING:
    from charlstm.api import LoadedRun
    from charlstm.evaluation.score import Score, Text

TUNING = 20_000
"""Characters at the beginning of the validation split on which the settings are tuned; at most half of the split."""


class Dynamic(NamedTuple):
    """The settings of dynamic evaluation: see :mod:`charlstm.evaluation.dynamic`. Rate and decay are tuned if None."""

    rule: Literal["rms", "sgd"]
    segment: int
    rate: float | None
    decay: float | None


class Tuned(NamedTuple):
    """The text to tune on, the text to score, which is disjoint from it, and the names of both."""

    tuning: Text
    scored: Text
    tuned_on: str
    name: str


def divide(loaded: LoadedRun, content: Text, split: str | None, name: str) -> Tuned:
    """The beginning of the validation split to tune on, and the content to score: if that is the validation split, the
    rest of it. Raises UserError if the run has no validation split, or if it is too short to be divided."""
    from charlstm.evaluation.parts import beginning_and_rest

    if not loaded.config.corpus.has_validation:
        raise UserError(
            f"{loaded.name} was trained without held-out text, so there is none to tune settings on: with --dynamic, "
            "give --rate and --decay"
        )
    unit = loaded.vocabulary.unit
    validation = content if split == "validation" else loaded.corpus().split("validation")
    tuning, rest, characters = beginning_and_rest(validation, TUNING)
    tuned_on = f"the first {characters:,} {unit}s of the validation split"
    if split == "validation":
        return Tuned(tuning, rest, tuned_on, f"validation split after its first {characters:,} {unit}s")
    return Tuned(tuning, content, tuned_on, name)


def print_dynamic(
    loaded: LoadedRun,
    content: Text,
    split: str | None,
    name: str,
    how: Dynamic,
    as_json: bool,
) -> None:
    """Print the score by dynamic evaluation beside that of the trained weights; rate and decay are tuned unless both
    are given. Raises UserError."""
    from charlstm.evaluation import score
    from charlstm.evaluation.dynamic import STATISTICS, DynamicEvaluation, Rates

    if (how.rate is None) != (how.decay is None):
        raise UserError("give both --rate and --decay, or neither: then they are tuned on the validation split")
    with ProgressLine(on_stderr=True) as line:
        progress = _Progress(line)
        training_text = loaded.corpus().split("train") if how.rule == "rms" else None
        progress.start("reading the training text", STATISTICS)
        evaluation = DynamicEvaluation(loaded.model, training_text, how.rule, how.segment, progress)
        if how.rate is None or how.decay is None:
            part = divide(loaded, content, split, name)
            content, name = part.scored, part.name
            progress.start(f"tuning on {part.tuned_on}", _length(part.tuning), is_repeated=True)
            rates, tuned_on = evaluation.tune(part.tuning), part.tuned_on
        else:
            rates, tuned_on = Rates(how.rate, how.decay), None
        progress.start(f"scoring {name}", _length(content))
        dynamic = evaluation.score(content, rates)
    settings = {"rule": how.rule, "segment": how.segment, "rate": rates.rate, "decay": rates.decay}
    fixed = score(loaded.model, content)
    _print(loaded, name, {"fixed weights": fixed, "dynamic evaluation": dynamic}, settings, tuned_on, as_json)


def print_tempered(loaded: LoadedRun, content: Text, split: str | None, name: str, as_json: bool) -> None:
    """Print the score at the temperature that predicts held-out text best, beside that at 1. Raises UserError."""
    from charlstm.evaluation.temperature import scores_at, tuned_temperature

    part = divide(loaded, content, split, name)
    with ProgressLine(on_stderr=True) as line:
        show = line.fractions(f"tuning on {part.tuned_on}")
        temperature = tuned_temperature(loaded.model, part.tuning, show)
        show = line.fractions(f"scoring {part.name}")
        plain, tempered = scores_at(loaded.model, part.scored, [1.0, temperature], show)
    settings = {"temperature": temperature}
    scores = {"temperature 1": plain, f"temperature {temperature:.3f}": tempered}
    _print(loaded, part.name, scores, settings, part.tuned_on, as_json)


class _Progress:
    """A progress line of passes over texts; a callback that is given the number of characters read."""

    def __init__(self, line: ProgressLine) -> None:
        self._line = line

    def start(self, doing: str, characters: int, is_repeated: bool = False) -> None:
        """Begin a pass over a text of about so many characters, or as many passes as it takes."""
        self._doing, self._characters, self._is_repeated, self._read = doing, characters, is_repeated, 0

    def __call__(self, characters: int) -> None:
        self._read += characters
        passes, within = divmod(self._read, self._characters) if self._is_repeated else (0, self._read)
        which = f", pass {passes + 1}" if passes else ""
        self._line.update(within / self._characters, lambda: f"{self._doing}{which}")


def _length(text: Text) -> int:
    from charlstm.text.documents import Documents

    return text.characters if isinstance(text, Documents) else len(text)


def _print(
    loaded: LoadedRun,
    name: str,
    scores: Mapping[str, Score],
    settings: Mapping[str, Any],
    tuned_on: str | None,
    as_json: bool,
) -> None:
    unit = loaded.vocabulary.unit
    if as_json:
        records = {
            label: {
                "nats_per_" + unit: result.nats,
                "bits_per_" + unit: result.bits_per_character,
                "perplexity": result.perplexity,
            }
            for label, result in zip(("static", "tuned"), scores.values(), strict=True)
        }
        count = next(iter(scores.values())).characters
        console.out_json({"text": name, f"{unit}s_scored": count, **settings, "tuned_on": tuned_on, **records})
        return
    console.out(f"{name}: {next(iter(scores.values())).characters:,} {unit}s scored")
    given = ", ".join(
        f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}" for key, value in settings.items()
    )
    console.out_wrapped(f"{given}; {'as given' if tuned_on is None else 'tuned on ' + tuned_on}")
    rows = [
        [label, f"{result.nats:.4f}", f"{result.bits_per_character:.4f}", f"{result.perplexity:.3f}"]
        for label, result in scores.items()
    ]
    console.table([["", f"nats per {unit}", f"bits per {unit}", f"perplexity per {unit}"], *rows])
