"""The penalty on vanishing gradients: its gradient against autograd of Omega, and in training."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from test_checkpoint_manager import assert_same

from charlstm.model.dropout import dropout
from charlstm.text.corpus import load_corpus
from charlstm.text.streams import IGNORE
from charlstm.training.vanishing_penalty import MIN_NORM, penalty_gradient

RNN = {"cell": "rnn", "hidden_size": 7}


def omega_gradient(matrix, outputs, loss):
    """dOmega/dU (equation 9) by autograd, with the states and their total gradients as constants."""
    arriving = torch.stack(torch.autograd.grad(loss, outputs, retain_graph=True))
    h, u = torch.stack(outputs).detach(), matrix.detach().clone().requires_grad_()
    d = arriving.norm(dim=-1)
    onward = torch.einsum("tbi,tbi,ij->tbj", arriving, 1 - h**2, u)
    terms = (onward.norm(dim=-1) / d - 1) ** 2
    return torch.autograd.grad(terms[d >= MIN_NORM].mean(), u)[0]


@pytest.mark.parametrize("scale", [0.1, 1.0, 3.0])
def test_penalty_gradient_equals_autograd_of_omega(scale):
    torch.manual_seed(1)
    steps, batch, size = 9, 4, 5
    matrix = (torch.randn(size, size, dtype=torch.float64) * scale / size**0.5).requires_grad_()
    x, readout = torch.randn(steps, batch, size).double(), torch.randn(steps, batch, size).double()
    h, outputs = torch.randn(batch, size).double().tanh(), []
    for k in range(steps):
        h = torch.tanh(x[k] + h @ matrix.t())
        outputs.append(h)
    loss = (torch.stack(outputs) * readout).sum()
    gradient = penalty_gradient(matrix.detach(), torch.stack(outputs).detach(), readout)
    torch.testing.assert_close(gradient, omega_gradient(matrix, outputs, loss))


def test_orthogonal_matrix_has_zero_penalty_gradient():
    matrix = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64))[0]
    h, d = torch.zeros(8, 3, 6, dtype=torch.float64), torch.randn(8, 3, 6, dtype=torch.float64)
    assert penalty_gradient(matrix, h, d).abs().max() < 1e-12
    half = penalty_gradient(0.5 * matrix, h, d)
    assert (half * matrix).sum() == pytest.approx(-1)  # dOmega/ds of (s - 1)^2 at s = 1/2, where U = s Q


def test_positions_without_gradient_are_ignored():
    """Short rows are padded, and have no loss past their end."""
    torch.manual_seed(2)
    matrix, h = torch.randn(4, 4), torch.rand(6, 2, 4)
    d = torch.randn(6, 2, 4)
    d[3:, 1] = 0
    both = penalty_gradient(matrix, h, d)
    separate = penalty_gradient(matrix, h[:, :1], d[:, :1]), penalty_gradient(matrix, h[:3, 1:], d[:3, 1:])
    torch.testing.assert_close(both, (6 * separate[0] + 3 * separate[1]) / 9)
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
    "options",
    [{}, {"direction": "backward"}, {"dropout": 0.4}, {"front_end": "embedding"}, {"weight_drop": 0.4}],
    ids=str,
)
@pytest.mark.parametrize("executor", ["reference", "eager", "vendor", "cpp"])
def test_step_adds_penalty_gradient(make_config, make_trainer, corpus, lines, executor, options, documents):
    text = lines if documents else corpus
    source = {"source": text.sources[0], **({"documents": "newline"} if documents else {})}
    config = make_config({**RNN, "executor": executor, **options}, source, vanishing_penalty=3.0, sequence_length=6)
    trainer = make_trainer(config, text=text)
    trainer._step()  # a carried state
    batch, model = trainer.streams.next_batch(), trainer.model
    if batch.reset_state:
        trainer.state.carried = model.initial_state(len(batch.previous[0]))
    model.zero_grad()
    torch.manual_seed(4)
    trainer.step.loss(*trainer.step.inputs([batch]), trainer.state.carried)[0].backward()
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
    mask = stack.weight_drop.masks["_l0"] if "weight_drop" in options else torch.ones(())
    u = stack.weight_hh_l0 * mask
    for row in x:
        h = torch.tanh(row + stack.bias_ih_l0 + stack.bias_hh_l0 + h @ u.t())
        outputs.append(h)
    torch.manual_seed(4)
    y = dropout(torch.stack(outputs), model.config.dropout, model.config.dropout_kind, True)
    loss = F.cross_entropy(model.head(y).flatten(0, 1), batch.targets.flatten(), ignore_index=IGNORE)
    torch.testing.assert_close(matrix, 3 * mask * omega_gradient(u, outputs, loss), rtol=1e-3, atol=1e-5)
    assert matrix.abs().max() > 1e-2


@pytest.mark.parametrize("documents", [False, True], ids=["streams", "documents"])
def test_resumed_run_equals_uninterrupted_run(make_config, make_trainer, corpus, lines, tmp_path, documents):
    text = lines if documents else corpus
    source = {"source": text.sources[0], **({"documents": "newline"} if documents else {})}
    config = make_config({**RNN, "dropout": 0.2}, source, vanishing_penalty=3.0)
    list(make_trainer(config, tmp_path / "uninterrupted", text).run())
    for stop in (5, 6, 13, None):
        trainer = make_trainer(config, tmp_path / "stopped", text)
        if trainer.directory.checkpoints.exists():
            assert trainer.resume() == []
        for event in trainer.run():
            if getattr(event, "step", None) == stop:
                trainer.request_stop()
    assert_same(tmp_path / "uninterrupted", tmp_path / "stopped")


def test_penalty_of_a_step_is_the_mean_over_its_chunks(make_config, make_trainer, tmp_path):
    penalized, plain = (make_trainer(make_config(RNN, vanishing_penalty=w), tmp_path / str(w)) for w in (3.0, 0.0))
    first, second = (plain.streams.next_batch() for _ in range(2))

    def penalty(batches, carried):
        gradients = []
        for trainer in (penalized, plain):
            trainer.step.gradients(trainer.step.inputs(batches), carried)
            gradients.append(trainer.model.recurrent.get_parameter("weight_hh_l0").grad)
        return gradients[0] - gradients[1]

    before = plain.state.carried
    between = plain.step.gradients(plain.step.inputs([first]), before)[1]
    expected = (penalty([first], before) + penalty([second], between)) / 2
    torch.testing.assert_close(penalty([first, second], before), expected, rtol=1e-4, atol=1e-6)
    assert expected.abs().max() > 1e-3


def test_weight_0_changes_nothing(make_config, make_trainer):
    """No hook is registered, and the gradient is unchanged."""
    trainer = make_trainer(make_config(RNN, vanishing_penalty=0))
    assert not trainer.model.recurrent._forward_hooks
    trainer.step.loss(*trainer.step.inputs([trainer.streams.next_batch()]), trainer.state.carried)[0].backward()
    before = [p.grad.clone() for p in trainer.model.parameters()]
    trainer.step._penalty.add_gradient()
    assert all(torch.equal(p.grad, b) for p, b in zip(trainer.model.parameters(), before, strict=True))


def test_outputs_are_stored_only_for_training_steps(make_config, make_trainer):
    trainer = make_trainer(make_config(RNN, vanishing_penalty=1.0))
    trainer.validator.score()
    assert not trainer.step._penalty._outputs
    trainer._step()
    assert not trainer.step._penalty._outputs


def test_passes_before_a_step_do_not_change_its_penalty(make_config, make_trainer):
    trainer = make_trainer(make_config(RNN, vanishing_penalty=8.0))
    inputs, carried = trainer.step.inputs([trainer.streams.next_batch()]), trainer.state.carried
    trainer.step.gradients(inputs, carried)
    expected = trainer.model.recurrent.weight_hh_l0.grad.clone()
    trainer.step.loss(*inputs, carried)[0].backward()
    trainer.step.gradients(inputs, carried)
    assert torch.equal(trainer.model.recurrent.weight_hh_l0.grad, expected)


def test_penalty_extends_gradient_reach(make_config, make_trainer, tmp_path):
    """The norm of the gradient of the last output with respect to the state ten characters earlier."""
    norms = {}
    for weight in (0.0, 10.0):
        config = make_config({**RNN, "hidden_size": 16}, vanishing_penalty=weight, budget={"steps": 60})
        trainer = make_trainer(config, tmp_path / str(weight))
        list(trainer.run())
        batch, matrix = trainer.streams.next_batch(), trainer.model.recurrent.weight_hh_l0.detach()
        h = trainer.model.encode(batch.previous)[0].detach()
        d = torch.ones_like(h[-1])
        for k in range(1, 11):
            d = ((1 - h[-k] ** 2) * d) @ matrix
        norms[weight] = float(d.norm())
    assert norms[10.0] > 10 * norms[0.0]
