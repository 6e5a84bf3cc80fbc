"""Whether repetitions of experiments on memory, with other seeds, come to the same verdicts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from charlstm.config.memory import SEARCH_OFFSET
from charlstm.errors import UserError
from charlstm.files import MissingError, read_regular
from charlstm.memory.claims import CLAIMS
from charlstm.paths import path_exists
from charlstm.report.document import VerdictWord

REPORT_LIMIT = 1 << 28

Agreement = Literal["agree", "all undecided", "some undecided", "contradict", "not judged in all"]

MAY_DIFFER = ("name", "seeds", "first_seed", "revised", "quick")
"""Fields of the configuration in which a repetition may differ."""


class _Verdict(BaseModel):
    claim: str
    criterion: str
    measured: str
    interval: str
    reason: str = ""
    verdict: VerdictWord


class _Config(BaseModel):
    """The configuration of a comparison; its other fields are kept as they are."""

    model_config = ConfigDict(strict=True, extra="allow")

    seeds: int
    first_seed: int = 1
    search_seeds: int = 0

    def judged_seeds(self) -> range:
        return range(self.first_seed, self.first_seed + self.seeds)

    def seeds_of_search(self) -> range:
        first = self.first_seed + SEARCH_OFFSET
        return range(first, first + self.search_seeds)


class _Report(BaseModel):
    verdicts: list[_Verdict]
    config: _Config


def is_memory_comparison(folder: Path) -> bool:
    """Whether the folder is that of experiments on memory: it has the file of claims."""
    return path_exists(folder / CLAIMS)


def agreement_rows(folders: Sequence[Path]) -> list[list[str]]:
    """A header, and one row per claim: the claim with its criterion, the measured value and verdict in each folder, and
    whether the verdicts agree.

    Raises UserError if a folder has no report, or an unreadable one; if seeds with which one was judged judged or
    searched another; and if their configurations differ in more than `MAY_DIFFER`.
    """
    reports = [_read(folder) for folder in folders]
    for (folder, report), (other, another) in combinations(zip(folders, reports, strict=True), 2):
        _check_repetition(f"{folder} and {other}", report.config, another.config)
    by_claim = [{(one.claim, one.criterion): one for one in report.verdicts} for report in reports]
    rows = [["claim", *(str(folder) for folder in folders), "verdicts"]]
    for claim, criterion in dict.fromkeys(key for verdicts in by_claim for key in verdicts):
        found = [verdicts.get((claim, criterion)) for verdicts in by_claim]
        cells = ["–" if one is None else _cell(one) for one in found]
        rows.append(
            [f"{claim} ({criterion})", *cells, agreement(["not run" if one is None else one.verdict for one in found])]
        )
    return rows


def agreement(words: Sequence[VerdictWord]) -> Agreement:
    """Whether verdicts on one claim agree: undecided ones contradict none."""
    if any(word in ("not run", "needs the full run") for word in words):
        return "not judged in all"
    decided = {word for word in words if word != "undecided"}
    if len(decided) > 1:
        return "contradict"
    if not decided:
        return "all undecided"
    return "some undecided" if "undecided" in words else "agree"


def summary(rows: Sequence[Sequence[str]]) -> str:
    """``Of 25 claims: 16 agree, 1 all undecided, 3 some undecided, 0 contradict, 5 not judged in all. ...``"""
    counts = Counter(row[-1] for row in rows[1:])
    return (
        f"Of {len(rows) - 1} claims: {', '.join(f'{counts[word]} {word}' for word in get_args(Agreement))}. In "
        "brackets: one-sided 95% bounds."
    )


def _check_repetition(folders: str, first: _Config, second: _Config) -> None:
    repeat = "repeat one with --set first_seed=... --name ..."
    if _overlap(first.judged_seeds(), second.judged_seeds()):
        raise UserError(f"{folders} were judged with the same seeds: {repeat}")
    for one, other in ((first, second), (second, first)):
        if _overlap(one.judged_seeds(), other.seeds_of_search()):
            raise UserError(
                f"{folders}: seeds with which one was judged selected the learning rates of the other, so they are not "
                f"independent: {repeat}"
            )
    fields, others = first.model_dump(), second.model_dump()
    differing = [key for key in {**fields, **others} if key not in MAY_DIFFER and fields.get(key) != others.get(key)]
    if differing:
        raise UserError(f"{folders} are not repetitions: they differ in {', '.join(differing)}")


def _overlap(one: range, other: range) -> bool:
    return max(one.start, other.start) < min(one.stop, other.stop)


def _cell(verdict: _Verdict) -> str:
    bounds = verdict.interval or verdict.reason
    bounds = f" ({bounds})" if bounds else ""
    return f"{verdict.verdict}: {verdict.measured}{bounds}" if verdict.measured else verdict.verdict


def _read(folder: Path) -> _Report:
    file = folder / "report" / "report.json"
    try:
        return _Report.model_validate_json(read_regular(file, REPORT_LIMIT))
    except MissingError:
        raise UserError(f"{folder} has no report yet: finish it first, with the command that began it") from None
    except ValidationError:
        raise UserError(
            f"{file}: not the report of experiments on memory. Write it again, with the command that made it"
        ) from None
