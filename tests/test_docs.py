"""READMEs, configurations and help say what is true."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import Any

import markdown_files
import pytest
import reference
import torch
import yaml
from reference import COMMANDS, ROOT

import charlstm
from charlstm import cli
from charlstm.cells import CELLS
from charlstm.config import Config, describe_fields, load_comparison, load_config
from charlstm.executors import Weights, executors
from charlstm.text.corpus import load_corpus
from charlstm.training.run_directory import RunDirectory
from charlstm.training.trainer import Trainer

README = ROOT / "README.md"
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))
DOCUMENTS = reference.documents()
TEMPLATES = sorted((ROOT / ".github").rglob("*TEMPLATE*/*.yml"))


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


each_document = pytest.mark.parametrize("path", DOCUMENTS, ids=named)


def words_after_charlstm(words: list[str]) -> list[str] | None:
    """The command line of charlstm in a command, also behind torchrun; None for another program."""
    return words[words.index("charlstm") + 1 :] if words[0] in ("charlstm", "torchrun") else None


def check_command(words: list[str], complete: bool) -> None:
    """Refuse a command that charlstm would refuse: unknown options, values, files and fields."""
    command, *rest = words
    if command.startswith("--"):
        return
    try:
        given = COMMANDS[command].make_context(command, list(rest)).params
    except Exception as error:
        if complete or type(error).__name__ != "MissingParameter":
            raise
        return
    shipped = [name for name in words if name.startswith("configs/") and "NAME" not in name]
    for file in shipped or ["configs/quickstart.yaml"] * (command == "train"):
        load: Any = load_comparison if command == "compare" else load_config
        load(ROOT / file, given["set_"] or ())


@each_document
def test_generated_parts_are_up_to_date(path):
    text = path.read_text(encoding="utf-8")
    assert reference.refreshed(text) == text, f"run: {reference.COMMAND}"


@each_document
def test_commands_in_blocks_are_valid(path):
    for words in markdown_files.commands(path):
        if (line := words_after_charlstm(words)) is not None:
            check_command(line, complete=True)


@each_document
def test_commands_in_sentences_are_valid(path):
    for _, *words in markdown_files.mentioned(path):
        check_command(words, complete=False)


@each_document
def test_links_and_pictures_lead_somewhere(path):
    for link in markdown_files.links(path):
        assert link.path.exists(), link
        assert not link.anchor or link.anchor in markdown_files.anchors(link.path), link


def test_every_document_is_reached_from_the_readme():
    reached, ahead = set[Path](), [README]
    while ahead:
        path = ahead.pop()
        if path.suffix == ".md" and path not in reached:
            reached.add(path)
            ahead += [link.path for link in markdown_files.links(path)]
    assert {path for path in DOCUMENTS if "TEMPLATE" not in str(path)} <= reached


@each_document
def test_results_name_the_command_that_makes_them(path):
    assert not list(markdown_files.unexplained_results(path))


@each_document
def test_tables_are_well_formed(path):
    assert not list(markdown_files.uneven_tables(path))


def test_unexplained_results_and_uneven_tables_are_seen(tmp_path):
    path = tmp_path / "README.md"
    path.write_text("# Speed\n\n| a | b |\n|---|---|\n| x | 2.5 |\n| y | 3 | 4 |\n\nNo command.\n\n```text\nout\n```\n")
    assert list(markdown_files.unexplained_results(path)) == ["line 3", "line 10"]
    assert list(markdown_files.uneven_tables(path)) == ["line 6"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("train x.yaml --resme", "--resme"),
        ("sample runs/x --length -1", "greater than or equal to 0"),
        ("evaluate", "Missing parameter: run"),
        ("train configs/quickstart.yaml --set corpus.sauce=1", "sauce"),
        ("train my.yaml --set model.hiden_size=1", "hiden_size"),
        ("train configs/quick.yaml", "quick.yaml"),
    ],
)
def test_commands_that_charlstm_refuses_are_refused(line, message):
    with pytest.raises(Exception, match=message):
        check_command(line.split(), complete=True)


def test_readme_is_short_and_shows_every_command():
    text = README.read_text(encoding="utf-8")
    assert len(text.split()) <= 1600
    assert {words[1] for words in markdown_files.mentioned(README)} == set(COMMANDS)


def test_readme_has_the_two_commands_of_a_first_visit():
    first = "python -m pip install -e . && charlstm train configs/quickstart.yaml\n"
    assert markdown_files.blocks(README, "")[0] == first
    assert "python -m pip install -e '.[dev]' && pytest\n" in markdown_files.blocks(README, "")


TEXT = "To be, or not: Once upon a time, def for i in range(10):\n    the end. " * 40
TINY = (
    "model.hidden_size=8",
    "model.executor=reference",
    "training.precision=float32",
    "training.device=cpu",
    "training.budget={steps: 3}",
    "training.sample_length=0",
)
RUNS = {
    "wider": "model.direction=forward",
    "backward": "model.direction=backward",
    "infilling": "model.direction=bidirectional",
    "names": "corpus.documents=newline",
}
COPIES = ("my", "quickstart", "tinyshakespeare")


def call(*words: str) -> int | str | None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["charlstm", *words])
        with pytest.raises(SystemExit) as left:
            cli.main()
    return left.value.code


def without_compiler(patch: pytest.MonkeyPatch) -> None:
    """Compiling kernels would take most of the time."""
    patch.setenv("PATH", "")
    patch.setenv("CXX", "")


@pytest.fixture(scope="module")
def visited(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a reader has followed the READMEs: texts, the README's configuration, trained runs."""
    folder = tmp_path_factory.mktemp("visited")
    for name in ("my-text.txt", "other.txt", "start.txt"):
        (folder / name).write_text(TEXT if name != "start.txt" else "Once", encoding="utf-8")
    (configuration,) = markdown_files.blocks(README, "yaml")
    (folder / "my.yaml").write_text(configuration, encoding="utf-8")
    (folder / "configs").symlink_to(ROOT / "configs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, change in RUNS.items():
            config = load_config(folder / "my.yaml", (*TINY, change))
            directory = RunDirectory(folder / "runs" / name)
            directory.create(config)
            assert list(Trainer(config, load_corpus(**config.corpus.model_dump()), directory).run())
    for name in COPIES:
        shutil.copytree(folder / "runs" / "wider", folder / "runs" / name)
    return folder


def is_short(words: list[str]) -> bool:
    command, *rest = words
    return command in ("sample", "evaluate", "config") or "--dry-run" in rest


SHORT = {
    " ".join(line): line
    for path in DOCUMENTS
    for words in markdown_files.commands(path)
    if (line := words_after_charlstm(words)) and is_short(line)
}


@pytest.mark.parametrize("line", SHORT.values(), ids=SHORT)
def test_short_commands_run(visited, monkeypatch, line):
    monkeypatch.chdir(visited)
    without_compiler(monkeypatch)
    assert not call(*line)


PYTHON = {
    f"{named(path)}:{n}": code for path in DOCUMENTS for n, code in enumerate(markdown_files.blocks(path, "python"))
}


@pytest.mark.parametrize("code", PYTHON.values(), ids=PYTHON)
def test_python_in_documents_runs(visited, monkeypatch, capsys, code):
    monkeypatch.chdir(visited)
    without_compiler(monkeypatch)
    monkeypatch.setattr("charlstm.cells.base.CELLS", dict(CELLS))
    exec(compile(code, "README", "exec", dont_inherit=True), {"__name__": "readme"})
    assert ("print(" in code) == bool(capsys.readouterr().out)


@pytest.mark.parametrize("path", CONFIGS, ids=named)
def test_every_configuration_loads_and_says_what_it_shows(path):
    load = load_comparison if path.parent.name == "compare" else load_config
    assert load(path)
    comment = path.read_text(encoding="utf-8")
    assert comment.startswith("# ")
    assert "# What to expect: " in comment


def test_cells_have_a_row_in_their_readme_and_a_name_in_the_main_one():
    cells = (ROOT / "charlstm" / "cells" / "README.md").read_text(encoding="utf-8")
    assert all(f"| `{c.base}` |" in cells for c in CELLS.values())
    assert all(f"`{c.base}`" in README.read_text(encoding="utf-8") for c in CELLS.values())


def test_the_cell_in_the_readme_works_as_shown(tmp_path, monkeypatch):
    (code,) = [block for block in markdown_files.blocks(README, "python") if "@cell" in block]
    monkeypatch.setattr("charlstm.cells.base.CELLS", dict(CELLS))
    (tmp_path / "mgu_of_the_readme.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    from mgu_of_the_readme import mgu  # type: ignore[import-not-found]

    shapes = mgu.parameter_shapes(4, 5)
    weights = Weights(**{name: torch.randn(shape, dtype=torch.float64) for name, shape in shapes.items()})
    x, state = torch.randn(3, 2, 4, dtype=torch.float64), (torch.randn(2, 5, dtype=torch.float64),)
    expected, found = (executors()[name].run(mgu, weights, x, state)[0] for name in ("reference", "sequence"))
    torch.testing.assert_close(found, expected)


def test_reference_of_fields_agrees_with_charlstm_config():
    part = reference.PARTS["fields"]()
    sections = dict(re.findall(r"(?:^|### (\S+)\n)(.*?)(?=\n### |\Z)", part, re.DOTALL))
    for field in describe_fields(Config):
        (line,) = re.findall(rf"^- `{field.name}`: .*$", sections[field.section], re.MULTILINE)
        assert (f"default `{field.default}`." in line) == (field.default != "required")
        assert line.endswith(" ".join(field.documentation.split()))


def test_reference_of_commands_has_every_option_with_its_help():
    part = reference.PARTS["commands"]()
    for command in COMMANDS.values():
        assert command.help
        for parameter in command.params:
            if parameter.name != "help":
                assert parameter.help
                assert f"`{parameter.opts[0]}" in part or f"- `{parameter.name.upper()}`" in part


def test_memory_readme_lists_every_claim_as_it_was_written():
    config = load_comparison(ROOT / "configs" / "compare" / "long-term-memory.yaml")
    (readme,) = (ROOT / "charlstm").glob("**/memory/README.md")
    rows = re.findall(r"^\| (?:held|\*\*not held\*\*) \| (.*?) \|", readme.read_text(encoding="utf-8"), re.MULTILINE)
    assert rows == [claim.say for experiment in config.experiments.present().values() for claim in experiment.claims]


def test_citation_has_what_the_citation_file_format_requires():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["cff-version"] == "1.2.0"
    assert citation["type"] == "software"
    assert citation["version"] == charlstm.__version__
    assert citation["license"] == (ROOT / "LICENSE").read_text(encoding="utf-8").split()[0]
    assert [set(author) for author in citation["authors"]] == [{"name"}]


@pytest.mark.parametrize("path", TEMPLATES, ids=named)
def test_issue_templates_are_valid_forms(path):
    form = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert set(form) <= {"name", "description", "title", "labels", "body"}
    assert {"name", "description", "body"} <= set(form)
    asked = [item for item in form["body"] if item["type"] != "markdown"]
    assert asked
    assert {item["type"] for item in asked} <= {"input", "textarea", "dropdown", "checkboxes"}
    assert all({"label"} <= set(item["attributes"]) for item in asked)
    assert len({item["id"] for item in asked}) == len(asked)


def test_changelog_begins_with_unreleased_changes_or_this_version():
    titles = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert titles[0].split()[0] in ("Unreleased", charlstm.__version__)
