"""Labels: names that are shortened so that they fit into a plot and stay distinct."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from charlstm.text.visible import visible

MAX_LENGTH = 16
_PART = re.compile(r"[^-_/, ]+[-_/, ]*|[-_/, ]+")


def short(name: str, max_length: int = MAX_LENGTH) -> str:
    """Shorten a name for a label to its beginning and end."""
    name = _one_line(name)
    return name if len(name) <= max_length else f"{name[: max_length // 2]}…{name[-(max_length // 2 - 1) :]}"


def distinct(names: Iterable[str], max_length: int = MAX_LENGTH) -> dict[str, str]:
    """Shorten the names in one figure to distinct labels.

    If a name is too long, the parts with which all of them begin and end are left out. Labels that would be the same
    may have twice the length, and if that is not enough, a number.
    """
    given = list(dict.fromkeys(names))
    shown = [_one_line(name) for name in given]
    if any(len(name) > max_length for name in shown):
        shown = _without_common_parts(shown)
    lengths = range(max_length, 2 * max_length + 1)
    candidates = ([short(name, length) for name in shown] for length in lengths)
    labels = next((each for each in candidates if len(set(each)) == len(each)), None) or _numbered(shown, max_length)
    return dict(zip(given, labels, strict=True))


def _one_line(name: str) -> str:
    return visible(name).replace("\n", " ").replace("\t", " ")


def _without_common_parts(names: Sequence[str]) -> list[str]:
    """The names without the words with which all of them begin and end; at least one word of each is left."""
    words = [_PART.findall(name) for name in names]
    if len(words) < 2 or not all(words):
        return list(names)
    begin = min(len(_common(words)), min(map(len, words)) - 1)
    rest = [each[begin:] for each in words]
    end = min(len(_common([each[::-1] for each in rest])), min(map(len, rest)) - 1)
    return ["".join(each[: len(each) - end]).rstrip("-_/, ") or "".join(each) for each in rest]


def _common(lists: Sequence[list[str]]) -> list[str]:
    """The longest common beginning of the lists."""
    first, last = min(lists), max(lists)
    length = next((n for n, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    return first[:length]


def _numbered(names: Sequence[str], max_length: int) -> list[str]:
    labels = [short(name, max_length) for name in names]
    repeated = {label for label, count in Counter(labels).items() if count > 1}
    numbers = Counter[str]()
    for index, label in enumerate(labels):
        if label in repeated:
            numbers[label] += 1
            labels[index] = f"{label} #{numbers[label]}"
    return labels
