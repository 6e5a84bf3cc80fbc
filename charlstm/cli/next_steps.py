"""What to do after a training run, as commands that can be pasted and do what they say."""

from __future__ import annotations

import re

from charlstm.paths import command
from charlstm.text.documents import beginning
from charlstm.training.advice import lower_rate
from charlstm.training.events import Ended
from charlstm.training.trainer import Trainer

LOOKED_AT = 2000  # characters of held-out text
PIECE = 24
GAP = 3
DOCUMENTS = 20


def go_on(ended: Ended, trainer: Trainer) -> str | None:
    """How a run goes on that was stopped, or whose loss went bad; None where only another run can help."""
    if ended.why == "diverged" and ended.step == 0:
        return None
    rate = lower_rate(trainer.config.training)
    return resume(trainer, *(("--set", f"training.learning_rate={rate}") if ended.why == "diverged" else ()))


def resume(trainer: Trainer, *options: str) -> str:
    """The command that goes on with a run, started as this one was."""
    team = trainer.team
    start = "charlstm" if team.size == 1 else f"torchrun --nproc-per-node={team.local_size} -m charlstm"
    return command("train", trainer.directory.path, "--resume", *options, start=start)


def after(trainer: Trainer) -> tuple[str, str]:
    """How a trained model is sampled, according to what it is, and how it is scored."""
    path = trainer.directory.path
    return command("sample", path, *_sampling(trainer)), command("evaluate", path)


def _sampling(trainer: Trainer) -> list[str]:
    direction, corpus = trainer.config.model.direction, trainer.config.corpus
    if direction == "bidirectional":
        return ["--infill", _literal(_with_gap(_piece(trainer)))]
    many = ["--num-samples", str(DOCUMENTS)] if corpus.documents else ["--length", "400"]
    many += ["--temperature", "0.8"]
    if corpus.score_after and direction == "forward":
        question, sign, _ = _held_out(trainer).partition(corpus.score_after)
        return ["--prime", _literal(question + sign), "--temperature", "0.8"]
    return ["--suffix", _literal(_piece(trainer)), *many] if direction == "backward" and not corpus.documents else many


def _held_out(trainer: Trainer) -> str:
    """The beginning of the validation split, or of its first document: all of it the model knows."""
    ids = beginning(trainer.corpus.split("validation"), LOOKED_AT)
    return trainer.corpus.vocabulary.decode(ids)


def _piece(trainer: Trainer) -> str:
    """A few characters of it that can be typed, of words that are whole if possible."""
    lines = [line.strip() for line in re.split(r"[^ -~\u00a1-\ufffc]+", _held_out(trainer))]
    line = next((line for line in lines if len(line) >= PIECE), max(lines, key=len))
    return line[:PIECE].rpartition(" ")[0] or line[:PIECE]


def _with_gap(piece: str) -> str:
    begin = max(0, (len(piece) - GAP) // 2)
    return piece[:begin] + "_" * GAP + piece[begin + GAP :]


def _literal(text: str) -> str:
    return f"@{text}" if text.startswith("@") else text
