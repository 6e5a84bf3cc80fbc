"""Untrusted files: they cannot run code, hang the program, or send control characters to the terminal."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from charlstm import cli, console
from charlstm.config import load_comparison
from charlstm.errors import UserError
from charlstm.files import open_regular
from charlstm.progress_line import ProgressLine
from charlstm.text.corpus import load_corpus

CONFIG = """\
corpus: {source: tiny.txt}
model: {hidden_size: 4, executor: eager}
training: {budget: {steps: 1}, sample_length: 9, device: cpu}
"""
LOUD = "a\x1b[2Jb\x9b31mc\u202ed\x07e\u2028f"
UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028]")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    (folder / "tiny.txt").write_text(text)
    (folder / "run.yaml").write_text(CONFIG)
    return folder


@pytest.fixture
def charlstm(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str]]:
    """Runs a command and returns its exit code and its output."""

    def run(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["charlstm", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as exited:
            cli.main()
        captured = capsys.readouterr()
        return int(exited.value.code or 0), captured.out + captured.err

    return run


KINDS = {
    "pipe": "this is a pipe",
    "socket": "this is a socket",
    "folder": "this is a folder",
    "broken": "this is a link to nowhere, which does not exist",
    "loop": "cannot be read: Too many levels of symbolic links",
    "/dev/zero": "this is a device",
    "/dev/random": "this is a device",
    "/dev/null": "this is a device",
    "n" * 300: "cannot be read: File name too long",
}


@pytest.fixture
def kinds(folder: Path) -> Iterator[None]:
    os.mkfifo("pipe")
    with socket.socket(socket.AF_UNIX) as endpoint:
        endpoint.bind("socket")
        Path("folder").mkdir()
        Path("broken").symlink_to("nowhere")
        Path("loop").symlink_to("loop")
        yield


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("use", ["corpus", "config", "evaluate", "override"])
def test_special_files_give_an_error_at_once(name, use, kinds, charlstm, tiny_run):
    begin = time.monotonic()
    arguments = {
        "config": ("train", name),
        "override": ("train", "run.yaml", "--set", f"corpus.source={name}"),
        "evaluate": ("evaluate", tiny_run, "--text", name),
    }
    if use == "corpus":
        Path("run.yaml").write_text(CONFIG.replace("tiny.txt", f"[tiny.txt, {name}]"))
    if (use, name) == ("config", "folder"):
        return  # a run's folder without --resume: another message
    code, output = charlstm(*arguments.get(use, ("train", "run.yaml")))
    assert time.monotonic() - begin < 5
    assert code == 2
    assert KINDS[name] in output
    assert len(output.splitlines()) == 1
    assert not Path("runs").exists()


def test_opening_a_pipe_instead_of_a_file_does_not_block(monkeypatch):
    os.mkfifo("pipe")
    monkeypatch.setattr("charlstm.files.regular_size", lambda _path: 1)
    with pytest.raises(UserError, match="pipe: this is a pipe"):
        open_regular(Path("pipe"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_file_is_an_error(charlstm):
    for name in ("tiny.txt", "run.yaml"):
        Path(name).chmod(0)
        code, output = charlstm("train", "run.yaml")
        assert (code, len(output.splitlines())) == (2, 1)
        assert "Permission denied" in output
        Path(name).chmod(0o600)


def test_permission_error_on_open_is_an_error(charlstm, monkeypatch):
    """As above, but also for root."""
    genuine = os.open

    def refuse(path: object, *rest: int, **more: int) -> int:
        if str(path).endswith("tiny.txt"):
            raise PermissionError(13, "Permission denied", str(path))
        return genuine(path, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", refuse)
    code, output = charlstm("train", "run.yaml")
    assert (code, len(output.splitlines())) == (2, 1)
    assert re.search(r"tiny\.txt' cannot be read: Permission denied", output)


LAUGHS = "a: &a [x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True))
HOSTILE = {
    "tag": ("corpus: {source: !!python/object/apply:os.system ['touch pwned']}", "is a YAML tag"),
    "new": ("!!python/object/new:os.system ['touch pwned']", "1: expected sections"),
    "module": ("corpus: !!python/module:antigravity ''", "is a YAML tag"),
    "laughs": (LAUGHS, "YAML alias"),
    "quadratic": ("a: &a " + "x" * 9999 + "\nb: [" + "*a, " * 20000 + "]", "YAML alias"),
    "self": ("a: &a [*a]", "YAML anchor"),
    "merge": ("base: &b {x: 1}\ncorpus: {<<: *b, source: tiny.txt}", "YAML alias"),
    "plain merge": ("corpus: {<<: {source: tiny.txt}}", "1: corpus.<<: unknown field"),
    "deep list": ("corpus: " + "[" * 100_000, "nested more than 20 deep"),
    "deep mapping": ("corpus: " + "{a: " * 60_000, "nested more than 20 deep"),
    "deep block": ("\n".join(" " * k + "a:" for k in range(900)), "nested more than 20 deep"),
    "huge scalar": ("corpus: {source: " + "x" * 200_000 + "}", "not a text of 200,0"),
    "huge number": (
        "corpus: {source: tiny.txt}\ntraining: {seed: " + "9" * 100_000 + "}",
        "2: training.seed: expected",
    ),
    "huge float": ("corpus: {source: tiny.txt}\ntraining: {learning_rate: 1e999999999}", "2: training.learning_rate"),
    "huge key": ("x" * 200_000 + ": 1", "1: not valid YAML"),
    "many keys": ("\n".join(f"k{i}: 1" for i in range(12_000)), "unknown field"),
    "huge file": ("#" * (1 << 20) + "\n", "longer than 1048576 bytes"),
    "twice": ("corpus: {source: a}\ncorpus: {source: b}", "2: corpus: duplicate key, first on line 1"),
    "binary": ("corpus: {source: !!binary aGVsbG8=}", "is a YAML tag"),
    "directive": ("%TAG ! tag:yaml.org,2002:python/\n---\ncorpus: {source: !name:os.system x}", "is a YAML tag"),
    "NUL": ("corpus: {source: a\0b}", "U+0000 is not allowed"),
    "number as key": ("? [1, 2]\n: 3", "a key must be plain text"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_yaml_is_an_error(case, charlstm):
    content, expected = HOSTILE[case]
    Path("run.yaml").write_text(content)
    begin = time.monotonic()
    code, output = charlstm("train", "run.yaml")
    assert code == 2
    assert expected in output
    assert len(output.splitlines()) <= 41
    assert all(len(line) < 1000 for line in output.splitlines())
    assert time.monotonic() - begin < 5
    assert not Path("pwned").exists()
    with pytest.raises(UserError):
        load_comparison(Path("run.yaml"))


def test_messages_contain_no_control_characters(charlstm, tiny_run):
    name = LOUD.replace("\x07", "")
    loud = Path(f"{name}.yaml")
    loud.write_text(CONFIG)
    Path(f"{name}.txt").write_text("abba" * 50)
    Path(f"{name}.bad").write_bytes(b"\xff\xfe")
    Path("same.txt").write_text("\x1b" * 50)
    Path("odd.txt").write_text("the \x1b\x9b\u202e cat")
    results = [
        charlstm("train", loud),
        charlstm("train", "run.yaml", "--set", f'corpus.source="{name}.bad"'),
        charlstm("train", f"{name}.nothing"),
        charlstm("train", "run.yaml", "--set", "corpus.source=same.txt"),
        charlstm("train", "run.yaml", "--set", f"{LOUD}=1"),
        charlstm("train", "run.yaml", "--set", f"corpus.source={LOUD}"),
        charlstm("train", "run.yaml", "--name", LOUD),
        charlstm("sample", LOUD),
        charlstm("sample", tiny_run, "--prime", LOUD),
        charlstm("evaluate", tiny_run, "--text", "odd.txt"),
        charlstm("evaluate", tiny_run, "--text", f"{name}.bad"),
        charlstm("compare", LOUD),
    ]
    for code, text in results:
        assert code == 2, text
        assert not UNSAFE.search(text), repr(text)
    assert "\\x1b[2J" in results[0][1]


def test_file_names_are_escaped_in_tables_and_lines(capsys):
    console.table([["name", LOUD], [LOUD, "1"]], LOUD)
    console.note(LOUD)
    console.error(LOUD)
    with ProgressLine(LOUD) as line:
        line.update(0.1, lambda: "x")
    captured = capsys.readouterr()
    assert not UNSAFE.search(captured.err)
    assert captured.err.count("a\\x1b[2Jb\\x9b31mc\\u202ed\\x07e\\u2028f") == 2
    assert not UNSAFE.search(captured.out)
    assert "a\\x1b[2J" in captured.out


def test_unencodable_characters_are_escaped(monkeypatch, tmp_path):
    """File names that are not UTF-8, on a terminal with ASCII encoding."""
    with (tmp_path / "out").open("w", encoding="ascii") as file:
        monkeypatch.setattr(sys, "stdout", file)
        console.out("\udcff é 名")
    assert (tmp_path / "out").read_text() == "\\udcff \\xe9 \\u540d\n"


def test_report_escapes_html_in_text(make_config, make_trainer, tmp_path):
    from charlstm.comparison.collect import compare_runs
    from charlstm.comparison.report import write_report

    path = tmp_path / "<script>alert(1)</script>"
    Path("evil.txt").write_text("<script>alert('x')</script>&\x1b[2J" * 40)
    config = make_config(corpus={"source": str(Path("evil.txt").absolute())}, budget={"steps": 6}, sample_length=300)
    trainer = make_trainer(config, path, load_corpus("evil.txt"))
    list(trainer.run())
    (path / "samples.txt").write_text("<script>alert(2)</script>\x1b[2J")
    pages = [file.read_text() for file in write_report(compare_runs([path]), path / "report") if file.suffix == ".html"]
    assert pages
    for page in pages:
        assert "<script>alert" not in page
        assert "\x1b" not in page


AUDIT = """
import json, os, sys
from pathlib import Path

folders, commands = json.loads(sys.argv[1])
violations, codes = [], []
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
MOVES = {f"os.{name}" for name in "rename remove mkdir rmdir link symlink truncate chmod utime".split()}
STARTS = {"subprocess.Popen", "pty.spawn", *(f"os.{name}" for name in "system exec posix_spawn spawn forkpty".split())}

def inside(path, folder=-1):
    if folder >= 0:  # a path relative to an open folder, as in shutil.rmtree
        path = os.path.join(os.readlink(f"/proc/self/fd/{folder}"), os.fsdecode(path))
    if isinstance(path, int) or path == "/dev/null":
        return True
    return any(Path(os.path.abspath(os.fsdecode(path))).is_relative_to(folder) for folder in folders)

def called_by(package):
    frame = sys._getframe(2)
    while frame is not None and f"/{package}/" not in frame.f_code.co_filename:
        frame = frame.f_back
    return frame is not None

def watch(event, details):
    if event == "open":
        path, mode, flags = details
        bad = (flags or 0) & WRITES and not inside(path)
    elif event in MOVES:
        paths = [part for part in details if isinstance(part, (str, bytes, os.PathLike))]
        folder = details[-1] if isinstance(details[-1], int) else -1
        bad = not all(inside(path, folder) for path in paths)
    elif event in STARTS:
        program = os.path.basename(os.fsdecode(details[0])) if isinstance(details[0], (str, bytes)) else ""
        bad = program not in ("c++", "g++", "clang++", "ldconfig")  # torch looks for libraries
    else:
        bad = event.startswith(("socket.__new__", "socket.connect", "socket.bind", "socket.getaddrinfo", "urllib."))
    if bad and not called_by("filelock"):  # an older one tries hard links in the temporary folder
        violations.append([len(codes), event, repr(details)[:300]])

sys.addaudithook(watch)
from charlstm import cli
for command in commands:
    sys.argv = ["charlstm", *command]
    try:
        cli.main()
    except SystemExit as exited:
        codes.append(exited.code or 0)
sys.stdout.flush()
print("\\n" + json.dumps([codes, violations]))
"""


def audited(folders: list[Path], commands: list[list[str]]) -> tuple[list[int], list[tuple[int, str, str]]]:
    """The exit codes, and the actions outside of the folders."""
    argument = json.dumps([[str(folder) for folder in folders], commands])
    completed = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", AUDIT, argument],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "CHARLSTM_CACHE": str(folders[0])},
    )
    codes, violations = json.loads(completed.stdout.splitlines()[-1])
    return codes, violations


def test_commands_write_only_to_their_folders(tmp_path, tiny_run):
    cache, runs = Path(os.environ["CHARLSTM_CACHE"]), tmp_path / "runs"
    Path("auto.yaml").write_text(CONFIG.replace("eager", "auto"))
    commands = [
        ["train", "run.yaml", "--dry-run"],
        ["sample", str(tiny_run), "--length", "20", "--seed", "1"],
        ["sample", str(tiny_run), "--length", "20", "--seed", "1", "--stream"],
        ["evaluate", str(tiny_run)],
        ["evaluate", str(tiny_run), "--text", "tiny.txt"],
        ["train", "auto.yaml", "--runs", str(runs)],
        ["train", "run.yaml", "--runs", "elsewhere"],
    ]
    codes, violations = audited([cache, runs], commands)
    assert codes == [0] * len(commands)
    libraries = ("torchinductor_", "matplotlib")  # folders that torch and matplotlib create
    assert [act for act in violations if act[0] < 6 and not any(name in act[2] for name in libraries)] == []
    assert {number for number, *_ in violations} <= {0, 5, 6}, "sampling and scoring must not write at all"
    events = {event for number, event, _ in violations if number == 6}
    assert {"open", "os.mkdir", "os.rename"} <= events, "the hook sees no events"
