"""Commands that a user may paste after a training run: resume, sample, evaluate."""

from __future__ import annotations

from charlstm.paths import command
from charlstm.text.documents import first_characters
from charlstm.text.excerpt import excerpt
from charlstm.training.advice import lower_rate
from charlstm.training.events import Ended
from charlstm.training.trainer import Trainer

PREVIEW = 2000  # characters of held-out text
GAP = 3  # characters
DOCUMENTS = 20


def resume_or_retry_command(ended: Ended, trainer: Trainer) -> str | None:
    """The command that resumes a stopped run, or a diverged one at a lower learning rate; None if that was step 0."""
    if ended.stop_reason == "diverged" and ended.step == 0:
        return None
    rate = lower_rate(trainer.config.training)
    return resume_command(
        trainer, *(("--set", f"training.learning_rate={rate}") if ended.stop_reason == "diverged" else ())
    )


def resume_command(trainer: Trainer, *options: str) -> str:
    """The command that resumes a run, with as many processes as now."""
    group = trainer.group
    start = "charlstm" if group.size == 1 else f"torchrun --nproc-per-node={group.local_size} -m charlstm"
    return command("train", trainer.directory.path, "--resume", *options, start=start)


def sample_and_evaluate_commands(trainer: Trainer) -> tuple[str, str]:
    """The commands that sample from a trained model, with options for its direction and corpus, and that score it."""
    path = trainer.directory.path
    return command("sample", path, *_sampling_options(trainer)), command("evaluate", path)


def _sampling_options(trainer: Trainer) -> list[str]:
    direction, corpus = trainer.config.model.direction, trainer.config.corpus
    if direction == "bidirectional":
        return ["--infill", _literal(_with_gap(excerpt(_held_out(trainer))))]
    options = ["--num-samples", str(DOCUMENTS)] if corpus.documents else ["--length", "400"]
    options += ["--temperature", "0.8"]
    context_end = corpus.score_after or (corpus.context_separator if corpus.context_column else None)
    if context_end and direction == "forward":
        question, separator, _ = _held_out(trainer).partition(context_end)
        return ["--prime", _literal(question + separator), "--temperature", "0.8"]
    return (
        ["--suffix", _literal(excerpt(_held_out(trainer))), *options]
        if direction == "backward" and not corpus.documents
        else options
    )


def _held_out(trainer: Trainer) -> str:
    """The beginning of the validation split, or of its first document; the model knows all of its characters."""
    ids = first_characters(trainer.corpus.split("validation"), PREVIEW)
    return trainer.corpus.vocabulary.decode(ids)


def _with_gap(text: str) -> str:
    begin = max(0, (len(text) - GAP) // 2)
    return text[:begin] + "_" * GAP + text[begin + GAP :]


def _literal(text: str) -> str:
    """The text as an option takes it: a leading @ is doubled."""
    return f"@{text}" if text.startswith("@") else text
