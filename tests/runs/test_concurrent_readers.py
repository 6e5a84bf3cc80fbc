"""A reader concurrent with a save gets the newest checkpoint, whatever the timing."""

from __future__ import annotations

import itertools

import pytest
import torch

from charlstm.checkpoints import format
from charlstm.checkpoints.format import pack
from charlstm.checkpoints.store import CheckpointStore

RENAMES = 3  # of a save: last -> moving, new -> last, moving -> previous


def content(step):
    return b"".join(pack({"model.weight": torch.full((5,), float(step))}, {"counters": {"step": step}}))


@pytest.mark.parametrize("saves", [1, 2])
def test_reader_gets_newest_checkpoint_during_a_save(saves, tmp_path, monkeypatch):
    """The renames of the next save happen before, between and after the reader opens files, in all orders."""
    for number, slots in enumerate(itertools.combinations_with_replacement(range(5), RENAMES)):
        store = CheckpointStore(tmp_path / str(number))
        store.folder.mkdir()
        for step, path in zip(range(saves, 0, -1), (store.last, store.previous), strict=False):
            path.write_bytes(content(step))
        new = store.folder / "new"
        new.write_bytes(content(saves + 1))
        renames = iter(
            zip(slots, ((store.last, store.moving), (new, store.last), (store.moving, store.previous)), strict=True)
        )
        opened, waiting = itertools.count(), [next(renames)]
        open_regular = format.open_regular

        def rename_and_open(path, opened=opened, waiting=waiting, renames=renames, open_regular=open_regular):
            turn = next(opened)
            while waiting and waiting[0][0] <= turn:
                source, target = waiting.pop()[1]
                source.replace(target)
                waiting.extend(itertools.islice(renames, 1))
            return open_regular(path)

        with monkeypatch.context() as patch:
            patch.setattr(format, "open_regular", rename_and_open)
            loaded = store.newest()
        assert loaded.header["counters"]["step"] >= saves
        assert loaded.damaged == []
