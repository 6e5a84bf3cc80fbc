"""The screen of the editor: the text with the suggestion, and below them what may come next, and the keys."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from charlstm.cli.interactive.editor import Editor
from charlstm.cli.interactive.layout import SEPARATOR, Cell, cut, fitting, wrap
from charlstm.generation.session import Session
from charlstm.text.visible import visible

KEYS = (
    ("Tab", "Tab", "take"),
    ("→", "Right", "word"),
    ("↓", "Down", "other"),
    ("^D", "^D", "done"),
    ("←", "Left", "back"),
    ("⇧Tab", "S-Tab", "undo"),
    ("^E", "^E", "line"),
    ("^T", "^T", "warmer"),
    ("^G", "^G", "cooler"),
    ("↑", "Up", "previous"),
    ("^W", "^W", "delete word"),
    ("^U", "^U", "delete line"),
)
"""The keys that the screen shows, in UTF-8 and in ASCII, and what they do; the most important first."""

_NAMES = {" ": "space", "\n": "newline", "\t": "tab"}
_END, _PLAIN_END = "∎", "[end]"
MIN_PROBABLE = 5  # characters that are shown even if they are improbable
MIN_ROWS, MIN_ROWS_FOR_ALL_KEYS = 6, 12


class View(NamedTuple):
    """The rows of a screen, with styles, and the cursor as (row, column)."""

    rows: list[str]
    cursor: tuple[int, int]


def view(editor: Editor, columns: int, rows: int, encodable: Callable[[str], str] = str) -> View:
    """The screen of this size. ``encodable`` replaces what the terminal cannot print."""
    status = [] if rows < MIN_ROWS else _status(editor, columns, 1 if rows < MIN_ROWS_FOR_ALL_KEYS else 2, encodable)
    height = rows - len(status)
    suggestion = editor.suggestion
    following = "" if suggestion is None else suggestion.text
    if suggestion is not None and suggestion.ends:
        following += _END if encodable(_END) == _END else _PLAIN_END
    wrapped = wrap(_shown_text(editor.session, columns, height), following, columns, encodable)
    row, column = wrapped.cursor
    first = max(0, min(row - height // 3, len(wrapped.rows) - height))
    shown = [_styled(cells) for cells in wrapped.rows[first : first + height]]
    return View(shown + [""] * (height - len(shown)) + status, (row - first, column))


def _shown_text(session: Session, columns: int, rows: int) -> str:
    """The end of the text, at least as much as fits into these rows. Where it begins does not change with each
    character, so that words do not move."""
    size = columns * rows * session.symbols_per_character
    start = max(0, len(session) - size) // size * size
    text = "".join(c.text for c in session.tail(len(session) - start))
    return "\n".join(text.split("\n")[-rows:])


def _status(editor: Editor, columns: int, key_rows: int, encodable: Callable[[str], str]) -> list[str]:
    in_utf8, session = encodable(_END) == _END, editor.session
    pairs = session.next_probabilities(columns)
    probable = (
        f"{_name(symbol, encodable)} {p:.{0 if p >= 0.01 else 1}%}"
        for number, (symbol, p) in enumerate(pairs)
        if p >= 0.01 or (number < MIN_PROBABLE and p >= 0.001)
    )
    state = [f"temperature {session.sampling.temperature:g}", f"{len(session):,} {session.unit}s"]
    if editor.suggestion is not None:
        state.insert(0, f"continuation {editor.number}")
    message = cut(encodable(visible(editor.message)), columns)
    return [
        f"\x1b[2m{('─' if in_utf8 else '-') * columns}\x1b[0m",
        SEPARATOR.join(fitting(["next:", *probable], columns)),
        message or SEPARATOR.join(fitting(state, columns)),
        *_key_rows([(symbol if in_utf8 else name, meaning) for symbol, name, meaning in KEYS], columns, key_rows),
    ]


def _key_rows(keys: list[tuple[str, str]], columns: int, rows: int) -> Iterator[str]:
    """At most ``rows`` rows of keys, each with its meaning."""
    for _ in range(rows):
        if count := len(fitting(map(" ".join, keys), columns)):
            yield SEPARATOR.join(f"\x1b[1m{key}\x1b[0m {meaning}" for key, meaning in keys[:count])
            keys = keys[count:]


def _name(symbol: str, encodable: Callable[[str], str]) -> str:
    return _NAMES.get(symbol) or encodable(visible(symbol))


def _styled(cells: list[Cell]) -> str:
    """A row with its suggestion dim."""
    plain = "".join(cell.text for cell in cells if not cell.dim)
    dim = "".join(cell.text for cell in cells if cell.dim)
    return f"{plain}\x1b[2m{dim}\x1b[0m" if dim else plain
