"""What ``import charlstm`` gives."""

from __future__ import annotations

import subprocess
import sys

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
