"""What stands around and between the texts of ``charlstm sample``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from charlstm.cli.temperatures import Temperature


def headings_and_ends(
    texts: int, separator: str | None, document_end: str, temperatures: Sequence[Temperature] = ()
) -> Iterator[tuple[str, str]]:
    """For each text the note before it, which may be empty, and what is printed after it; nothing after a single one.

    Args:
        texts: their number, equally many for each of the temperatures.
        separator: the text of a line between two texts, if any.
        document_end: what else separates them; empty: a new line, and notes number them.
    """
    of_each = texts // max(1, len(temperatures))
    is_numbered = of_each > 1 and separator is None and not document_end
    for index in range(texts):
        parts = []
        if len(temperatures) > 1 and (is_numbered or index % of_each == 0):
            parts.append(f"temperature {temperatures[index // of_each]}")
        if is_numbered:
            parts.append(f"{index % of_each + 1} of {of_each}")
        end = document_end or "\n"
        if separator is not None:
            end = "\n" if index == texts - 1 else f"\n{separator}\n"
        yield f"--- {', '.join(parts)}" if parts else "", end if texts > 1 else ""
