"""The convolution against loops over its definition: outputs, window state, and highway layer."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from charlstm.model.convolution import Convolution
from charlstm.model.highway import Highway

V, E, F_, B = 6, 5, 3, 2


def make(sizes: list[int], highway: bool = False) -> Convolution:
    torch.manual_seed(1)
    convolution = Convolution(V, E, sizes, F_, highway).double()
    with torch.no_grad():
        for parameter in convolution.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.7)
    return convolution


def naive(convolution: Convolution, sizes: list[int], ids: Tensor) -> Tensor:
    """tanh(b + sum over k of K_k e_(t-k)), one filter, text and character at a time; then the highway layer."""
    kernel, row = {}, 0
    for offset in range(max(sizes)):
        for number, width in enumerate(sorted(sizes)):
            if offset < width:
                kernel[number, offset] = convolution.kernel[row : row + F_]
                row += F_
    assert row == len(convolution.kernel)
    outputs = []
    for t in range(max(sizes) - 1, len(ids)):
        for b in range(ids.shape[1]):
            parts = []
            for number, width in enumerate(sorted(sizes)):
                total = convolution.bias[number * F_ : (number + 1) * F_]
                for offset in range(width):
                    character = int(ids[t - offset, b])
                    if character < V:
                        total = total + kernel[number, offset] @ convolution.embedding[character]
                parts.append(total.tanh())
            outputs.append(torch.cat(parts))
    x = torch.stack(outputs).view(-1, ids.shape[1], F_ * len(sizes))
    if convolution.highway is None:
        return x
    (w_t, w), (b_t, b) = convolution.highway.weight.chunk(2), convolution.highway.bias.chunk(2)
    t = 1 / (1 + torch.exp(-(x @ w_t.t() + b_t)))
    return t * (x @ w.t() + b).clamp(min=0) + (1 - t) * x


def some_ids(steps: int) -> Tensor:
    ids = torch.randint(V + 1, (steps, B), generator=torch.Generator().manual_seed(steps))
    ids[0, 0], ids[-1, -1] = V, 0
    return ids


@pytest.mark.parametrize("steps", [1, 9], ids=["multiplied", "looked up"])
@pytest.mark.parametrize("highway", [False, True], ids=["plain", "highway"])
@pytest.mark.parametrize("sizes", [[1], [1, 2], [4, 2], [3]], ids=str)
def test_outputs_and_gradients_equal_the_definition(sizes, highway, steps):
    convolution = make(sizes, highway)
    ids = some_ids(max(sizes) - 1 + steps)
    assert (ids.numel() < V) == (steps == 1 and max(sizes) <= 2)
    (actual, project), expected = convolution(ids), naive(convolution, sizes, ids)
    assert project is None
    assert actual.shape == (steps, B, convolution.output_size)
    torch.testing.assert_close(actual, expected)
    factors = torch.randn_like(actual)
    gradients = [torch.autograd.grad((y * factors).sum(), list(convolution.parameters())) for y in (actual, expected)]
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b)


def test_equals_torch_conv1d():
    """torch.nn.functional.conv1d, whose filters are reversed, over characters padded on the left."""
    convolution = make([3])
    ids = some_ids(8)
    vectors = torch.cat([convolution.embedding, torch.zeros(1, E).double()])[ids]
    weight = convolution.kernel.view(3, F_, E).flip(0).permute(1, 2, 0)
    expected = F.conv1d(vectors.permute(1, 2, 0), weight, convolution.bias).permute(2, 0, 1).tanh()
    torch.testing.assert_close(convolution(ids)[0], expected)


def test_filter_depends_on_the_characters_in_its_width_only():
    sizes = [1, 2, 4]
    convolution = make(sizes)
    ids = some_ids(12).clamp(max=V - 1)
    other = ids.clone()
    other[6] = (other[6] + 1) % V
    same = convolution(ids)[0] == convolution(other)[0]
    for number, width in enumerate(sizes):
        for t in range(3, 12):
            part = same[t - 3, :, number * F_ : (number + 1) * F_]
            assert part.any() != (6 <= t < 6 + width)


def test_window_round_trips_and_zeros_mean_no_character():
    convolution = make([1, 4]).float()
    ids = some_ids(7)
    part = convolution.encode_window(ids)
    assert part.shape == (3, B, 1)
    assert torch.equal(convolution.decode_window(part), ids[-3:])
    assert torch.equal(convolution.decode_window(torch.zeros(3, B, 1)), torch.full((3, B), V))
    large = Convolution(1_114_112, 1, [2], 1, highway=False)
    for character in (0, 1, 1_114_111, 1_114_112):
        assert large.decode_window(large.encode_window(torch.tensor([[character]]))).item() == character


def test_initial_filters_match_torch_and_highway_passes_input():
    torch.manual_seed(2)
    convolution = Convolution(9, 25, [1, 4], 400, highway=True)
    first, *later = convolution.kernel.split([800, 400, 400, 400])
    assert first[:400].abs().max().item() == pytest.approx(1 / 5, rel=1e-3)
    for rows in (first[400:], *later):
        assert rows.abs().max().item() == pytest.approx(1 / 10, rel=1e-3)
    assert convolution.highway is not None
    x = torch.randn(20, 800)
    carried = (convolution.highway(x) - x).abs().mean() / x.abs().mean()
    assert 0.05 < carried < 0.3
    assert torch.equal(convolution.highway.bias, torch.tensor([-2.0] * 800 + [0.0] * 800))


@pytest.mark.parametrize("steps", [2, 60])
def test_autocast_rounds_matmuls_and_keeps_the_output_dtype(steps):
    convolution, ids = make([1, 3], highway=True).float(), some_ids(steps + 2)
    expected, _ = convolution(ids)
    with torch.autocast("cpu", torch.bfloat16):
        actual, _ = convolution(ids)
        alone = Highway(4)(torch.randn(3, 4))
    actual.square().sum().backward()
    assert actual.dtype == alone.dtype == torch.float32
    assert not torch.equal(actual, expected)
    torch.testing.assert_close(actual, expected, rtol=0.1, atol=0.1)
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in convolution.parameters())
