"""A report page: sections of text, tables, figures and samples, rendered as one self-contained HTML file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from itertools import groupby

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from charlstm.text.visible import escape, invisible, visible


@dataclass(frozen=True)
class Figure:
    """A plot: `name` names its PNG file, `svg` is trusted inline markup, `alt` says what it shows.

    A wide one takes the page's whole width; on a small screen it keeps its size and is scrolled. One that could not be
    drawn says so in `lacking`, and has no picture.
    """

    name: str
    svg: str
    png: bytes
    alt: str
    caption: str = ""
    wide: bool = False
    lacking: str = ""


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
        plots_first: show the plots above the tables that are not folded.
    """

    title: str
    paragraphs: list[str] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    facts: list[tuple[str, str]] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    command: str = ""
    data: Mapping[str, object] = field(default_factory=dict)
    plots_first: bool = False

    @property
    def anchor(self) -> str:
        """The section's name in links: its title in lower case, words joined by hyphens."""
        words = "".join(c if c.isalnum() else " " for c in self.title.lower()).split()
        return "-".join(words) or "section"


@dataclass(frozen=True)
class Verdict:
    """A claim, and whether the measurement bears it out. Every text is plain and gets escaped.

    Attributes:
        claim: what is expected, as a sentence without a full stop.
        criterion: what must be measured for it to hold, fixed before the run.
        figure: what was measured, with its unit; empty if nothing was.
        interval: the figure's interval and what it covers, such as `95%: 0.91 to 0.97`; empty if there is none.
        held: whether the criterion was met; None if this run did not measure it.
        section: anchor of the section that shows the measurement; empty if there is none.
    """

    claim: str
    criterion: str
    figure: str = ""
    interval: str = ""
    held: bool | None = None
    section: str = ""

    @property
    def word(self) -> str:
        """`held`, `not held` or `not measured`."""
        return {True: "held", False: "not held", None: "not measured"}[self.held]


def tally(verdicts: Sequence[Verdict]) -> str:
    """`Of 8 claims, 5 held, 2 not held and 1 not measured.`"""
    counts = Counter(verdict.word for verdict in verdicts)
    parts = [f"{counts[word]} {word}" for word in ("held", "not held", "not measured") if counts[word]]
    listed = " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))
    return f"Of {len(verdicts)} claim{'s' if len(verdicts) > 1 else ''}, {listed}."


@dataclass(frozen=True)
class Document:
    """A whole page: the headline's first sentence in large type, the others under it, remarks, verdicts, sections."""

    title: str
    headline: list[str]
    sections: list[Section]
    remarks: list[str] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)

    @property
    def figures(self) -> Iterator[Figure]:
        """Every figure of every section."""
        return (figure for section in self.sections for figure in section.figures)


def render(document: Document) -> str:
    """The page as HTML that refers to nothing outside itself and runs no script.

    Raises:
        ValueError: a verdict points to a section that the document does not have.
    """
    missing = {v.section for v in document.verdicts if v.section} - {s.anchor for s in document.sections}
    if missing:
        raise ValueError(f"a verdict points to a section that is not there: {', '.join(sorted(missing))}")
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
    environment.filters |= {"visible": visible, "marked": marked, "tally": tally}
    source = resources.files("charlstm.report").joinpath("report.html.jinja").read_text(encoding="utf-8")
    return environment.from_string(source)
