"""What is recorded is what the function does: on other numbers, under vmap, and its gradients."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx

from bioplaus.numerics.linalg import solve
from bioplaus.training.recording import RESULT, record

Function = Callable[[Tensor, Tensor], list[Tensor]]
FIXED = torch.tensor([1.0, 2.0, 3.0, 4.0])


def pair(seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    a, b = (torch.randn(3, 4, 4, generator=generator) for _ in range(2))
    return a, b


def products(a: Tensor, b: Tensor) -> list[Tensor]:
    return [torch.vmap(lambda x, y: torch.tanh(x @ y).sum(0))(a, b)]


def several_results(a: Tensor, b: Tensor) -> list[Tensor]:
    values, indices = a.topk(2)
    left, right = b.split(2, dim=1)
    return [values, indices, left * right]


def constants(a: Tensor, b: Tensor) -> list[Tensor]:
    return [a + FIXED, b * torch.tensor(0.5) + torch.arange(4), torch.zeros(2)]


def in_place(a: Tensor, b: Tensor) -> list[Tensor]:
    own = torch.zeros_like(a)
    own[:, 0] = b[:, 1]
    own.add_(a)
    made = torch.tensor([1.0, 2.0])
    made.mul_(3)
    return [own.T if own.dim() == 2 else own.mT, made]


def gradients(a: Tensor, b: Tensor) -> list[Tensor]:
    def loss(x: Tensor, y: Tensor) -> Tensor:
        return (torch.sigmoid(x @ y) ** 2).mean()

    return [torch.vmap(torch.func.grad(loss))(a, b)]


def backward(a: Tensor, b: Tensor) -> list[Tensor]:
    with torch.enable_grad():
        x = a.clone().requires_grad_()
        return list(torch.autograd.grad((torch.exp(x) * b).sum(), x))


def solutions(a: Tensor, b: Tensor) -> list[Tensor]:
    return [torch.vmap(solve)(a, b)]


def composites(a: Tensor, b: Tensor) -> list[Tensor]:
    """Operations that torch takes apart."""
    joined = torch.einsum("rij,rkj->rik", a, b)
    return [torch.nn.functional.layer_norm(joined, (4,)), joined.flatten(1), a.std()]


FUNCTIONS = [
    products,
    several_results,
    constants,
    in_place,
    gradients,
    backward,
    solutions,
    composites,
]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_it_replays_bit_for_bit_on_other_numbers(function: Function) -> None:
    graph = record(function, pair(0))
    for seed in (0, 1, 1):
        for ours, theirs in zip(graph(*pair(seed)), function(*pair(seed)), strict=True):
            assert ours.dtype == theirs.dtype and torch.equal(ours, theirs)


def operations(graph: GraphModule) -> Counter[str]:
    """Their names and how often; a view that autograd does not follow has two names."""
    names = (str(n.target) for n in graph.graph.nodes if n.op == "call_function")
    return Counter(name.replace("detach", "alias") for name in names)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_its_operations_are_those_that_make_fx_finds(function: Function) -> None:
    ours, theirs = record(function, pair(0)), make_fx(function)(*pair(0))
    theirs.graph.eliminate_dead_code()
    assert operations(ours) == operations(theirs)


def test_results_are_described_without_their_numbers() -> None:
    graph = record(lambda a, b: [(a @ b).mT], pair(0))
    (given, *_), (*_, last, _) = list(graph.graph.nodes)[:1], list(graph.graph.nodes)
    for node, strides in ((given, (16, 4, 1)), (last, (16, 1, 4))):
        told = node.meta[RESULT]
        assert (told.shape, told.stride(), told.dtype) == ((3, 4, 4), strides, torch.float32)
        assert told.is_meta and told.nbytes == 3 * 4 * 4 * 4


def test_a_number_that_hangs_on_an_argument_is_refused() -> None:
    for function in (
        lambda a, b: [a * float(b.sum())],
        lambda a, b: [a if (a > 0).any() else b],
        lambda a, b: [a if torch.equal(a, b) else b],
        lambda a, b: [a * torch.rand(()).item()],
    ):
        with pytest.raises(RuntimeError, match="takes a number out of a tensor"):
            record(function, pair(0))


def test_a_size_that_hangs_on_an_argument_is_refused() -> None:
    for function in (
        lambda a, b: [a[a > 0]],
        lambda a, b: [b.nonzero()],
        lambda a, b: [a.unique()],
    ):
        with pytest.raises(RuntimeError, match="size hangs on numbers"):
            record(function, pair(0))
    index = torch.tensor([2, 0])
    graph = record(lambda a, b: [a[index] + b[a[:2, 0, 0].argsort()]], pair(0))
    a, b = pair(1)
    assert torch.equal(graph(a, b)[0], a[index] + b[a[:2, 0, 0].argsort()])


def test_a_constants_number_may_be_asked() -> None:
    graph = record(lambda a, b: [a * float(FIXED.sum() + torch.tensor(2.0))], pair(0))
    assert torch.equal(graph(*pair(1))[0], 12 * pair(1)[0])


def test_nothing_is_kept_for_longer_than_the_function_keeps_it() -> None:
    """A step's intermediate results, all of them at once, may be more than the memory holds."""
    gone = []

    def function(a: Tensor, b: Tensor) -> list[Tensor]:
        for _ in range(3):
            a = a @ b
            gone.append(weakref.ref(a))
        assert [ref() is None for ref in gone] == [True, True, False]
        return [a]

    record(function, pair(0))


def test_constants_stay_as_they_are() -> None:
    before = FIXED.clone()

    def function(a: Tensor, b: Tensor) -> list[Tensor]:
        own = torch.tensor([1.0, 2.0, 3.0, 4.0])
        own += a[0, 0]
        return [own + FIXED]

    graph = record(function, pair(0))
    assert torch.equal(graph(*pair(1))[0], graph(*pair(1))[0])
    assert torch.equal(FIXED, before)
