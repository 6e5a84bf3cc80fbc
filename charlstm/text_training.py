"""Training on a text from Python, with settings that are chosen by its size."""

from __future__ import annotations

import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePath

import numpy as np
import torch

from charlstm import console
from charlstm.api import LoadedRun, load
from charlstm.config import Config, Document, as_yaml, given_value, validate
from charlstm.errors import UserError
from charlstm.paths import expand_home
from charlstm.runs.directory import RunDirectory
from charlstm.runs.names import find_initial_run
from charlstm.runs.naming import run_name
from charlstm.text.corpus import load_corpus
from charlstm.text.sources import absolute_source
from charlstm.training.events import Ended, Event
from charlstm.training.fine_tuning import StartingPoint, start_notes
from charlstm.training.size_defaults import fill_left_out
from charlstm.training.trainer import Trainer
from charlstm.training_progress import follow
from charlstm.units import duration


def train(
    text: str | Path | Sequence[str | Path],
    *,
    minutes: float | None = None,
    name: str | None = None,
    runs: str | Path = "runs",
    device: str | torch.device | None = None,
    seed: int | None = None,
    from_run: str | Path | LoadedRun | None = None,
    settings: Mapping[str, object] | None = None,
    overwrite: bool = False,
    resume: bool = False,
    progress: bool = True,
    on_event: Callable[[Event], object] | None = None,
) -> LoadedRun:
    """Train a model on a text, as ``charlstm train TEXT`` does, and load its best checkpoint; of a run that holds no
    text out, as of one with at most 2,000 characters, the last.

    Args:
        text: a file, a glob, a name of the catalog, or several of these.
        minutes: train at most this long; else 3 minutes, or as many epochs as suit the size of the text.
        name: the name of the run, by default that of the first file.
        runs: the folder that holds the folder of the run.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``, or a ``torch.device`` of these.
        seed: seed of weights, dropout and samples; 1 by default, as on the command line.
        from_run: a run whose weights the training starts from, to fine-tune them on this text, as ``--from`` does: a
            loaded one, its folder, its name in ``runs``, or ``latest``. Its network is taken, and its vocabulary, with
            the new characters of the text added.
        settings: other fields of a configuration, such as ``{"model.hidden_size": 64}``.
        overwrite: delete an existing run of this name first.
        resume: continue the run of this name where it was stopped, as with an interrupt (Ctrl-C, or a notebook's stop
            button) or the signal TERM, which save it and end the call; ``from_run`` may then be left out.
        progress: print a line after each evaluation, and show on a terminal or in a notebook how far the training is.
        on_event: called with each event of the training, such as :class:`charlstm.training.events.Evaluated`.

    Raises:
        UserError: the text or a setting is wrong, a setting contradicts the network of ``from_run``, the run exists and
            neither ``overwrite`` nor ``resume`` is given, or training diverged.
    """
    sources = _sources(text)
    shortcuts = {"training.budget.minutes": minutes, "training.device": device, "training.seed": seed, "name": name}
    given = {**(settings or {}), **{field: value for field, value in shortcuts.items() if value is not None}}
    if from_run is not None:
        given["training.initial_run"] = _path_of(from_run)
    overrides = [f"{field}={as_yaml(_plain(field, value))}" for field, value in given.items()]
    source = absolute_source(sources[0] if len(sources) == 1 else sources)
    document = Document("charlstm.train", {"name": run_name(sources), "corpus": {"source": source}})
    start = _starting_point(document, overrides, expand_home(runs), resume)
    config = _validated(document, overrides, start)
    corpus = load_corpus(**config.corpus.model_dump())
    document, chosen = fill_left_out(document, config, corpus, start is not None)
    config = _validated(document, overrides, start)
    if "corpus" in chosen:
        corpus = load_corpus(**config.corpus.model_dump())
    directory = RunDirectory(expand_home(runs) / str(config.name))
    if directory.exists and not (overwrite or resume):
        raise UserError(
            f"{directory.path} exists already. Load it: charlstm.load({str(directory.path)!r}). "
            "Resume it: resume=True. Train another run: name=NAME. Delete it and start again: overwrite=True"
        )
    trainer = Trainer(config, corpus, directory)
    if progress and start is not None and start.run is not None:
        with console.as_log(), console.on_broken_pipe(lambda: None):
            for line in [start.run.describe(corpus.vocabulary), *start_notes(start.run, config, corpus)]:
                console.out(line)
    with directory.writing():
        if resume:
            trainer.resume()
            directory.write_config(config)
        else:
            trainer.start(overwrite)
        _run(trainer, progress, on_event)
    return load(directory.path, device=config.training.device)


def _sources(text: object) -> list[str]:
    """The files or names that make up the text. Raises UserError if there is none, or something else among them."""
    given = list(text) if isinstance(text, Iterable) and not isinstance(text, str | bytes) else [text]
    if not given:
        raise UserError("there is no text to train on: the list is empty")
    for one in given:
        if not isinstance(one, str | Path) or one == "":
            raise UserError(f"text: expected the path of a file, or a name of the catalog, found {one!r:.60}")
    return [str(one) for one in given]


def _plain(field: str, value: object) -> object:
    """A setting in the types of YAML: numbers of NumPy and torch as those of Python, paths and devices as text.

    Raises UserError for another type.
    """
    if isinstance(value, Mapping):
        return {name: _plain(f"{field}.{name}", part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(field, part) for part in value]
    if isinstance(value, np.generic) or (isinstance(value, torch.Tensor) and value.numel() == 1):
        return value.item()
    if isinstance(value, PurePath | torch.device):
        return str(value)
    if value is None or isinstance(value, str | int | float):
        return value
    kind = type(value).__name__
    raise UserError(f"{field}: expected a number, a text, a list or a mapping, found {kind} {value!r:.60}")


def _path_of(run: str | Path | LoadedRun) -> str:
    """The folder of a loaded run, or the path or name itself. Raises UserError for a loaded run without a folder."""
    if not isinstance(run, LoadedRun):
        return str(run)
    if run.directory is None:
        raise UserError("from_run was not loaded from the folder of a run: give its path instead")
    return str(run.directory.path)


def _starting_point(document: Document, overrides: list[str], runs: Path, resume: bool) -> StartingPoint | None:
    """What the run that the settings name as ``training.initial_run`` decides, or the run to resume recorded of it."""
    named = given_value(document, overrides, "training", "initial_run")
    directory = RunDirectory(runs / str(given_value(document, overrides, "name")))
    if resume and directory.exists:
        saved = directory.config()
        return None if saved.training.initial_run is None else StartingPoint.recorded(saved, named)
    return StartingPoint.at(find_initial_run(named, runs)) if isinstance(named, str) and named else None


def _validated(document: Document, overrides: list[str], start: StartingPoint | None) -> Config:
    """The configuration, in which a run that training starts from gives what is left out."""
    return validate(Config, *((document, overrides) if start is None else start.complete(document, overrides)))


def _run(trainer: Trainer, progress: bool, on_event: Callable[[Event], object] | None) -> None:
    """Train to the end. After an interrupt, raises KeyboardInterrupt, the run being saved; after a second, at once.
    After TERM, which clusters send before they kill a process, raises SystemExit, the run being saved."""
    with _stopped_by_signals(trainer) as received:
        events = trainer.run() if on_event is None else _reported(trainer.run(), on_event)
        ended = _print_progress(events, trainer) if progress and sys.stdout is not None else _last(events)
    if signal.SIGTERM in received:
        raise SystemExit(128 + signal.SIGTERM)
    if ended.stop_reason == "diverged":
        raise UserError(ended.advice)
    if received:
        raise KeyboardInterrupt


def _reported(events: Iterator[Event], on_event: Callable[[Event], object]) -> Iterator[Event]:
    for event in events:
        on_event(event)
        yield event


def _last(events: Iterator[Event]) -> Ended:
    (ended,) = deque(events, maxlen=1)
    assert isinstance(ended, Ended)
    return ended


def _print_progress(events: Iterator[Event], trainer: Trainer) -> Ended:
    """Print the events. Output that cannot be written does not stop the training."""
    unit, path = trainer.corpus.vocabulary.unit, trainer.directory.path
    with console.as_log(), console.on_broken_pipe(lambda: None):
        ended = follow(events, samples=False, unit=unit, plain_progress=False, trainer=trainer)
        bits, steps = ended.best_bits_per_character, f"{ended.step:,} steps in {duration(ended.seconds)}"
        if ended.stop_reason == "stopped":
            console.out(f"stopped and saved {path} after {steps}: resume=True continues")
        elif ended.stop_reason != "diverged":
            sampled = " (a sample)" if ended.is_sampled else ""
            best = "" if bits is None else f", best held-out score {bits:.3f} bits per {unit}{sampled}"
            console.out(f"trained {path}: {steps}{best}")
    return ended


@contextmanager
def _stopped_by_signals(trainer: Trainer) -> Iterator[list[int]]:
    """In the main thread, the first interrupt in the block stops the trainer, and so does TERM, unless the program
    handles it; yields the list of the signals received."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return

    def stop(number: int, frame: object) -> None:  # noqa: ARG001
        if number == signal.SIGINT and received:
            raise KeyboardInterrupt
        received.append(number)
        trainer.request_stop()

    has_default = signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    numbers = [signal.SIGINT, *([signal.SIGTERM] if has_default else [])]
    previous = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
