"""READMEs, configurations and help texts agree with the code."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import markdown_files
import pytest
import reference
from reference import COMMANDS, ROOT

from charlstm.cells import CELLS
from charlstm.config import Config, describe_fields, load_comparison, load_config, load_sweep

README = ROOT / "README.md"
LOADERS: dict[str, Callable[[Path], object]] = {"compare": load_comparison, "sweep": load_sweep}
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))
DOCUMENTS = reference.documents()


def relative_name(path: Path) -> str:
    return str(path.relative_to(ROOT))


each_document = pytest.mark.parametrize("path", DOCUMENTS, ids=relative_name)


def check_command(words: list[str], complete: bool) -> None:
    """Raise as charlstm would for unknown options, values, files and fields."""
    command, *rest = words
    if command.startswith("--"):
        return
    try:
        given = COMMANDS[command].make_context(command, list(rest)).params
    except Exception as error:
        if complete or type(error).__name__ != "MissingParameter":
            raise
        return
    files = [name for name in words if name.startswith("configs/") and "NAME" not in name]
    for file in files or ["configs/quickstart.yaml"] * (command == "train"):
        load: Any = LOADERS.get(command, load_config)
        load(ROOT / file, given["set_"] or ())


@each_document
def test_generated_parts_are_up_to_date(path):
    text = path.read_text(encoding="utf-8")
    assert reference.refreshed(text) == text, f"run: {reference.COMMAND}"


@each_document
def test_commands_in_blocks_are_valid(path):
    for words in markdown_files.commands(path):
        if (line := markdown_files.words_after_charlstm(words)) is not None:
            check_command(line, complete=True)


@each_document
def test_commands_in_sentences_are_valid(path):
    for _, *words in markdown_files.mentioned(path):
        check_command(words, complete=False)


@each_document
def test_links_and_pictures_exist(path):
    for link in markdown_files.links(path):
        assert link.path.exists(), link
        assert not link.anchor or link.anchor in markdown_files.anchors(link.path), link


def test_every_document_is_linked_from_the_readme():
    reached, pending = set[Path](), [README]
    while pending:
        path = pending.pop()
        if path.suffix == ".md" and path not in reached:
            reached.add(path)
            pending += [link.path for link in markdown_files.links(path)]
    assert {path for path in DOCUMENTS if "TEMPLATE" not in str(path)} <= reached


@each_document
def test_results_name_the_command_that_makes_them(path):
    assert not list(markdown_files.unexplained_results(path))


@each_document
def test_tables_are_well_formed(path):
    assert not list(markdown_files.uneven_tables(path))


def test_unexplained_results_and_uneven_tables_are_detected(tmp_path):
    path = tmp_path / "README.md"
    path.write_text("# Speed\n\n| a | b |\n|---|---|\n| x | 2.5 |\n| y | 3 | 4 |\n\nNo command.\n\n```text\nout\n```\n")
    assert list(markdown_files.unexplained_results(path)) == ["line 3", "line 10"]
    assert list(markdown_files.uneven_tables(path)) == ["line 6"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("train x.yaml --resme", "--resme"),
        ("sample runs/x --length -1", "x>=0|equal to 0"),
        ("evaluate", "Missing parameter: run"),
        ("train configs/quickstart.yaml --set corpus.sauce=1", "sauce"),
        ("train my.yaml --set model.hiden_size=1", "hiden_size"),
        ("train configs/quick.yaml", "quick.yaml"),
    ],
)
def test_invalid_commands_are_detected(line, message):
    with pytest.raises(Exception, match=message):
        check_command(line.split(), complete=True)


def test_readme_is_short_and_shows_every_command():
    text = README.read_text(encoding="utf-8")
    assert len(text.split()) <= 1600
    assert {words[1] for words in markdown_files.mentioned(README)} == set(COMMANDS)


def test_readme_has_the_install_and_test_commands():
    first = "python -m pip install -e . && charlstm train configs/quickstart.yaml\n"
    assert markdown_files.blocks(README, "")[0] == first
    assert "python -m pip install -e '.[dev]' && pytest\n" in markdown_files.blocks(README, "")


@pytest.mark.parametrize("path", CONFIGS, ids=relative_name)
def test_configurations_load_and_have_a_comment(path):
    load = LOADERS.get(path.parent.name, load_config)
    assert load(path)
    comment = path.read_text(encoding="utf-8")
    assert comment.startswith("# ")
    assert "# What to expect: " in comment


def test_every_cell_is_in_both_readmes():
    cells = (ROOT / "charlstm" / "cells" / "README.md").read_text(encoding="utf-8")
    assert all(f"| `{c.base}` |" in cells for c in CELLS.values())
    assert all(f"`{c.base}`" in README.read_text(encoding="utf-8") for c in CELLS.values())


def test_reference_of_fields_agrees_with_charlstm_config():
    part = reference.PARTS["fields"]()
    sections = dict(re.findall(r"(?:^|### (\S+)\n)(.*?)(?=\n### |\Z)", part, re.DOTALL))
    for field in describe_fields(Config):
        (line,) = re.findall(rf"^- `{field.name}`: .*$", sections[field.section], re.MULTILINE)
        assert (f"default `{field.default}`." in line) == (field.default != "required")
        assert line.endswith(" ".join(field.documentation.split()))


def test_reference_of_commands_has_every_option():
    part = reference.PARTS["commands"]()
    for command in COMMANDS.values():
        assert command.help
        for parameter in command.params:
            if parameter.name != "help":
                assert parameter.help
                assert f"`{parameter.opts[0]}" in part or f"- `{parameter.metavar or parameter.name.upper()}`" in part


def test_memory_readme_lists_every_claim_verbatim():
    names = ("sentences", "memory-on-real-text", "long-term-memory")
    files = (ROOT / "configs" / "compare" / f"{name}.yaml" for name in names)
    experiments = [one for file in files for one in load_comparison(file).experiments.present().values()]
    (readme,) = (ROOT / "charlstm").glob("**/memory/README.md")
    rows = re.findall(
        r"^\| (?:held|\*\*not held\*\*|undecided|not run) \| (.*?) \|", readme.read_text(encoding="utf-8"), re.MULTILINE
    )
    assert rows == [claim.statement for experiment in experiments for claim in experiment.claims]
