"""Whether repetitions of a comparison of memories, with other seeds, come to the same verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ValidationError

from charlstm.errors import UserError
from charlstm.files import MissingError, read_regular
from charlstm.memory.claims import CLAIMS
from charlstm.paths import path_exists
from charlstm.report.document import VerdictWord

REPORT_LIMIT = 1 << 28

Agreement = Literal["agree", "one undecided", "contradict", "not judged in all"]


class _Verdict(BaseModel):
    claim: str
    criterion: str
    measured: str
    interval: str
    verdict: VerdictWord


class _Report(BaseModel):
    verdicts: list[_Verdict]


def is_memory_comparison(folder: Path) -> bool:
    """Whether the folder is that of a comparison of memories: it has the file of claims."""
    return path_exists(folder / CLAIMS)


def agreement_rows(folders: Sequence[Path]) -> list[list[str]]:
    """A header, and one row per claim of the first folder: the claim with its criterion, the measured value and verdict
    in each folder, and whether the verdicts agree.

    Raises UserError if a folder has no report, or an unreadable one.
    """
    reports = [_read(folder) for folder in folders]
    by_claim = [{(one.claim, one.criterion): one for one in report.verdicts} for report in reports]
    rows = [["claim", *(str(folder) for folder in folders), "verdicts"]]
    for claim, criterion in by_claim[0]:
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
    return "agree" if len(set(words)) == 1 else "one undecided"


def summary(rows: Sequence[Sequence[str]]) -> str:
    """``Of 20 claims that were judged in all, 16 agree, 4 have one verdict undecided, 0 contradict.``"""
    words = [row[-1] for row in rows[1:]]
    agree, undecided, contradict = (words.count(word) for word in ("agree", "one undecided", "contradict"))
    judged = agree + undecided + contradict
    return (
        f"Of {judged} claims that were judged in all, {agree} agree, {undecided} are undecided in some, and "
        f"{contradict} contradict."
    )


def _cell(verdict: _Verdict) -> str:
    interval = f" ({verdict.interval})" if verdict.interval else ""
    return f"{verdict.verdict}: {verdict.measured}{interval}" if verdict.measured else verdict.verdict


def _read(folder: Path) -> _Report:
    file = folder / "report" / "report.json"
    try:
        return _Report.model_validate_json(read_regular(file, REPORT_LIMIT))
    except MissingError:
        raise UserError(
            f"{folder} has no report yet: finish this comparison first, with the command that began it"
        ) from None
    except ValidationError:
        raise UserError(
            f"{file}: not the report of a comparison of memories: write it again, with its command"
        ) from None
