"""Simulated Windows and macOS: what these systems lack is removed before charlstm is imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

PROGRAM = """
import importlib, os, pathlib, pkgutil, platform, signal, subprocess, sys, tempfile, types
import filelock, jinja2, matplotlib.figure, pydantic, rich.table, safetensors.torch, torch, tqdm, typer, yaml
import matplotlib.backends.backend_agg

ONLY_LINUX = {os: "memfd_create eventfd setns unshare getxattr setxattr posix_fadvise posix_fallocate "
                  "sched_getaffinity sched_setaffinity O_PATH O_LARGEFILE copy_file_range "
                  "fdatasync pipe2 pidfd_open splice"}
ONLY_POSIX = {
    os: "fork forkpty getuid geteuid getgid getegid getgroups getpgid getpgrp setpgid setsid getsid killpg wait wait3 "
        "wait4 waitid pread pwrite preadv pwritev readv writev sched_yield sync chown fchown lchown chroot fchmod "
        "fchdir mkfifo mknod uname sysconf confstr getloadavg nice getpriority O_NOFOLLOW O_DIRECTORY "
        "O_NONBLOCK O_CLOEXEC O_SYNC O_DSYNC O_NOCTTY openpty ttyname ctermid tcgetpgrp lockf sendfile WNOHANG "
        "register_at_fork pathconf fpathconf posix_spawn posix_spawnp WIFEXITED initgroups setuid setgid",
    signal: "SIGHUP SIGUSR1 SIGUSR2 SIGPIPE SIGALRM SIGKILL SIGSTOP SIGTSTP SIGCONT SIGQUIT SIGCHLD SIGWINCH SIGXCPU "
            "SIGXFSZ SIGTTIN SIGTTOU SIGIO SIGBUS SIGSYS SIGTRAP SIGURG alarm setitimer getitimer pause pthread_kill "
            "pthread_sigmask sigwait sigpending siginterrupt",
}
MODULES = "fcntl resource pwd grp termios tty pty syslog readline curses spwd crypt nis"

system = sys.argv[1]
missing = [ONLY_LINUX] if system == "Darwin" else [ONLY_LINUX, ONLY_POSIX]
for module, names in ((m, n) for kind in missing for m, n in kind.items()):
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)
if system == "Windows":
    for name in MODULES.split():
        sys.modules[name] = None
platform.system = lambda: system
read_bytes, read_text = pathlib.Path.read_bytes, pathlib.Path.read_text

def without_system_files(read):
    def read_checked(path, *args, **options):
        if str(path).startswith(("/proc/", "/sys/", "/dev/")):
            raise FileNotFoundError(2, "No such file or directory", str(path))
        return read(path, *args, **options)
    return read_checked

pathlib.Path.read_bytes, pathlib.Path.read_text = without_system_files(read_bytes), without_system_files(read_text)

import charlstm
for module in pkgutil.walk_packages(charlstm.__path__, "charlstm."):
    if not module.name.endswith("__main__") and ".triton" not in module.name:
        importlib.import_module(module.name)
from charlstm.cli import main

def run(line):
    sys.argv = ["charlstm", *line.split()]
    try:
        main()
    except SystemExit as exited:
        print(line, "->", exited.code or 0, file=sys.stderr)

for line in sys.stdin.read().splitlines():
    run(line)
"""

COMMANDS = """\
--help
config
train t.yaml --dry-run
train t.yaml
train runs/t --resume --set training.budget.steps=14
sample runs/t --length 5
train nothing.yaml"""

CONFIG = """\
corpus: {{source: {source}}}
model: {{hidden_size: 8}}
training:
  {{batch_size: 4, sequence_length: 20, evaluate_every: 6, sample_length: 5, device: cpu, budget: {{steps: 12}}}}
"""


@pytest.mark.parametrize("system", ["Windows", "Darwin"])
@pytest.mark.slow
def test_commands_work_on_other_systems(tmp_path: Path, corpus_file: Path, system: str) -> None:
    (tmp_path / "t.yaml").write_text(CONFIG.format(source=corpus_file), encoding="utf-8")
    completed = subprocess.run(
        [sys.executable, "-c", PROGRAM, system],
        input=COMMANDS,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=900,
        check=False,
    )
    exits = [line for line in completed.stderr.splitlines() if " -> " in line]
    *good, bad = COMMANDS.splitlines()
    assert exits == [*(f"{line} -> 0" for line in good), f"{bad} -> 2"], completed.stderr
