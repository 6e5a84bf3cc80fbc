"""Common first mistakes are answered with what to do."""

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
def test_text_is_trained_on(charlstm, name, content):
    Path(name).write_bytes(content)
    encoding = "latin-1" if name == "latin.md" else "utf-8"
    settings = ("--set", f"corpus.encoding={encoding}", "--set", "model.executor=eager")
    result = charlstm("train", name, "--dry-run", *settings)
    assert result.code == 0, result.err
    assert f"{name}: {len(content):,} " in result.out
    result = charlstm("compare", name)
    assert (result.code, result.out) == (2, "")
    assert f"{name}: this is a text, not a configuration. To train on it:  charlstm train " in result.err


def test_file_that_is_not_text_is_refused(charlstm, tiny_run):
    result = charlstm("train", next((tiny_run / "checkpoints").glob("*.safetensors")))
    assert result.code == 2
    assert "not text" in result.err


@pytest.mark.parametrize("content", ["corpus:\n\tsource: a", 'model: {"hidden_size": 3}', "{training: {}}"])
def test_configuration_with_another_suffix_is_read(charlstm, content):
    Path("settings.txt").write_text(content)
    result = charlstm("train", "settings.txt")
    assert result.code == 2
    assert "this is a text" not in result.err


ADDRESS = "https://example.org/a/tale%20of.txt"


def test_address_has_to_be_downloaded_first(charlstm):
    Path("c.yaml").write_text(f"corpus: {{source: '{ADDRESS}'}}\n")
    result = charlstm("train", "c.yaml")
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith(f"error: {ADDRESS} is an address; only corpora of the catalog are downloaded (")
    assert f"curl -fLO {ADDRESS}, and set corpus.source to the file" in result.err
    result = charlstm("train", ADDRESS)
    assert result.err.startswith(f"error: {ADDRESS} is an address, not a configuration file.")
    assert result.err.endswith("Then: charlstm train tale%20of.txt\n")


def test_address_of_a_catalog_corpus_names_the_corpus(charlstm):
    from charlstm.text.catalog import catalog

    address = catalog()["tinyshakespeare"].url
    Path("c.yaml").write_text(f"corpus: {{source: ['{address}']}}\n")
    assert "is the address of 'tinyshakespeare' in the catalog" in charlstm("train", "c.yaml").err
    Path("c.yaml").write_text("corpus: {source: 'file:///tmp/a.txt'}\n")
    assert "use the path, /tmp/a.txt" in charlstm("train", "c.yaml").err


@pytest.mark.parametrize(
    ("existing", "typed", "suggested"),
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
def test_only_similar_names_are_suggested(charlstm, existing, typed, suggested):
    Path(existing).write_text(TEXT)
    Path("c.yaml").write_text(f"corpus: {{source: {typed}}}\n")
    result = charlstm("train", "c.yaml")
    assert result.code == 2
    assert (existing in result.err) == suggested
    Path(existing).with_suffix(".yml").write_text("")
    assert ("Did you mean" in charlstm("train", Path(typed).with_suffix(".yaml")).err) == suggested


@pytest.mark.parametrize(
    "change", ["corpus.source=nowhere", "corpus.encoding=utf-16", "model={cell: peephole, executor: vendor}"]
)
def test_dry_run_prints_only_its_error(charlstm, config_file, change):
    result = charlstm("train", config_file, "--dry-run", "--set", change)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("error: ")
    assert len(result.err.splitlines()) == 1
