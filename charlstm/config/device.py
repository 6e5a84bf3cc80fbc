"""The check of device names, for configurations and commands."""

from __future__ import annotations

import difflib
import re

from charlstm.config.wording import format_value

PATTERN = r"^(auto|cpu|cuda(:[0-9]{1,3})?|mps)$"
NAMES = "auto | cpu | cuda | cuda:N | mps"
_SYNONYMS = {"gpu": "cuda", "nvidia": "cuda", "rocm": "cuda", "hip": "cuda", "metal": "mps", "apple": "mps"}


def check_device_name(name: str) -> str:
    """The name, if it is a device name. Raises ValueError that suggests the nearest one."""
    if re.fullmatch(PATTERN.strip("^$"), name):
        return name
    kind, _, number = name[:100].strip().lower().partition(":")
    known = [*_SYNONYMS, "auto", "cpu", "cuda", "mps"]
    nearest = next(iter(difflib.get_close_matches(kind, known, n=1)), "")
    nearest = _SYNONYMS.get(nearest, nearest)
    if nearest == "cuda" and re.fullmatch("[0-9]{1,3}", number):
        nearest += f":{number}"
    hint = f". Did you mean {nearest}?" if nearest else ""
    raise ValueError(f"expected {NAMES}, found {format_value(name)}{hint}")
