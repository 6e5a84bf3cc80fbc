"""The chunked loss of the head against F.cross_entropy of F.linear: values, gradients, and memory."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from charlstm.config import ModelConfig
from charlstm.model import LanguageModel, head_loss
from charlstm.model.head_loss import logits_held, mean_nats, target_nats

IGNORE = -100
SHAPES = [(1, 1, 1, 1), (3, 2, 4, 1), (5, 3, 4, 2), (7, 3, 5, 16), (7, 1, 3, 17), (4, 5, 6, 65), (9, 2, 7, 130)]
shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)
chunks = pytest.mark.parametrize("logits", [2, 40, 300, 1 << 22])


def tensors(shape: tuple[int, ...], dtype: torch.dtype = torch.float64) -> tuple[list[Tensor], Tensor]:
    """y, weight, bias, and targets, some of them ignored."""
    steps, batch, hidden_size, symbols = shape
    g = torch.Generator().manual_seed(sum(shape))
    sizes = ((steps, batch, hidden_size), (symbols, hidden_size), (symbols,))
    leaves = [torch.randn(s, generator=g, dtype=torch.float64).to(dtype).requires_grad_() for s in sizes]
    targets = torch.randint(symbols, (steps, batch), generator=g)
    if steps > 1:
        targets[-1, batch // 2 :] = IGNORE
    return leaves, targets


def plain(y: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
    logits = F.linear(y, weight, bias).to(weight.dtype)
    flat, flat_targets = logits.flatten(0, 1), targets.flatten()
    return F.cross_entropy(flat, flat_targets, ignore_index=IGNORE, label_smoothing=label_smoothing)


def results(loss: Tensor, leaves: list[Tensor]) -> list[Tensor]:
    """The loss and the gradients of three times the loss."""
    return [loss.detach(), *torch.autograd.grad(3 * loss, leaves)]


def always_in_chunks(monkeypatch: pytest.MonkeyPatch, logits: int = 2) -> None:
    """Compute in chunks even if there are fewer logits than elements of y."""
    monkeypatch.setattr(head_loss, "logits_held", lambda *_: logits)


class DispatchRecorder(TorchDispatchMode):
    """Records the called operations and the largest number of elements of their outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0
        self.functions: set[str] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.functions.add(str(function))
        outputs = function(*args, **(kwargs or {}))
        for t in outputs if isinstance(outputs, tuple | list) else [outputs]:
            if isinstance(t, Tensor):
                self.numbers = max(self.numbers, t.untyped_storage().nbytes() // t.element_size())
        return outputs


@chunks
@shapes
def test_equals_cross_entropy(monkeypatch, shape, logits):
    always_in_chunks(monkeypatch, logits)
    leaves, targets = tensors(shape)
    for actual, expected in zip(
        results(mean_nats(*leaves, targets, IGNORE), leaves), results(plain(*leaves, targets), leaves), strict=True
    ):
        assert actual.is_contiguous()
        torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize("logits", [40, None])
@shapes
def test_label_smoothing_changes_only_the_gradients(monkeypatch, shape, logits):
    """They are those of F.cross_entropy with it, also in chunks; the value is in plain nats."""
    if logits is not None:
        always_in_chunks(monkeypatch, logits)
    leaves, targets = tensors(shape)
    count = int((targets != IGNORE).sum())
    losses = [mean_nats(*leaves, targets, IGNORE, n, 0.2) for n in (None, None, 2 * count)]
    torch.testing.assert_close(losses[0], plain(*leaves, targets))
    torch.testing.assert_close(2 * losses[2], losses[0])
    actual, halved = (torch.autograd.grad(loss, leaves) for loss in losses[1:])
    gradients = [torch.autograd.grad(x, leaves, create_graph=True) for x in (losses[0], plain(*leaves, targets, 0.2))]
    for first, half, expected in zip(actual, halved, gradients[1], strict=True):
        torch.testing.assert_close(first, expected)
        torch.testing.assert_close(2 * half, expected)
    second = [torch.autograd.grad(sum((g * g).sum() for g in first), leaves) for first in gradients]
    for derivative, expected in zip(*second, strict=True):
        torch.testing.assert_close(derivative, expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
@shapes
def test_second_derivatives_are_those_of_cross_entropy(monkeypatch, shape, dtype):
    always_in_chunks(monkeypatch, 40)
    param_dtype = torch.float32 if dtype == torch.bfloat16 else dtype
    leaves, targets = tensors(shape, param_dtype)
    result = []
    for loss in (mean_nats, plain):
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype != param_dtype):
            nats = loss(*leaves, targets)
        gradients = torch.autograd.grad(nats, leaves, create_graph=True)
        result.append([*gradients, *torch.autograd.grad(sum((g * g).sum() for g in gradients), leaves)])
    for f, e in zip(*result, strict=True):
        assert f.dtype == e.dtype
        torch.testing.assert_close(f, e, **({"rtol": 0.05, "atol": 0.02} if dtype != param_dtype else {}))


@pytest.mark.parametrize("count", [None, 50])
@shapes
def test_alignment_does_not_change_the_loss(monkeypatch, shape, count):
    """With padding symbols, as on a GPU."""
    leaves, targets = tensors(shape)
    expected = results(mean_nats(*leaves, targets, IGNORE, count), leaves)
    with DispatchRecorder() as recorder:
        monkeypatch.setattr(head_loss, "ALIGNED", ("cpu",))
        actual = results(mean_nats(*leaves, targets, IGNORE, count), leaves)
    assert recorder.numbers >= targets.numel() * 16
    for f, e in zip(actual, expected, strict=True):
        torch.testing.assert_close(f, e, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("projected", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["projected", "each"])
@shapes
def test_numeric_gradients(monkeypatch, shape, projected):
    always_in_chunks(monkeypatch, 60)
    leaves, targets = tensors(shape)
    assert torch.autograd.gradcheck(lambda *parts: mean_nats(*parts, targets, IGNORE), leaves, fast_mode=projected)


@pytest.mark.parametrize("counting", [[], [0], [6], [2, 3]], ids=str)
def test_chunks_without_counted_targets(monkeypatch, counting):
    always_in_chunks(monkeypatch, 32)
    leaves, targets = tensors((7, 2, 3, 16))
    targets[[t for t in range(7) if t not in counting]] = IGNORE
    result = results(mean_nats(*leaves, targets, IGNORE), leaves)
    assert bool(result[0].isfinite()) == bool(counting)
    for a, b in zip(result, results(plain(*leaves, targets), leaves), strict=True):
        if counting:
            torch.testing.assert_close(a, b)


@chunks
def test_losses_of_batch_parts_add_up(monkeypatch, logits):
    """Including a part without counted targets."""
    always_in_chunks(monkeypatch, logits)
    (y, weight, bias), targets = tensors((7, 4, 3, 16))
    targets[:, 2] = IGNORE
    count = int((targets != IGNORE).sum())
    parts = [mean_nats(y[:, b : b + 1], weight, bias, targets[:, b : b + 1], IGNORE, count) for b in range(4)]
    assert parts[2].item() == 0
    leaves = [y, weight, bias]
    for actual, expected in zip(results(sum(parts), leaves), results(plain(*leaves, targets), leaves), strict=True):
        torch.testing.assert_close(actual, expected)


def test_float32_is_as_accurate_as_torch(monkeypatch):
    always_in_chunks(monkeypatch, 1 << 12)
    leaves, targets = tensors((40, 8, 32, 501))
    leaves_float32 = [leaf.detach().float().requires_grad_() for leaf in leaves]
    reference = results(plain(*leaves, targets), leaves)
    result, torch_result = (
        results(mean_nats(*leaves_float32, targets, IGNORE), leaves_float32),
        results(plain(*leaves_float32, targets), leaves_float32),
    )
    for reference_value, a, b in zip(reference, result, torch_result, strict=True):
        scale = float(reference_value.abs().max())
        assert float((a - reference_value).abs().max()) <= max(
            2 * float((b - reference_value).abs().max()), 3e-7 * scale
        )


@pytest.mark.parametrize("y_dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("how", ["in chunks", "at once", "at once, aligned"])
def test_bfloat16_matmuls_under_autocast(monkeypatch, y_dtype, how):
    if how == "in chunks":
        always_in_chunks(monkeypatch, 1 << 12)
    if how == "at once, aligned":
        monkeypatch.setattr(head_loss, "ALIGNED", ("cpu",))
    leaves, targets = tensors((40, 8, 32, 501), torch.float32)
    leaves[0] = leaves[0].detach().to(y_dtype).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        losses = [loss(*leaves, targets) for loss in (mean_nats, plain)]
    result, torch_result = (results(loss, leaves) for loss in losses)
    leaves_float64 = [leaf.detach().double().requires_grad_() for leaf in leaves]
    assert [t.dtype for t in result] == [torch.float32, y_dtype, torch.float32, torch.float32]
    for a, b, reference in zip(
        result, torch_result, results(plain(*leaves_float64, targets), leaves_float64), strict=True
    ):
        error, scale = float((a - reference).abs().max()), float(reference.abs().max())
        assert 1e-6 * scale < error < 1.5 * float((b - reference).abs().max()) + 1e-3 * scale


def test_loss_is_finite_when_p_underflows(monkeypatch):
    """-ln p of a target whose p is zero in float32."""
    always_in_chunks(monkeypatch)
    y, weight = torch.ones(2, 1, 1).requires_grad_(), torch.tensor([[0.0], [1000.0], [-50.0]]).requires_grad_()
    targets = torch.tensor([[0], [2]])
    loss = mean_nats(y, weight, torch.zeros(3), targets)
    loss.backward()
    assert loss.item() == pytest.approx((1000 + 1050) / 2)
    assert weight.grad.tolist() == [[-0.5], [1.0], [-0.5]]
    assert y.grad.flatten().tolist() == [500.0, 525.0]
    assert target_nats(y, weight, torch.zeros(3), targets).tolist() == [[1000.0], [1050.0]]


def test_nan_propagates_to_loss_and_gradients(monkeypatch):
    always_in_chunks(monkeypatch, 16)
    leaves, targets = tensors((7, 2, 3, 17))
    with torch.no_grad():
        leaves[0][3, 1] = math.nan
    loss, *gradients = results(mean_nats(*leaves, targets, IGNORE), leaves)
    assert loss.isnan()
    assert all(g.isnan().any() for g in gradients)


def test_frozen_network_below_gets_no_gradient(monkeypatch):
    always_in_chunks(monkeypatch, 16)
    (y, *head), targets = tensors((7, 2, 3, 17))
    expected = results(plain(y, *head, targets), head)
    with DispatchRecorder() as below:
        actual = results(mean_nats(y.detach(), *head, targets, IGNORE), head)
    with DispatchRecorder() as full:
        mean_nats(y, *head, targets, IGNORE)
    assert "aten.mm.out" in full.functions - below.functions
    for a, b in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, b)


@chunks
@shapes
def test_nats_of_each_target(monkeypatch, shape, logits):
    monkeypatch.setattr(head_loss, "LOGITS", logits)
    (y, weight, bias), targets = tensors(shape)
    targets = targets.clamp(min=0)
    expected = F.cross_entropy(F.linear(y, weight, bias).flatten(0, 1), targets.flatten(), reduction="none")
    actual = target_nats(y, weight, bias, targets)
    assert not actual.requires_grad
    torch.testing.assert_close(actual, expected.view(targets.shape))


@pytest.mark.parametrize("bfloat16", [False, True], ids=["float32", "bfloat16"])
def test_logits_never_exist_all_at_once(monkeypatch, bfloat16):
    monkeypatch.setattr(head_loss, "LOGITS", 1 << 13)
    leaves, targets = tensors((50, 8, 4, 1000), torch.float32)
    all_logits, head = targets.numel() * 1000, 1008 * 4
    with DispatchRecorder() as recorder, torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        mean_nats(*leaves, targets, IGNORE).backward()
        target_nats(*leaves, targets.clamp(min=0))
    assert max(head, 8 * 1008) == recorder.numbers < all_logits / 40
    with DispatchRecorder() as recorder:
        plain(*leaves, targets).backward()
    assert recorder.numbers >= all_logits, "the recorder detects all logits"


def test_logits_held():
    cpu = torch.device("cpu")
    assert head_loss.LOGITS == 1 << 22
    assert logits_held(2048, 65, 256, cpu) == 2048 * 65
    assert logits_held(2048, 2048, 256, cpu) == 2048 * 2048
    assert logits_held(2048, 5387, 256, cpu) == 1 << 22
    assert logits_held(65536, 65, 256, cpu) == 65536 * 65, "fewer than the elements of y"
    assert logits_held(65536, 65, 64, cpu) == 1 << 22


def test_hidden_is_the_input_of_the_head():
    torch.manual_seed(3)
    for direction in ("forward", "bidirectional"):
        config = ModelConfig(hidden_size=6, num_layers=2, direction=direction, dropout=0.5)
        model = LanguageModel(config, 11)
        ids, following = torch.randint(11, (2, 5, 3)).unbind(0)
        torch.manual_seed(4)
        logits, last = model(ids, following=following)
        torch.manual_seed(4)
        y, state = model.hidden(ids, following=following)
        assert y.shape == (5, 3, 6 if direction == "forward" else 12)
        assert torch.equal(model.head(y), logits)
        assert all(torch.equal(a, b) for a, b in zip(state, last, strict=True))
