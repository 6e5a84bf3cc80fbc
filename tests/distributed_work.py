"""The work of each process that test_distributed.py starts: training runs and collective operations."""

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
    """Train a run to its end, or to the last of the stops if that is negative; returns the messages of resuming."""
    config = parse_config(settings, "test")
    corpus = load_corpus(**config.corpus.model_dump())
    messages = []
    for number, stop in enumerate([*stops, 0] if not stops or stops[-1] > 0 else stops):
        directory = (RunDirectory if group.is_rank0 else ReadOnlyRunDirectory)(path)
        trainer = Trainer(config, corpus, directory, group)
        if number:
            messages += trainer.resume()
        else:
            directory.create(config)
        for event in trainer.run():
            # requested of one process only
            if isinstance(event, Progress) and event.step == abs(stop) and group.rank == group.size - 1:
                trainer.request_stop()
        group.barrier()  # rank 0 still writes after the others have finished
    return messages


def collectives(group: ProcessGroup) -> dict[str, Any]:
    """The results of the methods of the group."""
    results: dict[str, Any] = {
        "max": group.all_reduce_max(group.rank, -group.rank, 0.5),
        "sum": group.all_reduce_sum(torch.tensor([1.0, group.rank])).tolist(),
        "broadcast": group.broadcast_from_rank0(lambda: ["é\ud800", 0.1, float("inf"), None, group.rank]),
        "gather": [part.tolist() for part in group.gather((torch.full((1, 2, 1), float(group.rank)),))],
    }

    def error_message(failing: list[int]) -> str | None:
        try:
            with group.sync_errors(), group.sync_errors():
                if group.rank in failing:
                    raise UserError(f"of {group.rank}")
        except UserError as error:
            return f"{type(error).__name__} {error}"
        return None

    results["errors"] = [error_message(failing) for failing in ([], [0], [1], [0, 1])]
    try:
        group.assert_equal_across_ranks(1, "never")
        group.assert_equal_across_ranks(group.rank, "differs")
    except UserError as error:
        results["not equal"] = str(error)
    return results


def main() -> None:
    torch.set_num_threads(1)
    folder, group = Path(sys.argv[1]), ProcessGroup.from_environment()
    with group.connect():
        results = {"collectives": collectives(group), "messages": {}}
        for name, (settings, stops) in json.loads((folder / "cases.json").read_text()).items():
            results["messages"][name] = train(group, folder / name, settings, stops)
    (folder / f"results-{group.rank}.json").write_text(json.dumps(results))
    threads = [(task / "comm").read_text() for task in Path("/proc/self/task").glob("*")]
    assert not any("gloo" in name for name in threads)  # a thread that outlives the interpreter may abort it


if __name__ == "__main__":
    main()
