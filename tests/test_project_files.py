"""Citation file, changelog, and issue templates."""

from __future__ import annotations

import re

import pytest
import yaml
from reference import ROOT

import charlstm

TEMPLATES = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))


def test_citation_has_what_the_citation_file_format_requires():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["cff-version"] == "1.2.0"
    assert citation["type"] == "software"
    assert citation["version"] == charlstm.__version__
    assert citation["license"] == (ROOT / "LICENSE").read_text(encoding="utf-8").split()[0]
    assert [set(author) for author in citation["authors"]] == [{"name"}]


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_issue_templates_are_valid_forms(path):
    form = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert set(form) <= {"name", "description", "title", "labels", "body"}
    assert {"name", "description", "body"} <= set(form)
    items = [item for item in form["body"] if item["type"] != "markdown"]
    assert items
    assert {item["type"] for item in items} <= {"input", "textarea", "dropdown", "checkboxes"}
    assert all({"label"} <= set(item["attributes"]) for item in items)
    assert len({item["id"] for item in items}) == len(items)


def test_changelog_starts_with_the_current_version():
    titles = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert titles[0].split()[0] in ("Unreleased", charlstm.__version__)
