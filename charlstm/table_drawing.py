"""Draws tables as text, of a given width or of that of their cells."""

from __future__ import annotations

import io
from collections.abc import Sequence

from charlstm.terminal_layout import fit_table

EDGES = 2
"""Columns of the spaces to the left and right of a table."""


def draw_table(
    rows: Sequence[Sequence[str]],
    title: str = "",
    prose: bool = False,
    optional: Sequence[str] = (),
    *,
    width: int | None,
    is_styled: bool = False,
    lines: str = "─",
) -> tuple[str, list[str]]:
    """Draw rows, of which the first is the header, as a table.

    Args:
        prose: align the columns after the first to the left, for text; otherwise to the right, for numbers.
        optional: which columns are left out first if the table does not fit, as for :func:`fit_table`.
        width: columns of the terminal; None for no limit, so that nothing is wrapped, left out or padded at the end.
        is_styled: with escape codes that make the header bold.
        lines: the character of horizontal lines.

    Returns the text, and the headers of the columns that are left out.
    """
    from rich.box import SIMPLE_HEAD, Box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    given = [list(row) for row in rows]
    (header, *body), omitted = (given, []) if width is None else fit_table(given, width - EDGES, optional)
    table = Table(
        title=Text(title) if title else None,
        title_justify="left",
        box=Box(str(SIMPLE_HEAD).replace("─", lines), ascii=lines.isascii()),
        safe_box=False,
        pad_edge=False,
    )
    for number, name in enumerate(header):
        table.add_column(Text(name), justify="left" if prose or number == 0 else "right", no_wrap=True)
    for row in body:
        table.add_row(*map(Text, row))
    buffer = io.StringIO()
    unbounded = 1 << 16  # the cells are wrapped already
    console = Console(file=buffer, width=unbounded, highlight=False, no_color=not is_styled, force_terminal=is_styled)
    console.print(table)
    text = buffer.getvalue()
    return text if width else "\n".join(line.rstrip(" ") for line in text.split("\n")), omitted
