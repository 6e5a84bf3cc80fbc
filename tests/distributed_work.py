"""What each of the processes does that test_distributed.py starts: runs, and what it hears from the others."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch

from charlstm.config import parse_config
from charlstm.distributed import ProcessGroup
from charlstm.errors import UserError
from charlstm.runs.directory import RunDirectory
from charlstm.runs.read_only import ReadOnlyRunDirectory
from charlstm.text.corpus import load_corpus
from charlstm.training.events import Progress
from charlstm.training.trainer import Trainer


def train(group: ProcessGroup, path: Path, settings: dict[str, Any], stops: list[int]) -> list[str]:
    """Train a run to its end, or to the last of the stops if that is negative; what was told at the end."""
    config = parse_config(settings, "test")
    corpus = load_corpus(**config.corpus.model_dump())
    told = []
    for number, place in enumerate([*stops, 0] if not stops or stops[-1] > 0 else stops):
        directory = (RunDirectory if group.first else ReadOnlyRunDirectory)(path)
        trainer = Trainer(config, corpus, directory, group)
        if number:
            told += trainer.resume()
        else:
            directory.create(config)
        for event in trainer.run():
            # asked of one process alone
            if isinstance(event, Progress) and event.step == abs(place) and group.rank == group.size - 1:
                trainer.request_stop()
        group.barrier()  # the first one still writes when the others have come to the end
    return told


def messages(group: ProcessGroup) -> dict[str, Any]:
    """What comes of each of the group's methods."""
    found: dict[str, Any] = {
        "most": group.all_reduce_max(group.rank, -group.rank, 0.5),
        "summed": group.all_reduce_sum(torch.tensor([1.0, group.rank])).tolist(),
        "first": group.broadcast_from_rank0(lambda: ["é\ud800", 0.1, float("inf"), None, group.rank]),
        "gathered": [part.tolist() for part in group.gather((torch.full((1, 2, 1), float(group.rank)),))],
    }

    def problem(of: list[int]) -> str | None:
        try:
            with group.sync_errors(), group.sync_errors():
                if group.rank in of:
                    raise UserError(f"of {group.rank}")
        except UserError as error:
            return f"{type(error).__name__} {error}"
        return None

    found["problems"] = [problem(of) for of in ([], [0], [1], [0, 1])]
    try:
        group.assert_equal_across_ranks(1, "never")
        group.assert_equal_across_ranks(group.rank, "differs")
    except UserError as error:
        found["same"] = str(error)
    return found


def main() -> None:
    torch.set_num_threads(1)
    folder, group = Path(sys.argv[1]), ProcessGroup.from_environment()
    with group.joined():
        found = {"messages": messages(group), "told": {}}
        for name, (settings, stops) in json.loads((folder / "cases.json").read_text()).items():
            found["told"][name] = train(group, folder / name, settings, stops)
    (folder / f"found-{group.rank}.json").write_text(json.dumps(found))
    threads = [(task / "comm").read_text() for task in Path("/proc/self/task").glob("*")]
    assert not any("gloo" in name for name in threads)  # one that outlives the interpreter now and then aborts it


if __name__ == "__main__":
    main()
