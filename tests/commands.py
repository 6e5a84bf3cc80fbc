"""Runs a command of charlstm in this process."""

from __future__ import annotations

import sys

import pytest

from charlstm import cli


def call(arguments: tuple[object, ...]) -> int:
    """The exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["charlstm", *map(str, arguments)])
        with pytest.raises(SystemExit) as exited:
            cli.main()
    assert exited.value.code is None or isinstance(exited.value.code, int)
    return exited.value.code or 0
