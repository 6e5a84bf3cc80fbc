"""The names of devices, checked in one place for configurations and for commands."""

from __future__ import annotations

import difflib
import re

from charlstm.config.wording import show

PATTERN = r"^(auto|cpu|cuda(:[0-9]{1,3})?|mps)$"
NAMES = "auto | cpu | cuda | cuda:N | mps"
_OTHER_NAMES = {"gpu": "cuda", "nvidia": "cuda", "rocm": "cuda", "hip": "cuda", "metal": "mps", "apple": "mps"}


def check_device_name(name: str) -> str:
    """The name, if it is one. Raises ValueError with the nearest one."""
    if re.fullmatch(PATTERN.strip("^$"), name):
        return name
    kind, _, number = name[:100].strip().lower().partition(":")
    known = [*_OTHER_NAMES, "auto", "cpu", "cuda", "mps"]
    nearest = next(iter(difflib.get_close_matches(kind, known, n=1)), "")
    nearest = _OTHER_NAMES.get(nearest, nearest)
    if nearest == "cuda" and re.fullmatch("[0-9]{1,3}", number):
        nearest += f":{number}"
    hint = f". Did you mean {nearest}?" if nearest else ""
    raise ValueError(f"expected {NAMES}, found {show(name)}{hint}")
