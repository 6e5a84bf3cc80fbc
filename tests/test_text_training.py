"""``charlstm.train``: from a text to a run in Python."""

from __future__ import annotations

import io
import os
import re
import shutil
import signal
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from screens import screen

import charlstm
from charlstm.config import load_config
from charlstm.errors import UserError
from charlstm.training.events import Evaluated, Progress

TEXT = "Once upon a time, there was a text.\nIt was short & <small>.\n" * 20
TINY = {"model.hidden_size": 8, "training.sample_length": 0, "training.budget": {"steps": 12}}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("poem.txt").write_text(TEXT)


def test_text_gives_a_run_equal_to_that_of_the_command(charlstm_command):
    run = charlstm.train("poem.txt", settings=TINY)
    assert run.folder == Path("runs/poem")
    options = [word for field, value in TINY.items() for word in ("--set", f"{field}={value}".replace("'", ""))]
    assert charlstm_command("train", "poem.txt", *options, "--name", "other") == 0
    other = charlstm.load("runs/other")
    assert run.config == other.config.model_copy(update={"name": "poem"})
    assert str(run.generate("Once", 50)) == str(other.generate("Once", 50))


@pytest.fixture
def charlstm_command(monkeypatch):
    from charlstm import cli

    def call(*words: str) -> int:
        monkeypatch.setattr("sys.argv", ["charlstm", *words])
        with pytest.raises(SystemExit) as exited:
            cli.main()
        return exited.value.code or 0

    return call


def test_settings_have_names_and_shortcuts():
    run = charlstm.train([Path("poem.txt"), "poem.txt"], minutes=0.01, name="b", seed=7, device="cpu", settings=TINY)
    training = load_config(Path("runs/b/config.yaml")).training
    assert (training.seed, training.device, training.budget.minutes) == (7, "cpu", 0.01)
    assert len(run.config.corpus.source) == 2


def test_settings_have_the_types_of_numpy_and_torch():
    size, rate = np.int64(8), torch.tensor(0.5)
    settings = {**TINY, "model.hidden_size": size, "training.learning_rate": rate, "corpus.source": Path("poem.txt")}
    run = charlstm.train("poem.txt", device=torch.device("cpu"), seed=np.int32(7), settings=settings, progress=False)
    training = run.config.training
    assert (run.config.model.hidden_size, training.learning_rate, training.device, training.seed) == (8, 0.5, "cpu", 7)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"text": "nowhere.txt"}, "no corpus"),
        ({"text": []}, "the list is empty"),
        *(({"text": wrong}, "expected the path of a file") for wrong in ("", None, b"poem.txt", ["poem.txt", ""])),
        ({"settings": {**TINY, "training.seed": object()}}, "training.seed: expected a number, .* found object"),
        ({"settings": {"model.hiden_size": 8}}, "hidden_size"),
        ({"name": "up/.."}, "cannot contain"),
        ({"settings": {**TINY, "training.learning_rate": 1e6, "training.warmup_steps": 0}}, "diverged"),
    ],
)
def test_wrong_arguments_are_one_message(arguments, message):
    with pytest.raises(UserError, match=message):
        charlstm.train(**{"text": "poem.txt", "settings": TINY, **arguments})


def test_existing_run_is_refused_resumed_or_overwritten():
    charlstm.train("poem.txt", settings=TINY)
    with pytest.raises(UserError, match=r"exists already\. Load it: charlstm\.load\('runs/poem'\).* overwrite=True$"):
        charlstm.train("poem.txt", settings=TINY)
    longer = {**TINY, "training.budget": {"steps": 15}}
    assert charlstm.train("poem.txt", settings=longer, resume=True).header["counters"]["step"] <= 15
    assert charlstm.load("runs/poem", "last").header["counters"]["step"] == 15
    charlstm.train("poem.txt", settings=TINY, overwrite=True)
    assert charlstm.load("runs/poem", "last").header["counters"]["step"] == 12


@pytest.mark.parametrize("kind", ["name", "path", "loaded run"])
def test_run_is_fine_tuned_on_another_text(kind, capsys):
    source = charlstm.train("poem.txt", settings=TINY, progress=False)
    Path("other.txt").write_text("Es war einmal: ein Käfer.\n" * 50)
    given = {"name": "poem", "path": Path("runs/poem"), "loaded run": source}[kind]
    settings = {name: value for name, value in TINY.items() if name != "model.hidden_size"}
    run = charlstm.train("other.txt", from_run=given, settings=settings)
    assert "other" in str(run.directory.path)
    assert run.model.config.hidden_size == 8
    new = sorted({*Path("other.txt").read_text()} - {*TEXT})
    assert {*run.vocabulary.symbols} == {*TEXT, *new}
    origin = f"starts from the weights of {Path('runs/poem').absolute()}, step 12: {len({*TEXT})} known characters, "
    assert capsys.readouterr().out.startswith(f"{origin}{len(new)} new: {' '.join(new)}\n")
    shutil.rmtree("runs/poem")
    longer = {**settings, "training.budget": {"steps": 15}}
    again = charlstm.train("other.txt", from_run=given, settings=longer, resume=True)
    assert again.config.training.initial_run == run.config.training.initial_run
    assert charlstm.load("other", "last").header["counters"]["step"] == 15
    assert "starts from" not in capsys.readouterr().out


def test_settings_that_contradict_the_run_are_refused():
    charlstm.train("poem.txt", settings=TINY, progress=False)
    with pytest.raises(UserError, match=r"^model\.cell is gru, but capped in .*poem"):
        charlstm.train("poem.txt", name="b", from_run="poem", settings={"model.cell": "gru"})
    with pytest.raises(UserError, match="there is no such run"):
        charlstm.train("poem.txt", name="b", from_run="poen")
    assert not Path("runs/b").exists()


class NotebookOutput(io.StringIO):
    """The output of a notebook's cell."""

    encoding = "UTF-8"


NotebookOutput.__module__ = "ipykernel.iostream"
EVALUATED = r"step {} epoch [\d.]+ .* held out [\d.]+ nats, [\d.]+ bits per character(  \(best so far\))?"


@pytest.mark.parametrize("place", ["pipe", "terminal", "notebook"])
def test_progress_is_a_line_that_evaluations_stay_above(place, monkeypatch, capsys):
    monkeypatch.setattr("charlstm.progress_line.PLAIN_INTERVAL", 0.0)
    settings = {**TINY, "training.evaluate_every": 6, "corpus.validation_fraction": 0.1}
    if place == "terminal":
        with screen(120) as shown:
            charlstm.train("poem.txt", settings=settings)
    else:
        shown = NotebookOutput() if place == "notebook" else io.StringIO()
        monkeypatch.setattr("sys.stdout", shown)
        charlstm.train("poem.txt", settings=settings)
    assert ("\r" in shown.getvalue()) == ("%|" in shown.getvalue()) == (place != "pipe")
    first, second, last, *rest = re.sub(r".*\r(?=[^\n])", "", shown.getvalue()).splitlines()  # as a terminal shows it
    assert re.fullmatch(EVALUATED.format(6), first.strip())
    assert re.fullmatch(EVALUATED.format(12), second.strip())
    assert re.fullmatch(r"trained runs/poem: 12 steps in \d:\d\d, best held-out score [\d.]+ bits per character", last)
    assert not "".join(rest).strip()
    assert capsys.readouterr().err == ""


def test_progress_can_be_silenced(capsys):
    charlstm.train("poem.txt", settings=TINY, progress=False)
    assert capsys.readouterr() == ("", "")


def test_closed_pipe_does_not_stop_training(monkeypatch):
    class ClosedPipe(io.StringIO):
        def write(self, text):  # noqa: ARG002
            raise BrokenPipeError

    monkeypatch.setattr("sys.stdout", ClosedPipe())
    charlstm.train("poem.txt", settings=TINY)
    assert charlstm.load("runs/poem", "last").header["counters"]["step"] == 12


def test_interrupt_saves_the_run_and_is_raised(capsys):
    def interrupt(event):
        if isinstance(event, Progress) and event.step == 5:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        charlstm.train("poem.txt", settings=TINY, on_event=interrupt)
    assert signal.getsignal(signal.SIGINT) is before
    assert charlstm.load("runs/poem", "last").header["counters"]["step"] == 5
    assert "stopped and saved runs/poem after 5 steps in 0:00: resume=True continues" in capsys.readouterr().out
    events = []
    charlstm.train("poem.txt", settings=TINY, resume=True, on_event=events.append)
    assert any(isinstance(event, Evaluated) for event in events)


@pytest.mark.parametrize("is_handled", [False, True])
def test_term_saves_the_run_and_exits_unless_the_program_handles_it(is_handled, capsys):
    received = []

    def terminate(event):
        if isinstance(event, Progress) and event.step == 5:
            signal.raise_signal(signal.SIGTERM)

    handler = (lambda number, _frame: received.append(number)) if is_handled else signal.SIG_DFL
    before = signal.signal(signal.SIGTERM, handler)
    try:
        with nullcontext() if is_handled else pytest.raises(SystemExit, match="143"):
            charlstm.train("poem.txt", settings=TINY, on_event=terminate)
        assert (signal.getsignal(signal.SIGTERM) is signal.SIG_DFL) == (not is_handled)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert received == [signal.SIGTERM] * is_handled
    assert charlstm.load("runs/poem", "last").header["counters"]["step"] == (12 if is_handled else 5)
    assert ("stopped and saved runs/poem after 5 steps" in capsys.readouterr().out) == (not is_handled)


def test_runs_and_texts_print_briefly_and_as_text():
    run = charlstm.train("poem.txt", settings={**TINY, "corpus.validation_fraction": 0.1})
    assert repr(run).startswith("<run runs/poem: capped, 1 x 8 units, ")
    one, several = run.generate("Once", 80), run.generate("<O", 20, num_samples=2, unknown="skip")
    assert str(one) == one[0].full_text
    assert len(repr(one)) < 120
    assert str(several).startswith("--- 1 of 2\n")
    assert several._repr_html_().count("<pre>&lt;O") == 2
    assert "".join(run.stream("Once", 80)) == str(one)
    assert set(charlstm.__all__) == set(dir(charlstm))
