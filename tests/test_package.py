"""What ``import charlstm`` gives."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import charlstm


def test_dir_tells_what_there_is_without_loading_torch():
    check = (
        "import sys, charlstm; names = dir(charlstm); assert 'torch' not in sys.modules; "
        "assert names == sorted(charlstm.__all__), names; assert {'load', 'nn', 'UserError'} <= set(names); "
        "[getattr(charlstm, name) for name in names]; charlstm.nn.LSTM(2, 3)"
    )
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


def test_what_there_is_not_is_named():
    with pytest.raises(AttributeError, match="module 'charlstm' has no attribute 'lode'"):
        _ = charlstm.lode


def test_the_public_interface_is_one_module():
    from charlstm import api

    assert set(api.__all__) == set(charlstm.__all__) - {"__version__"}
    for name in api.__all__:
        assert getattr(charlstm, name) is getattr(api, name)
        assert f"``{name}``" in api.__doc__
    assert all(callable(getattr(charlstm.LoadedRun, name)) for name in ("generate", "infill", "score", "corpus"))


def test_type_checkers_are_told_of_the_types():
    assert Path(charlstm.__file__).with_name("py.typed").is_file()
