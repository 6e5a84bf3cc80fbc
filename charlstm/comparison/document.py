"""A report page: sections of text, tables, figures and samples, rendered as one self-contained HTML file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from itertools import groupby

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from charlstm.text.visible import escape, invisible, visible


@dataclass(frozen=True)
class Figure:
    """A plot: `name` names its PNG file, `svg` is trusted inline markup, `alt` says what it shows."""

    name: str
    svg: str
    png: bytes
    alt: str
    caption: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of plain strings, the first column naming the row; `colours` gives rows an arm's colour number."""

    header: list[str]
    rows: list[list[str]]
    caption: str = ""
    colours: list[int] | None = None
    folded: bool = False


@dataclass(frozen=True)
class Sample:
    """Text from a model. It is shown escaped, its control characters made visible."""

    title: str
    text: str
    colour: int | None = None
    note: str = ""


@dataclass(frozen=True)
class Section:
    """One part of a report. What is empty is left out.

    Attributes:
        title: its heading; the link to it is made from it.
        paragraphs: plain text, escaped.
        figures: plots, side by side where there is room.
        tables: tables; a folded one opens on a click.
        samples: texts, side by side.
        facts: (term, meaning) pairs.
        remarks: short lines, as a list.
        command: the command line that reproduces the section.
        data: what the section adds to report.json, JSON types only, units in the key names.
    """

    title: str
    paragraphs: list[str] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    facts: list[tuple[str, str]] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    command: str = ""
    data: dict[str, object] = field(default_factory=dict)

    @property
    def anchor(self) -> str:
        """The section's name in links: its title in lower case, words joined by hyphens."""
        words = "".join(c if c.isalnum() else " " for c in self.title.lower()).split()
        return "-".join(words) or "section"


@dataclass(frozen=True)
class Document:
    """A whole page: the headline's first sentence in large type, the others under it, remarks, sections."""

    title: str
    headline: list[str]
    sections: list[Section]
    remarks: list[str] = field(default_factory=list)

    @property
    def figures(self) -> Iterator[Figure]:
        """Every figure of every section."""
        return (figure for section in self.sections for figure in section.figures)


def render(document: Document) -> str:
    """The page as HTML that refers to nothing outside itself and runs no script."""
    return _template().render(document=document)


def marked(text: str) -> Markup:
    """`text` as HTML: escaped, and what `visible` had to change set apart."""
    sign = Markup('<span class="control">{}</span>')
    return Markup().join(
        sign.format("".join(map(escape, part))) if hidden else Markup.escape("".join(part))
        for hidden, part in groupby(text, key=invisible)
    )


@cache
def _template() -> Template:
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"visible": visible, "marked": marked}
    source = resources.files("charlstm.comparison").joinpath("report.html.jinja").read_text(encoding="utf-8")
    return environment.from_string(source)
