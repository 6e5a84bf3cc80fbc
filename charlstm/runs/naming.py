"""Names of runs."""

from __future__ import annotations

import re
from collections.abc import Sequence

from charlstm.paths import expand_home

COMPRESSED = (".gz", ".bz2", ".xz")
MAX_LENGTH = 60


def run_name(sources: Sequence[str]) -> str:
    """The name of a run on texts: that of the first one, without its suffix, as the name of a folder."""
    path = expand_home(sources[0])
    path = path.with_suffix("") if path.suffix.lower() in COMPRESSED else path
    plain = re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff/\\:*?\"<>|\[\]]+", "-", path.stem)
    return plain.strip().lstrip(".-").strip()[:MAX_LENGTH].rstrip() or "text"
