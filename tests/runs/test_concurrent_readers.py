"""A reader beside a run that saves: whatever moment it meets, it gets the newest checkpoint."""

from __future__ import annotations

import itertools

import pytest
import torch

from charlstm.checkpoints import format
from charlstm.checkpoints.format import pack
from charlstm.checkpoints.store import CheckpointStore

MOVES = 3  # of a save: last -> moving, new -> last, moving -> previous


def content(step):
    return b"".join(pack({"model.weight": torch.full((5,), float(step))}, {"counters": {"step": step}}))


@pytest.mark.parametrize("saves", [1, 2])
def test_reader_gets_newest_checkpoint_during_a_save(saves, tmp_path, monkeypatch):
    """The moves of the save after these are made before, between and after the reader's openings, in every way."""
    for number, slots in enumerate(itertools.combinations_with_replacement(range(5), MOVES)):
        store = CheckpointStore(tmp_path / str(number))
        kept.folder.mkdir()
        for step, path in zip(range(saves, 0, -1), (kept.last, kept.previous), strict=False):
            path.write_bytes(content(step))
        new = kept.folder / "new"
        new.write_bytes(content(saves + 1))
        moves = iter(
            zip(slots, ((kept.last, kept.moving), (new, kept.last), (kept.moving, kept.previous)), strict=True)
        )
        opened, waiting = itertools.count(), [next(moves)]
        open_regular = format.open_regular

        def opening(path, opened=opened, waiting=waiting, moves=moves, open_regular=open_regular):
            turn = next(opened)
            while waiting and waiting[0][0] <= turn:
                source, target = waiting.pop()[1]
                source.replace(target)
                waiting.extend(itertools.islice(moves, 1))
            return open_regular(path)

        with monkeypatch.context() as patch:
            patch.setattr(format, "open_regular", opening)
            found = kept.newest()
        assert found.header["counters"]["step"] >= saves
        assert found.damaged == []
