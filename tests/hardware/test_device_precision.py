"""The precision of a run on a GPU."""

from __future__ import annotations

import pytest
import torch

from charlstm.cells import CELLS
from charlstm.hardware.device import resolve_precision


@pytest.mark.parametrize(("number", "precision"), [(0, "float32"), (1, "bfloat16")])
def test_precision_is_that_of_the_device_and_not_of_the_current_one(monkeypatch, number, precision):
    capabilities = {None: (7, 0), torch.device("cuda", 0): (7, 0), torch.device("cuda", 1): (9, 0)}
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: capabilities[device])
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: False)
    assert resolve_precision("auto", torch.device("cuda", number), CELLS["lstm"]) == precision
