"""The command ``charlstm export``."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec

import pytest

import charlstm as package
from charlstm.exports import formats

FILES = {
    "html": ["tiny.html"],
    "onnx": ["tiny.onnx"],
    "torch": ["tiny-torch/model.safetensors", "tiny-torch/sample.py"],
    "hub": ["tiny-hub/README.md", "tiny-hub/config.json", "tiny-hub/model.safetensors"],
}


@pytest.fixture
def run(tiny_run, tmp_path):
    copy = tmp_path / "runs" / "tiny"
    shutil.copytree(tiny_run, copy)
    return copy


@pytest.mark.parametrize("to", FILES)
def test_export_is_written_into_the_run_and_replaced(charlstm, run, to):
    if to == "onnx":
        pytest.importorskip("onnx")
    for _ in range(2):
        result = charlstm("export", run, "--to", to)
        assert result.code == 0, result.err
    written = sorted(str(p.relative_to(run / "export")) for p in (run / "export").rglob("*") if p.is_file())
    assert written == FILES[to]
    assert str(run / "export" / FILES[to][0].partition("/")[0]) in result.out
    assert result.err == ""


def test_page_is_the_default_and_other_formats_are_named(charlstm, run):
    default, chosen = charlstm("export", run), charlstm("export", run, "--to", "html")
    assert default.code == 0
    *lines, last = default.out.splitlines()
    assert lines[0].startswith(f"page for any browser: {run / 'export' / 'tiny.html'} (0.")
    assert lines == chosen.out.splitlines()
    assert last == "other formats: --to onnx, torch, hub"


def test_terminal_gives_both_scores(charlstm, run):
    result = charlstm("export", run, "--to", "html", "--json")
    record = json.loads(result.out)
    assert record["path"] == str(run / "export" / "tiny.html")
    assert abs(record["bits_per_character"] - record["bits_per_character_with_8_bits"]) < 0.02
    assert record["characters_scored"] == 150
    assert record["bytes"] == (run / "export" / "tiny.html").stat().st_size
    line = f"{record['bits_per_character_with_8_bits']:.4f} bits per character with weights of 8 bits, "
    assert line in charlstm("export", run, "--to", "html").out


def test_page_is_written_without_the_text_of_the_run(charlstm, run, corpus_file):
    config = run / "config.yaml"
    config.write_text(config.read_text(encoding="utf-8").replace(str(corpus_file), "/nowhere.txt"), encoding="utf-8")
    result = charlstm("export", run, "--to", "html")
    assert result.code == 0
    assert "bits per character not measured: no corpus '/nowhere.txt'" in " ".join(result.out.split())
    assert "/nowhere.txt" not in (run / "export" / "tiny.html").read_text(encoding="utf-8")


def test_out_is_a_file_or_a_folder_for_it(charlstm, run, tmp_path):
    assert charlstm("export", run, "--to", "html", "--out", tmp_path / "page.htm").code == 0
    assert (tmp_path / "page.htm").exists()
    assert charlstm("export", run, "--to", "html", "--out", tmp_path).code == 0
    assert (tmp_path / "tiny.html").exists()
    assert charlstm("export", run, "--to", "torch", "--out", tmp_path / "t").code == 0
    assert (tmp_path / "t" / "sample.py").exists()
    assert not (run / "export").exists()


@pytest.mark.parametrize("to", ["html", "hub"])
def test_file_of_another_is_not_replaced(charlstm, run, tmp_path, to):
    out = tmp_path / "mine"
    if to == "hub":
        out.mkdir()
    mine = out / "notes.txt" if to == "hub" else out
    mine.write_text("mine")
    result = charlstm("export", run, "--to", to, "--out", out)
    assert result.code == 2
    assert "--overwrite replaces" in result.err
    assert mine.read_text() == "mine"
    assert charlstm("export", run, "--to", to, "--out", out, "--overwrite").code == 0
    if to == "hub":
        assert mine.read_text() == "mine"
        assert (out / "config.json").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--out", "model.onnx"), "--out model.onnx is a name for --to onnx, and this export is html: change one"),
        (("--to", "pdf"), "--to pdf: there is no such format; there are html, onnx, torch, hub"),
        (("--to", "htlm"), "Did you mean html?"),
        (("--to", "hub", "--prime", "the"), "--prime has no effect with another format than html"),
        (("--to", "html", "--overwrite"), "--overwrite has no effect without --out"),
        (("--to", "html", "--out", "no/such/page.html"), "there is no folder no/such: create it first"),
        (("--to", "html", "--prime", "Ω"), "--prime: 1 character is not in the vocabulary"),
        (("--to", "html", "--prime", "@missing.txt"), "--prime @missing.txt"),
        (("--to", "html", "--checkpoint", "newest"), "is not one of: best, last"),
        (("--to", "torch", "--out", __file__), "it is a file; --to torch writes a folder"),
    ],
)
def test_wrong_use_is_refused(charlstm, tiny_run, arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = charlstm("export", tiny_run, *arguments)
    assert result.code == 2
    assert message in " ".join(result.err.split())
    assert result.out == ""


def test_missing_run_is_named(charlstm, tmp_path):
    result = charlstm("export", tmp_path / "none", "--to", "html")
    assert result.code == 2
    assert "there is no such run or checkpoint" in result.err


def test_missing_package_is_one_line_with_the_command(charlstm, tiny_run, monkeypatch):
    monkeypatch.setattr(formats, "find_spec", lambda name: None if name == "onnx" else find_spec(name))
    result = charlstm("export", tiny_run, "--to", "onnx")
    assert result.code == 2
    assert result.err.strip().endswith("--to onnx needs the package onnx: pip install 'charlstm[onnx]'")


def test_wrong_use_is_refused_without_torch(tmp_path):
    script = (
        "import sys; sys.argv = ['charlstm', 'export', 'x', '--to', 'pdf']\n"
        "from charlstm.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: print(end.code, 'torch' in sys.modules, 'numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stdout.split() == ["2", "False", "False"]


def test_folder_of_the_disk_that_cannot_be_written_is_named(charlstm, run):
    (run / "export").write_text("in the way")
    result = charlstm("export", run, "--to", "html")
    assert result.code == 2
    assert "cannot write into" in result.err


@pytest.mark.skipif(sys.platform == "win32", reason="needs named pipes")
@pytest.mark.parametrize("to", ["html", "torch"])
def test_pipe_or_device_is_not_replaced(charlstm, run, tmp_path, to):
    pipe = tmp_path / "a pipe"
    os.mkfifo(pipe)
    result = charlstm("export", run, "--to", to, "--out", pipe, "--overwrite")
    assert result.code == 2
    assert "it is a pipe or a device" in result.err
    assert pipe.is_fifo()


@pytest.mark.parametrize("to", ["html", "torch", "hub"])
def test_weights_that_are_not_finite_are_refused(run, to):
    loaded = package.load(run, device="cpu")
    loaded.model.head.bias.data[1] = float("inf")
    with pytest.raises(package.UserError, match="some weights of this model are infinite or NaN"):
        package.export(loaded, to)
    assert not (run / "export").exists()


def test_prime_is_read_from_a_file(charlstm, run, tmp_path):
    (tmp_path / "start.txt").write_text("the cat", encoding="utf-8")
    assert charlstm("export", run, "--to", "html", "--prime", f"@{tmp_path / 'start.txt'}").code == 0
    assert '"prime":"the cat"' in (run / "export" / "tiny.html").read_text(encoding="utf-8")


def test_hub_folder_and_checkpoint_are_exported_too(charlstm, run, tmp_path):
    assert charlstm("export", run, "--to", "hub").code == 0
    hub = run / "export" / "tiny-hub"
    result = charlstm("export", hub, "--to", "html")
    assert result.code == 0, result.err
    assert (hub / "export" / "tiny-hub.html").exists()
    assert charlstm("sample", hub, "--length", "5").code == 0
    assert charlstm("export", run / "checkpoints" / "last.safetensors", "--to", "html").code == 0
    assert (run / "export" / "tiny.html").exists()


def test_export_from_python(run, tmp_path):
    loaded = package.load(run, device="cpu")
    exported = package.export(loaded)
    assert exported.path == run / "export" / "tiny.html"
    assert exported.cost is not None
    assert exported.bytes == exported.path.stat().st_size
    for given in (run, str(run)):
        assert package.export(given, "torch").path == package.export(loaded, "torch").path
    assert package.export(loaded, "torch", tmp_path / "t").files[0].parent == tmp_path / "t"
    with pytest.raises(package.UserError, match="replaces the files of an export in it"):
        package.export(loaded, "torch", tmp_path / "t")
    with pytest.raises(package.UserError, match="only in html"):
        package.export(loaded, "hub", prime="a")
    with pytest.raises(package.UserError, match="does not know all of its characters"):
        package.export(loaded, prime="\ud800")
    with pytest.raises(package.UserError, match="no such format"):
        package.export(loaded, "pdf")
