"""The penalty on vanishing gradients: its gradient against autograd of Omega as the paper has it, and in training."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from test_training_resume import assert_same

from charlstm.model.dropout import dropout
from charlstm.text.corpus import load_corpus
from charlstm.text.streams import IGNORE
from charlstm.training.vanishing_penalty import BOUND, penalty_gradient

RNN = {"cell": "rnn", "hidden_size": 7}


def omega_gradient(matrix, outputs, loss):
    """By U of Omega (equation 9), with the states and the whole gradients that arrive at them taken as constants."""
    arriving = torch.stack(torch.autograd.grad(loss, outputs, retain_graph=True))
    h, u = torch.stack(outputs).detach(), matrix.detach().clone().requires_grad_()
    d = arriving.norm(dim=-1)
    onward = torch.einsum("tbi,tbi,ij->tbj", arriving, 1 - h**2, u)
    terms = (onward.norm(dim=-1) / d - 1) ** 2
    return torch.autograd.grad(terms[d >= BOUND].mean(), u)[0]


@pytest.mark.parametrize("scale", [0.1, 1.0, 3.0])
def test_its_gradient_is_that_of_omega(scale):
    torch.manual_seed(1)
    steps, batch, units = 9, 4, 5
    matrix = (torch.randn(units, units, dtype=torch.float64) * scale / units**0.5).requires_grad_()
    x, readout = torch.randn(steps, batch, units).double(), torch.randn(steps, batch, units).double()
    h, outputs = torch.randn(batch, units).double().tanh(), []
    for k in range(steps):
        h = torch.tanh(x[k] + h @ matrix.t())
        outputs.append(h)
    loss = (torch.stack(outputs) * readout).sum()
    found = penalty_gradient(matrix.detach(), torch.stack(outputs).detach(), readout)
    torch.testing.assert_close(found, omega_gradient(matrix, outputs, loss))


def test_an_orthogonal_matrix_on_small_states_needs_no_push():
    matrix = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64))[0]
    h, d = torch.zeros(8, 3, 6, dtype=torch.float64), torch.randn(8, 3, 6, dtype=torch.float64)
    assert penalty_gradient(matrix, h, d).abs().max() < 1e-12
    half = penalty_gradient(0.5 * matrix, h, d)
    assert (half * matrix).sum() == pytest.approx(-1)  # dOmega/ds of (s - 1)^2 at s = 1/2, where U = s Q


def test_where_no_gradient_arrives_there_is_nothing_to_push():
    """Short rows are filled up: their loss has no part beyond their end."""
    torch.manual_seed(2)
    matrix, h = torch.randn(4, 4), torch.rand(6, 2, 4)
    d = torch.randn(6, 2, 4)
    d[3:, 1] = 0
    both = penalty_gradient(matrix, h, d)
    alone = penalty_gradient(matrix, h[:, :1], d[:, :1]), penalty_gradient(matrix, h[:3, 1:], d[:3, 1:])
    torch.testing.assert_close(both, (6 * alone[0] + 3 * alone[1]) / 9)
    assert torch.equal(penalty_gradient(matrix, h, torch.zeros_like(d)), torch.zeros(4, 4))
    assert penalty_gradient(matrix, h, d * 1e-30).abs().max() == 0
    assert penalty_gradient(1e-30 * matrix, h, d).isfinite().all()


@pytest.fixture
def lines(tmp_path):
    path = tmp_path / "lines.txt"
    path.write_text("".join(f"{'abcde'[n % 5] * (1 + n % 7)}x\n" for n in range(80)))
    return load_corpus(str(path), documents="newline")


@pytest.mark.parametrize("documents", [False, True], ids=["streams", "documents"])
@pytest.mark.parametrize(
    "options", [{}, {"direction": "backward"}, {"dropout": 0.4}, {"front_end": "embedding"}], ids=str
)
@pytest.mark.parametrize("executor", ["reference", "eager", "vendor", "cpp"])
def test_a_step_adds_it_to_the_gradient(make_config, make_trainer, corpus, lines, executor, options, documents):
    text = lines if documents else corpus
    source = {"source": text.sources[0], **({"documents": "newline"} if documents else {})}
    config = make_config({**RNN, "executor": executor, **options}, source, vanishing_penalty=3.0, sequence_length=6)
    trainer = make_trainer(config, text=text)
    trainer._step()  # a carried state
    batch, model = trainer.streams.next_batch(), trainer.model
    if batch.fresh:
        trainer.state.carried = model.initial_state(len(batch.previous[0]))
    model.zero_grad()
    torch.manual_seed(4)
    trainer.step.loss(batch, trainer.state.carried)[0].backward()
    before = {name: p.grad.clone() for name, p in model.named_parameters()}
    trainer.step._penalty.add_gradient()
    added = {name: p.grad - before[name] for name, p in model.named_parameters()}
    matrix = added.pop("recurrent.weight_hh_l0")
    assert all((rest == 0).all() for rest in added.values())

    stack, outputs, h = model.recurrent, [], trainer.state.carried[0][0]
    table = stack.weight_ih_l0.t()
    if "front_end" in options:
        table = model.front_end.weight @ table
    x = torch.cat([table, torch.zeros(1, 7)])[batch.previous]
    for row in x:
        h = torch.tanh(row + stack.bias_ih_l0 + stack.bias_hh_l0 + h @ stack.weight_hh_l0.t())
        outputs.append(h)
    torch.manual_seed(4)
    y = dropout(torch.stack(outputs), model.config.dropout, model.config.dropout_kind, True)
    loss = F.cross_entropy(model.head(y).flatten(0, 1), batch.targets.flatten(), ignore_index=IGNORE)
    torch.testing.assert_close(matrix, 3 * omega_gradient(stack.weight_hh_l0, outputs, loss), rtol=1e-3, atol=1e-5)
    assert matrix.abs().max() > 1e-2


@pytest.mark.parametrize("documents", [False, True], ids=["streams", "documents"])
def test_stopped_and_resumed_equals_never_stopped(make_config, make_trainer, corpus, lines, tmp_path, documents):
    text = lines if documents else corpus
    source = {"source": text.sources[0], **({"documents": "newline"} if documents else {})}
    config = make_config({**RNN, "dropout": 0.2}, source, vanishing_penalty=3.0)
    list(make_trainer(config, tmp_path / "whole", text).run())
    for place in (5, 6, 13, None):
        trainer = make_trainer(config, tmp_path / "stopped", text)
        if trainer.directory.checkpoints.any():
            assert trainer.resume() == []
        for event in trainer.run():
            if getattr(event, "step", None) == place:
                trainer.request_stop()
    assert_same(tmp_path / "whole", tmp_path / "stopped")


def test_none_is_nothing(make_config, make_trainer):
    """Not a hook, not a bit of the gradient."""
    trainer = make_trainer(make_config(RNN, vanishing_penalty=0))
    assert not trainer.model.recurrent._forward_hooks
    trainer.step.loss(trainer.streams.next_batch(), trainer.state.carried)[0].backward()
    before = [p.grad.clone() for p in trainer.model.parameters()]
    trainer.step._penalty.add_gradient()
    assert all(torch.equal(p.grad, b) for p, b in zip(trainer.model.parameters(), before, strict=True))


def test_what_is_read_without_a_loss_is_not_kept(make_config, make_trainer):
    trainer = make_trainer(make_config(RNN, vanishing_penalty=1.0))
    trainer.score()
    assert trainer.step._penalty._outputs is None
    trainer._step()
    assert trainer.step._penalty._outputs is None


def test_it_brings_the_gradient_further_back(make_config, make_trainer, tmp_path):
    """How much of the gradient of the last output arrives ten characters before."""
    reach = {}
    for weight in (0.0, 10.0):
        config = make_config({**RNN, "hidden_size": 16}, vanishing_penalty=weight, budget={"steps": 60})
        trainer = make_trainer(config, tmp_path / str(weight))
        list(trainer.run())
        batch, matrix = trainer.streams.next_batch(), trainer.model.recurrent.weight_hh_l0.detach()
        h = trainer.model.read(batch.previous)[0].detach()
        d = torch.ones_like(h[-1])
        for k in range(1, 11):
            d = ((1 - h[-k] ** 2) * d) @ matrix
        reach[weight] = float(d.norm())
    assert reach[10.0] > 10 * reach[0.0]
