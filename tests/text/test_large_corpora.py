"""Large corpora: memory, speed, and encoding that is killed, concurrent, or runs out of disk space."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from charlstm.errors import UserError
from charlstm.text import reading
from charlstm.text.corpus import Corpus, load_corpus
from charlstm.text.streams import Streams

LOAD = "import sys; from charlstm.text.corpus import load_corpus; print(load_corpus(sys.argv[1]).ids.size)"
SLOW = "import time; from charlstm.text import reading; reading.PIECE = 64; codes = reading._codes\n" + (
    "def slowly(text):\n    time.sleep(0.002)\n    return codes(text)\nreading._codes = slowly\n"
)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("CHARLSTM_CACHE", str(folder))
    monkeypatch.chdir(tmp_path)
    return folder / "ids"


def start(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def text_of(corpus: Corpus) -> str:
    return corpus.vocabulary.decode(corpus.ids)


def wait_for_part(folder: Path, process: subprocess.Popen[str]) -> Path:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        assert process.poll() is None, process.communicate()
        if parts := list(folder.glob(".*.part")):
            return parts[0]
        time.sleep(0.005)
    raise AssertionError("no temporary file was created")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_file_of_a_killed_process_is_ignored_and_removed(cache: Path, number: signal.Signals) -> None:
    Path("a.txt").write_text("hello there\n" * 2000)
    with start(SLOW + LOAD, "a.txt") as process:
        wait_for_part(cache, process)
        process.send_signal(number)
        process.wait()
    assert [path.suffix for path in cache.iterdir()] == [".part"]
    Path("b.txt").write_text("another text\n")
    load_corpus("b.txt")
    assert sorted(path.suffix for path in cache.iterdir()) == [".ids", ".json"]
    assert text_of(load_corpus("a.txt")) == "hello there\n" * 2000


def test_two_concurrent_processes_agree(cache: Path) -> None:
    """The second process starts while the first is writing, and does not touch its file."""
    content = "hello there\n" * 4000
    Path("a.txt").write_text(content)
    with start(SLOW + LOAD, "a.txt") as first:
        part = wait_for_part(cache, first)
        with start(LOAD, "a.txt") as second:
            out, err = second.communicate(timeout=60)
            assert (out, err) == (f"{len(content)}\n", "")
        assert first.poll() is None
        assert part.exists()
        assert text_of(load_corpus("a.txt")) == content
        out, err = first.communicate(timeout=120)
        assert (out, err) == (f"{len(content)}\n", "")
    assert sorted(path.suffix for path in cache.iterdir()) == [".ids", ".json"]
    assert text_of(load_corpus("a.txt")) == content


def test_four_concurrent_processes_agree(cache: Path) -> None:
    Path("a.txt").write_text("hello there\n" * 50_000)
    processes = [start(LOAD, "a.txt") for _ in range(4)]
    for process in processes:
        assert process.communicate(timeout=60) == ("600000\n", "")
    assert len(list(cache.iterdir())) == 2


LIMITED = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))\n"
REPORTING = (
    "import sys\nfrom charlstm.errors import UserError\nfrom charlstm.text.corpus import load_corpus\n"
    "try:\n    load_corpus(sys.argv[1])\nexcept UserError as error:\n    print(error)"
)


def test_file_size_limit_is_an_error(cache: Path) -> None:
    Path("a.txt").write_text("hello there\n" * 50_000)
    with start(LIMITED + REPORTING, "a.txt") as process:
        out, err = process.communicate(timeout=60)
    assert err == ""
    assert out.startswith(f"cannot write to the cache: {cache}: File too large (600,000 bytes are needed, ")
    assert "Set CHARLSTM_CACHE" in out
    assert out.count("\n") == 1
    assert not list(cache.iterdir())


def test_too_little_disk_space_is_an_error_before_writing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 5})
    monkeypatch.setattr("shutil.disk_usage", lambda _path: usage)
    Path("a.txt").write_text("hello")
    load_corpus("a.txt")
    Path("a.txt").write_text("hello there")
    with pytest.raises(UserError, match=r"No space left on device \(11 bytes are needed, 5 are free\)"):
        load_corpus("a.txt")
    assert len(list(cache.iterdir())) == 2


def test_file_changed_between_runs_is_read_again() -> None:
    Path("a.txt").write_text("hello there")
    before = load_corpus("a.txt")
    stamp = Path("a.txt").stat()
    Path("a.txt").write_text("hello their")
    os.utime("a.txt", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    after = load_corpus("a.txt")
    assert (text_of(before), text_of(after)) == ("hello there", "hello their")
    assert before.digest != after.digest


def test_file_growing_while_read_is_an_error(cache: Path) -> None:
    Path("a.txt").write_text("hello there\n" * 2000)
    with start(SLOW + REPORTING, "a.txt") as process:
        wait_for_part(cache, process)
        with Path("a.txt").open("a") as file:
            file.write("more")
        out, err = process.communicate(timeout=60)
    assert (out, err) == ("a.txt changed while it was being read: try again when it is complete\n", "")
    assert not list(cache.iterdir())


def test_sixty_thousand_distinct_characters(tmp_path: Path) -> None:
    text = "".join(chr(0x10000 + k) for k in range(60_000)) + "abc\n" * 100_000
    Path("a.txt").write_text(text)
    corpus = load_corpus("a.txt")
    assert corpus.vocabulary.size == 60_004
    assert corpus.ids.dtype == np.uint16
    assert text_of(corpus) == text


@pytest.mark.parametrize("tail", ["", "é", "名"])
def test_ascii_and_other_pieces_in_one_long_line(tail: str) -> None:
    """Nothing depends on lines; ASCII pieces take a different code path."""
    pattern = "".join(map(chr, range(32, 127)))
    repeats = 50_000_000 // len(pattern) if not tail else 9_000
    text = pattern * repeats + tail + pattern[::-1] * 9_000
    Path("a.txt").write_text(text)
    corpus = load_corpus("a.txt")
    assert corpus.vocabulary.size == 95 + len(tail)
    assert text_of(corpus) == text


def test_ascii_text_with_two_byte_ids() -> None:
    text = "\1~" + "".join(map(chr, range(0x4E00, 0x4F00))) + "\n" + "a~\1" * 200_000
    Path("a.txt").write_text(text)
    corpus = load_corpus("a.txt")
    assert corpus.ids.dtype == np.uint16
    assert text_of(corpus) == text


def test_loading_is_fast() -> None:
    """Processor time on one core for an ASCII text; the test requires half of the usual speed."""
    Path("a.txt").write_text("the quick brown fox jumps over the lazy dog, 0123456789 times.\n" * 800_000)
    size = Path("a.txt").stat().st_size
    begin = time.process_time()
    load_corpus("a.txt")
    assert size / (time.process_time() - begin) > 50e6


def resident_file_pages() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("RssFile"))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc")
def test_reading_releases_memory_map_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charlstm.text.epochs.RELEASE_AFTER", 1 << 22)
    Path("a.txt").write_bytes(b"ab" * (1 << 25))
    streams = Streams(load_corpus("a.txt").split("train"), 2, 16, 1 << 14)
    before = peak = resident_file_pages()
    while streams.epoch == 0:
        streams.next_batch()
        peak = max(peak, resident_file_pages())
    assert peak - before < 32_000_000
    assert streams.characters > 60_000_000


def test_position_of_an_invalid_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "PIECE", 50)
    Path("a.txt").write_bytes(b"\xef\xbb\xbf" + "né\n".encode() * 100 + "xé".encode() * 40 + b"\xff")
    with pytest.raises(UserError, match=r"byte 0xFF at offset 523 \(line 101, column 81\)"):
        load_corpus("a.txt")
    Path("a.txt").write_bytes(b"\xef\xbb\xbfab\xff")
    with pytest.raises(UserError, match=r"offset 5 \(line 1, column 3\)"):
        load_corpus("a.txt")
    Path("a.txt").write_bytes("hello".encode("utf-16"))
    with pytest.raises(UserError, match=r"byte-order mark of utf-16\. .*encoding=utf-16, or"):
        load_corpus("a.txt")
