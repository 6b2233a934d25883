"""`bioplaus.backward`: a drop-in for `loss.backward()`."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import bioplaus
from bioplaus.errors import BioplausError, ModelError, UnknownNameError, UnsupportedError


def model(dtype: torch.dtype = torch.float64) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(12, 8),
        nn.LeakyReLU(0.1),
        nn.Linear(8, 8, bias=False),
        nn.Tanh(),
        nn.Linear(8, 8),
    ).to(dtype)


def batch(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(5, 3, 4, generator=generator, dtype=dtype)
    return x, torch.tensor([0, 2, 7, 1, 2])


def autograd(net: nn.Sequential, value: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(value, list(net.parameters())))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
def test_backprop_writes_what_autograd_does(dtype: torch.dtype, loss: str) -> None:
    net, (x, y) = model(dtype), batch(dtype)
    target = torch.eye(8, dtype=dtype)[y]
    if loss == "mse":
        value = 0.5 * (net(x) - target).square().sum(1).mean()
    else:
        value = nn.functional.cross_entropy(net(x), y)
    expected = autograd(net, value)
    done = bioplaus.backward(net, x, y, rule="backprop", loss=loss)
    tolerance = 1e-13 if dtype == torch.float64 else 1e-5
    for parameter, grad in zip(net.parameters(), expected, strict=True):
        assert parameter.grad is not None
        assert torch.allclose(parameter.grad, grad, rtol=tolerance, atol=tolerance)
    assert torch.allclose(done.loss, value)
    assert torch.allclose(done.output, net(x))
    assert not done.loss.requires_grad


def test_gradients_add_to_those_that_are_there_and_frozen_parameters_get_none() -> None:
    net, (x, y) = model(), batch()
    next(net.parameters()).requires_grad_(False)
    bioplaus.backward(net, x, y, rule="backprop")
    once = [p.grad if p.grad is None else p.grad.clone() for p in net.parameters()]
    assert once[0] is None
    bioplaus.backward(net, x, y, rule="backprop")
    for parameter, grad in zip(list(net.parameters())[1:], once[1:], strict=True):
        assert grad is not None and parameter.grad is not None
        assert torch.allclose(parameter.grad, 2 * grad)


def test_targets_with_fewer_columns_leave_auxiliary_units() -> None:
    net, (x, _) = model(), batch()
    target = torch.randn(5, 3, dtype=torch.float64)
    expected = autograd(net, 0.5 * (net(x)[:, :3] - target).square().sum(1).mean())
    bioplaus.backward(net, x, target, rule="backprop")
    for parameter, grad in zip(net.parameters(), expected, strict=True):
        assert parameter.grad is not None
        assert torch.allclose(parameter.grad, grad, atol=1e-13)
    last = list(net.parameters())[-1].grad
    assert last is not None and torch.equal(last[3:], torch.zeros(5, dtype=torch.float64))


def test_gaitprop_is_backprop_where_weights_are_orthogonal() -> None:
    torch.manual_seed(0)
    modules = [m for _ in range(3) for m in (nn.Linear(8, 8), nn.LeakyReLU(0.1))]
    net = nn.Sequential(*modules).double()
    for module in net:
        if isinstance(module, nn.Linear):
            nn.init.orthogonal_(module.weight)
    x, y = torch.randn(5, 8, dtype=torch.float64), torch.tensor([0, 1, 2, 3, 4])
    bioplaus.backward(net, x, y, rule="gaitprop", ortho=0)
    ours = [p.grad for p in net.parameters()]
    net.zero_grad()
    bioplaus.backward(net, x, y, rule="backprop")
    for grad, parameter in zip(ours, net.parameters(), strict=True):
        assert grad is not None and parameter.grad is not None
        assert torch.allclose(grad, parameter.grad, atol=1e-12)


def test_the_regulariser_is_in_the_gradient() -> None:
    net = nn.Sequential(nn.Linear(6, 6), nn.LeakyReLU(0.1)).double()
    x, y = torch.zeros(2, 6, dtype=torch.float64), torch.zeros(2, 6, dtype=torch.float64)
    with torch.no_grad():
        net[0].bias.zero_()
    weight = net[0].weight
    gram = weight.T @ weight
    penalty = 0.7 * (gram - torch.diag(torch.diagonal(gram))).square().sum()
    (expected,) = torch.autograd.grad(penalty, [weight])
    bioplaus.backward(net, x, y, rule="gaitprop", ortho=0.7)
    assert torch.allclose(weight.grad, expected, atol=1e-12)


def test_state_goes_from_call_to_call_and_learned_inverses_learn() -> None:
    net, (x, y) = model(), batch()
    first = bioplaus.backward(net, x, y, rule="targetprop", seed=3)
    before = {name: tensor.clone() for name, tensor in first.state.aux.items()}
    assert sorted(before) == ["2.bias", "2.weight", "3.bias", "3.weight"]
    second = bioplaus.backward(net, x, y, rule="targetprop", state=first.state)
    assert second.state.step == 2
    assert all(not torch.equal(second.state.aux[name], before[name]) for name in before)
    again = bioplaus.backward(model(), x, y, rule="targetprop", seed=3)
    assert all(torch.equal(again.state.aux[name], before[name]) for name in before)
    other = bioplaus.backward(model(), x, y, rule="targetprop", seed=4)
    assert any(not torch.equal(other.state.aux[name], before[name]) for name in before)


@pytest.mark.parametrize("rule", bioplaus.list_rules())
def test_every_rule_trains_a_model_or_says_why_not(rule: str) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 6), nn.LeakyReLU(0.1), nn.Linear(6, 6), nn.LeakyReLU(0.1))
    x = torch.randn(8, 6)
    try:
        done = bioplaus.backward(net, x, torch.arange(8) % 3, rule=rule)
    except UnsupportedError as error:
        assert rule in str(error)
        return
    assert torch.isfinite(done.loss)
    for parameter in net.parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all()


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        ([nn.Linear(12, 8), nn.Softmax(1)], r"module 1 \(Softmax\)"),
        ([nn.Linear(12, 8), nn.Dropout(1)], r"module 1 \(Dropout\): .*below 1"),
        ([nn.Linear(12, 8), nn.LeakyReLU(0)], r"module 1 \(LeakyReLU\): .*positive slope"),
        ([nn.ReLU(), nn.Linear(12, 8)], r"module 0 \(ReLU\): an activation must follow"),
        ([nn.Linear(12, 8), nn.ReLU(), nn.Tanh()], r"module 2 \(Tanh\)"),
        ([nn.Flatten()], "nothing to train"),
        ([nn.Linear(12, 8), nn.Linear(9, 8)], r"module 1 \(Linear\): it reads 9 .* gives 8"),
        ([nn.Linear(11, 8)], r"module 0 \(Linear\): it reads 11 inputs, but an example has"),
        ([nn.Conv2d(1, 2, 3)], r"module 0 \(Conv2d\).*reads \(channels, height, width\)"),
    ],
)
def test_wrong_models_are_named(modules: list[nn.Module], message: str) -> None:
    x = torch.randn(5, 12)
    with pytest.raises(BioplausError, match=message):
        bioplaus.backward(nn.Sequential(*modules), x, torch.zeros(5).long(), rule="backprop")


CONVOLUTIONAL = {
    "max": [
        nn.Conv2d(2, 4, 3, padding=1),
        nn.LeakyReLU(0.1),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 5, 3, stride=2, bias=False),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(5, 4),
    ],
    "avg": [
        nn.AvgPool2d(3, stride=2),
        nn.Identity(),
        nn.Conv2d(2, 6, 2),
        nn.ReLU(),
        nn.Flatten(1),
        nn.Linear(24, 7),
        nn.Sigmoid(),
        nn.Linear(7, 4),
    ],
}


@pytest.mark.parametrize("name", CONVOLUTIONAL)
@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
def test_convolutional_models_get_what_autograd_gives(name: str, loss: str) -> None:
    model = copy.deepcopy(nn.Sequential(*CONVOLUTIONAL[name])).double()
    torch.manual_seed(0)
    x, y = torch.randn(5, 2, 7, 7).double(), torch.tensor([0, 1, 2, 3, 0])
    result = bioplaus.backward(model, x, y, rule="backprop", loss=loss)
    output = model(x)
    torch.testing.assert_close(result.output, output.detach(), rtol=1e-13, atol=1e-13)
    value = (
        F.cross_entropy(output, y)
        if loss == "cross_entropy"
        else 0.5 * (output - F.one_hot(y, 4)).square().sum(1).mean()
    )
    gradients = torch.autograd.grad(value, list(model.parameters()))
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        ([nn.Conv2d(2, 4, 3, groups=2)], r"module 0 \(Conv2d\): groups=2"),
        ([nn.Conv2d(2, 4, 3, dilation=2)], r"dilation=\(2, 2\)"),
        ([nn.Conv2d(2, 4, 3, padding_mode="reflect", padding=1)], "padding_mode='reflect'"),
        ([nn.Conv2d(2, 4, 3, padding="same")], "padding='same'"),
        ([nn.Conv2d(2, 4, (3, 2))], r"kernel_size=\(3, 2\)"),
        ([nn.Conv2d(2, 4, 3, stride=(1, 2))], r"stride=\(1, 2\)"),
        ([nn.Conv2d(3, 4, 3)], "reads 3 channels"),
        ([nn.Conv2d(2, 4, 9)], "9 x 9 kernel does not fit"),
        ([nn.MaxPool2d(2, ceil_mode=True)], r"module 0 \(MaxPool2d\): ceil_mode=True"),
        ([nn.AvgPool2d(3, padding=1)], "padding=1"),
        ([nn.AvgPool2d(2, divisor_override=3)], "divisor_override=3"),
        ([nn.ConvTranspose2d(2, 4, 3)], r"module 0 \(ConvTranspose2d\): no learning rule"),
        ([nn.Conv2d(2, 4, 3), nn.Linear(4, 4)], r"module 1 \(Linear\).*Flatten before"),
        ([nn.Conv2d(2, 4, 3), nn.Flatten(2)], r"module 1 \(Flatten\)"),
        ([nn.Conv2d(2, 4, 3), nn.Flatten(), nn.ReLU()], r"module 2 \(ReLU\)"),
        ([nn.Conv2d(2, 4, 3)], "not a vector"),
        ([nn.AvgPool2d(2), nn.Flatten()], "nothing to train"),
    ],
)
def test_convolutional_models_that_have_no_place(modules: list[nn.Module], message: str) -> None:
    x = torch.randn(5, 2, 7, 7)
    with pytest.raises(BioplausError, match=message):
        bioplaus.backward(nn.Sequential(*modules), x, torch.zeros(5).long(), rule="backprop")


def test_wrong_targets_states_and_names() -> None:
    net, (x, y) = model(), batch()
    with pytest.raises(ModelError, match=r"classes outside 0\.\.7"):
        bioplaus.backward(net, x, y + 1)
    with pytest.raises(ModelError, match="5 examples"):
        bioplaus.backward(net, x, y[:3])
    with pytest.raises(ModelError, match="at most the model's 8 outputs"):
        bioplaus.backward(net, x, torch.zeros(5, 9))
    with pytest.raises(ModelError, match=r"must be an nn\.Module, not Linear"):
        bioplaus.backward(nn.Linear, x, y)  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match="did you mean backprop"):
        bioplaus.backward(net, x, y, rule="backpro")
    with pytest.raises(UnknownNameError, match="unknown loss 'hinge'"):
        bioplaus.backward(net, x, y, loss="hinge")
    with pytest.raises(UnknownNameError, match="unknown option of backprop 'ortho'"):
        bioplaus.backward(net, x, y, rule="backprop", ortho=1)
    state = bioplaus.backward(net, x, y, rule="backprop").state
    with pytest.raises(ModelError, match="another rule"):
        bioplaus.backward(net, x, y, rule="feedback-alignment", state=state)


def test_rules_by_name() -> None:
    rule = bioplaus.get_rule("gaitprop", ortho=0.5)
    assert (rule.name, rule.config.model_dump()["ortho"]) == ("gaitprop", 0.5)
    assert bioplaus.list_rules() == sorted(bioplaus.list_rules())
