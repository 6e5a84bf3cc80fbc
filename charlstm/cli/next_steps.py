"""Commands that a user may paste after a training run: resume, train longer, sample, evaluate, inspect."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from charlstm.paths import command, path_exists
from charlstm.runs.commands import evaluate_command
from charlstm.runs.directory import RunDirectory
from charlstm.runs.metrics import best_score, evaluated_nats
from charlstm.training.advice import lower_rate
from charlstm.training.budget_advice import longer_options
from charlstm.units import bits

if TYPE_CHECKING:
    from charlstm.config import Config
    from charlstm.text.corpus import Corpus
    from charlstm.training.events import Ended
    from charlstm.training.trainer import Trainer

GAP = 3  # characters, where there is no word to mask
MAX_DOCUMENTS, PAGE = 20, 2000
"""The most documents to sample, and about how many characters of them."""
DEFAULT_LENGTH = 400
"""That of ``charlstm sample``."""


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


def finished_lines(settings: Config, directory: RunDirectory) -> list[str]:
    """The lines to print instead of resuming a run that is complete with these settings; empty if there is more to
    train, if its report is missing, which resuming it writes, or if its checkpoints are.

    Raises UserError if the files of the run cannot be read, or are not what a run has.
    """
    if not path_exists(directory.report_folder / "index.html"):
        return []
    if not (directory.exists and directory.checkpoints.exists() and directory.finished):
        return []
    if _deciding(settings) != _deciding(directory.config()):
        return []
    directory.check_files()
    records = directory.metrics()
    evaluations = [record for record in records if record["kind"] == "evaluation"]
    unit = "byte" if settings.corpus.encoding == "bytes" else "character"
    score = ""
    if (best := best_score(records)) is not None:
        sample = " on a sample of the held-out text" if best.is_sampled else ""
        score = f", best held-out score {bits(best.nats):.4f} bits per {unit}{sample}"
    elif evaluations:
        score = f", score of the training text {bits(evaluated_nats(evaluations[-1])):.4f} bits per {unit}"
    options = longer_options(settings.training, records)
    return [
        f"{directory.path} is finished: {records[-1]['step']:,} steps{score}",
        f"to train longer:  {command('train', directory.path, '--resume', *options)}",
        f"its report:       {command('compare', directory.path)}",
    ]


def _deciding(settings: Config) -> dict[str, Any]:
    """The settings without those that a resumed run may change at any time."""
    return settings.model_dump(exclude={"name": True, "corpus": {"source"}, "training": {"device"}})


def use_commands(config: Config, corpus: Corpus, directory: RunDirectory) -> list[str]:
    """The commands that sample from a trained model, with options for its direction and corpus, that score it, that
    show what is in it, and that make a page to share."""
    path = directory.path
    commands = [command("sample", path, *_sampling_options(config, corpus)), evaluate_command(path, config)]
    if config.model.direction == "bidirectional":
        return commands
    return [*commands, command("inspect", path), command("export", path)]


def _sampling_options(config: Config, corpus: Corpus) -> list[str]:
    from charlstm.text.excerpts import excerpt, prompt  # loads numpy

    direction = config.model.direction
    if direction == "bidirectional":
        return ["--infill", _literal(_with_gap(excerpt(corpus)))]
    given = prompt(corpus, config.corpus.context_end, direction)
    options = [] if not given else ["--suffix" if direction == "backward" else "--prime", _literal(given)]
    if corpus.documents is None:
        options += ["--length", "400"]
    elif not given or config.corpus.context_column:
        options += _document_options(corpus)
    return [*options, "--temperature", "0.8"]


def _document_options(corpus: Corpus) -> list[str]:
    """As many documents as fill about a page, and a length that suffices for most."""
    mean = corpus.length("train") / max(1, len(corpus.split("train")))
    count, length = int(min(MAX_DOCUMENTS, max(1, PAGE / mean))), 100 * math.ceil(min(PAGE, 2 * mean) / 100)
    many = ["--num-samples", str(count)] if count > 1 else []
    return [*many, *(["--length", str(length)] if length > DEFAULT_LENGTH else [])]


def _with_gap(text: str) -> str:
    """The text with the word nearest to its middle as a gap; without short words, with characters of its middle."""
    begin = max(0, (len(text) - GAP) // 2)
    spans = [word.span() for word in re.finditer(r"[^\W_]{2,}", text)]
    words = [span for span in spans if span[1] - span[0] <= len(text) // 2]
    begin, end = min(words, key=lambda span: abs(sum(span) - len(text)), default=(begin, begin + GAP))
    return text[:begin] + "_" * (end - begin) + text[end:]


def _literal(text: str) -> str:
    """The text as an option takes it: a leading @ is doubled."""
    return f"@{text}" if text.startswith("@") else text
