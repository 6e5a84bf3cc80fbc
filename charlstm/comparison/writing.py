"""A report on the disk: the page, its plots as PNG, and report.json."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from charlstm.comparison.document import Document, render

REPORT = "report.json"


def write_document(document: Document, record: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write index.html, report.json and the plots as PNG into `folder`, which is made if need be.

    report.json holds the record, the headline, and the sections' data; a figure that is not finite becomes null.
    Returns the files written, index.html first.

    Raises:
        ValueError: two sections or two figures share a name.
    """
    check_names("section", [section.anchor for section in document.sections])
    check_names("figure", [figure.name for figure in document.figures])
    whole = dict(record)
    whole["headline"] = document.headline
    whole["sections"] = {section.anchor: finite(section.data) for section in document.sections if section.data}
    folder.mkdir(parents=True, exist_ok=True)
    page, figures_json = folder / "index.html", folder / REPORT
    page.write_text(render(document), encoding="utf-8")
    figures_json.write_text(json.dumps(whole, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    written = [page, figures_json]
    for figure in document.figures:
        written.append(folder / f"{figure.name}.png")
        written[-1].write_bytes(figure.png)
    return written


def check_names(kind: str, names: Sequence[str]) -> None:
    """Raises ValueError if two are the same."""
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ValueError(f"more than one {kind} named {', '.join(sorted(twice))}")


def finite(value: object) -> object:
    """The same in JSON types, with None for what is not a finite number."""
    if isinstance(value, Mapping):
        return {str(key): finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
