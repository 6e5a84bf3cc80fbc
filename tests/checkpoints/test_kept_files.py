"""Checkpoints to keep: which is loaded where one is damaged, or where all others are missing."""

from __future__ import annotations

import pytest
import torch

from charlstm.checkpoints.format import DamagedError
from charlstm.checkpoints.store import CheckpointStore
from charlstm.errors import UserError


@pytest.fixture
def store(tmp_path):
    """The checkpoints of steps 1 to 4, of which all but 3 are kept."""
    store = CheckpointStore(tmp_path / "checkpoints")
    for step in (1, 2, 3, 4):
        tensors = {"model.weight": torch.full((5,), float(step)), "random.cpu": torch.arange(9, dtype=torch.uint8)}
        store.save(tensors, {"counters": {"step": step}}, best=step == 2, keep=step != 3)
    return store


def test_later_checkpoints_to_keep_are_discarded(store):
    store.discard_after(2)
    assert list(store.kept) == [1, 2]


def damage(path, offset=-3):
    content = bytearray(path.read_bytes())
    if offset is not None:
        content[offset] ^= 1
    path.write_bytes(b"" if offset is None else content)


@pytest.mark.parametrize("offset", [-3, 0, 9, 60, None], ids=["tensors", "length", "brace", "header", "empty"])
def test_damaged_kept_checkpoint_is_named_where_its_step_is_asked_for(store, offset):
    for step in (1, 4):
        damage(store.kept[step], offset)
    with pytest.raises(DamagedError, match=r"step-00000001\.safetensors: damaged, or not a checkpoint: [^;]+$"):
        store.at_step(1)
    assert store.at_step(2).damaged == []
    loaded = store.at_step(4)
    assert (loaded.path, loaded.header["counters"]["step"]) == (store.last, 4)
    (line,) = loaded.damaged
    assert line.startswith(f"{store.kept[4]}: damaged")
    with pytest.raises(UserError, match=r"no checkpoint of step 5; there are 1, 2, 3, 4$"):
        store.at_step(5)


def test_one_to_keep_is_loaded_in_place_of_a_damaged_last_and_an_older_one(store):
    damage(store.last)
    loaded = store.newest()
    assert (loaded.path, [line.partition(":")[0] for line in loaded.damaged]) == (store.kept[4], [str(store.last)])
    damage(store.kept[4])
    loaded = store.newest()
    assert loaded.path == store.previous  # of step 3, which is later than that of the next one to keep
    assert [line.partition(":")[0] for line in loaded.damaged] == [str(store.last), str(store.kept[4])]


def test_valid_last_is_loaded_although_there_is_a_later_one_to_keep(store):
    store.save({"model.weight": torch.zeros(5)}, {"counters": {"step": 1}}, best=True)
    store.previous.unlink()
    assert (store.newest().path, store.newest().damaged) == (store.last, [])


def test_latest_valid_one_to_keep_is_loaded_if_all_others_are_missing_or_damaged(store):
    for path in (store.last, store.previous):
        path.unlink()
    assert store.newest().path == store.best
    damage(store.best)
    loaded = store.newest()
    assert (loaded.path, loaded.header["counters"]["step"]) == (store.kept[4], 4)
    assert [line.partition(":")[0] for line in loaded.damaged] == [str(store.best)]
    store.best.unlink()
    assert store.exists()
    assert store.newest_step() == 4
    damage(store.kept[4])
    for loaded in (store.newest(), store.best_or_newest()):
        assert (loaded.path, loaded.header["counters"]["step"]) == (store.kept[2], 2)
        assert [line.partition(":")[0] for line in loaded.damaged] == [str(store.kept[4])]
    store.kept[4].unlink()
    loaded = store.newest()
    assert loaded.damaged == [f"{store.last}: no such checkpoint"]
    store.quarantine(loaded)
    for path in store.kept.values():
        path.unlink()
    assert not store.exists()
    with pytest.raises(UserError, match=r"last\.safetensors: no such checkpoint$"):
        store.newest()
