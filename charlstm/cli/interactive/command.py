"""``charlstm sample --interactive``: a person and a model write a text together, on a terminal."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import typer

from charlstm.cli.options import refuse
from charlstm.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from charlstm.api import LoadedRun
    from charlstm.cli.interactive.editor import Editor
    from charlstm.cli.interactive.screen import Screen
    from charlstm.generation import Sampling

SLOW = 0.05
"""Seconds: if suggestions take longer, the text is shown before they are there."""


def check_interactive(context: typer.Context, direction: str) -> None:
    """Raises UserError for a model, an option or a terminal with which ``--interactive`` does not work."""
    names = ("suffix", "infill", "infill_file", "gap", "sweeps", "num_samples", "until", "stream", "json_", "novelty")
    refuse(context, "with --interactive", *names, "no_repeat", "average_with", "regex", "best_of", "beam")
    if context.params["length"] == 0:
        raise UserError("--length must be at least 1 with --interactive: it is the length of a suggestion")
    if direction != "forward":
        instead = "use --suffix" if direction == "backward" else "fill gaps with --infill"
        raise UserError(f"--interactive writes from left to right; this model has direction: {direction}: {instead}")
    try:
        import termios  # noqa: F401
    except ImportError:
        raise UserError("--interactive needs a terminal of Linux or macOS: here, use --prime") from None
    if not _is_terminal(sys.stdin):
        raise UserError("--interactive reads keys from a terminal, but standard input is not one: use --prime")
    if os.environ.get("TERM", "dumb") == "dumb":
        raise UserError(
            "--interactive needs a terminal whose cursor can move, but TERM is dumb or not set: use --prime"
        )
    if _screen_stream() is None:
        raise UserError(
            "--interactive shows the text on a terminal, but neither standard output nor standard error is one"
        )


def write_together(
    loaded: LoadedRun, prime: Sequence[int], sampling: Sampling, seed: int, length: int, lead_in: bool
) -> None:
    """Write a text on the terminal, beginning with the ids ``prime``; then print it, however this ends.

    ``length`` is that of a suggestion; 0: the default.
    """
    from charlstm import console
    from charlstm.cli.interactive.editor import LENGTH, Editor
    from charlstm.cli.interactive.screen import Closed, Screen
    from charlstm.generation.session import Session

    output = _screen_stream()
    assert output is not None
    lead_ins = loaded.lead_ins if lead_in else ()
    session = Session(loaded.model, loaded.vocabulary, sampling, seed, lead_ins, loaded.document_end)
    session.accept(prime)
    was_terminal = console.is_terminal()
    try:
        with Screen(output) as screen, suppress(Closed):
            _converse(Editor(session, loaded.prepare, length or LENGTH), screen)
    finally:
        if len(session):
            _print(loaded, session.ids, is_lost=was_terminal and not console.is_terminal())


class _KeyPressedError(Exception):
    """Stops the sampling of suggestions that the next key may make useless."""


def _converse(editor: Editor, screen: Screen) -> None:
    from charlstm import standard_streams as streams
    from charlstm.cli.interactive.view import view

    def draw() -> None:
        screen.draw(*view(editor, *screen.size, lambda text: streams.encodable(text, screen.output)))

    def on_chunk() -> None:
        if screen.has_input():
            raise _KeyPressedError

    seconds = SLOW
    while True:
        if not screen.has_input():
            if seconds >= SLOW:
                draw()
            start = time.monotonic()
            with suppress(_KeyPressedError):
                editor.suggest(on_chunk)
            seconds = time.monotonic() - start
            draw()
        for key in screen.read_keys():
            if editor.press(key):
                return


def _print(loaded: LoadedRun, ids: list[int], is_lost: bool) -> None:
    """Print the text; or, if the terminal is closed or standard output fails, save it as a file."""
    from charlstm.cli import sample_output

    try:
        sample_output.print_stream(loaded, [ids])
    except (SystemExit, UserError):
        _save(loaded.vocabulary.decode_bytes(ids))
        raise
    if is_lost:
        _save(loaded.vocabulary.decode_bytes(ids))


def _save(content: bytes) -> None:
    from charlstm import console

    for folder in (Path(), Path(tempfile.gettempdir())):
        path = folder / f"interactive-{datetime.now():%Y%m%d-%H%M%S}.txt"
        with suppress(OSError):
            path.write_bytes(content)
            console.note(f"the text is saved in {path}")
            return


def _screen_stream() -> TextIO | None:
    """Standard output, or standard error if the text goes into a file; None if neither is a terminal."""
    return next((stream for stream in (sys.stdout, sys.stderr) if _is_terminal(stream)), None)


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and not stream.closed and stream.isatty()
