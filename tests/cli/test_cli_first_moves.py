"""What a person types first, and gets wrong, is answered with what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

TEXT = "Ann: hello\nBob: hi there, Ann\n"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("chat.txt", TEXT.encode() * 20),
        ("chat", b"[1] a: b\n? what: {\n\ttabs"),
        ("big.txt", TEXT.encode() * 20_000),
        ("latin.md", "Zoë\n".encode("latin-1") * 99),
        ("a b: {c}.txt", TEXT.encode() * 20),
        ("list.csv", b"a,b\n1,2\n"),
    ],
)
def test_a_text_in_place_of_a_configuration(charlstm, name, content):
    Path(name).write_bytes(content)
    found = charlstm("train", name)
    assert (found.code, found.out) == (2, "")
    first, *lines = found.err.splitlines()
    stem = Path(name).stem
    assert first.startswith(f"error: {name}: this is a text, not a configuration. Write these three lines into ")
    assert first.endswith(f"charlstm train {stem}.yaml" if " " not in stem else f"charlstm train '{stem}.yaml'")
    assert len(lines) == 3
    assert charlstm("compare", name) == found
    Path(f"{stem}.yaml").write_text("\n".join(lines))
    encoding = "latin-1" if name == "latin.md" else "utf-8"
    settings = ("--set", f"corpus.encoding={encoding}", "--set", "model.executor=eager", "--name", "x")
    found = charlstm("train", f"{stem}.yaml", "--dry-run", *settings)
    assert found.code == 0, found.err
    assert f"{name}: {len(content):,} " in found.out


def test_what_is_neither_a_configuration_nor_a_text(charlstm, tiny_run):
    found = charlstm("train", next((tiny_run / "checkpoints").glob("*.safetensors")))
    assert found.code == 2
    assert "this is neither a configuration nor a text. Name a configuration in YAML" in found.err


@pytest.mark.parametrize("content", ["corpus:\n\tsource: a", 'model: {"hidden_size": 3}', "{training: {}}"])
def test_a_configuration_by_another_name_is_read_as_one(charlstm, content):
    Path("settings.txt").write_text(content)
    found = charlstm("train", "settings.txt")
    assert found.code == 2
    assert "this is a text" not in found.err


def test_a_name_of_the_catalogue_in_place_of_a_configuration(charlstm):
    found = charlstm("train", "python-stdlib")
    assert found.code == 2
    assert "python-stdlib is a corpus of the catalogue. Write these three lines into python-stdlib.yaml" in found.err
    assert "\ncorpus: {source: python-stdlib}\n" in found.err


ADDRESS = "https://example.org/a/tale%20of.txt"


def test_an_address_is_to_be_downloaded_first(charlstm):
    Path("c.yaml").write_text(f"corpus: {{source: '{ADDRESS}'}}\n")
    found = charlstm("train", "c.yaml")
    assert (found.code, found.out) == (2, "")
    assert found.err.startswith(f"error: {ADDRESS} is an address; only corpora of the catalog are downloaded (")
    assert f"curl -fLO {ADDRESS}, and set corpus.source to the file" in found.err
    found = charlstm("train", ADDRESS)
    assert found.err.startswith(f"error: {ADDRESS} is an address, not a configuration file.")
    assert "\ncorpus: {source: tale%20of.txt}\n" in found.err.replace('"', "")


def test_the_address_of_a_corpus_in_the_catalogue_is_its_name(charlstm):
    from charlstm.text.catalogue import catalogue

    address = catalogue()["tinyshakespeare"].url
    Path("c.yaml").write_text(f"corpus: {{source: ['{address}']}}\n")
    assert "is the address of 'tinyshakespeare' in the catalog" in charlstm("train", "c.yaml").err
    Path("c.yaml").write_text("corpus: {source: 'file:///tmp/a.txt'}\n")
    assert "use the path, /tmp/a.txt" in charlstm("train", "c.yaml").err


@pytest.mark.parametrize(
    ("there", "typed", "suggested"),
    [
        ("o.txt", "nope.txt", False),
        ("one.txt", "nope.txt", False),
        ("chat.txt", "chta.txt", True),
        ("chat.txt", "chat.text", True),
        ("Chat.TXT", "chat.txt", True),
        ("chat.txt", "chat", True),
        ("data-2.txt", "data.txt", True),
    ],
)
def test_only_near_names_are_suggested(charlstm, there, typed, suggested):
    Path(there).write_text(TEXT)
    Path("c.yaml").write_text(f"corpus: {{source: {typed}}}\n")
    found = charlstm("train", "c.yaml")
    assert found.code == 2
    assert (there in found.err) == suggested
    Path(there).with_suffix(".yml").write_text("")
    assert ("Did you mean" in charlstm("train", Path(typed).with_suffix(".yaml")).err) == suggested


@pytest.mark.parametrize(
    "change", ["corpus.source=nowhere", "corpus.encoding=utf-16", "model={cell: peephole, executor: vendor}"]
)
def test_the_error_of_a_dry_run_stands_alone(charlstm, config_file, change):
    found = charlstm("train", config_file, "--dry-run", "--set", change)
    assert (found.code, found.out) == (2, "")
    assert found.err.startswith("error: ")
    assert len(found.err.splitlines()) == 1
