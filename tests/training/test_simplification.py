"""A graph without what it did twice gives the same bits, and its results share no more memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.fx import GraphModule

from bioplaus.learning.batching import Rule
from bioplaus.learning.optimizers import OptimizerSpec
from bioplaus.plugins import registry
from bioplaus.tasks.dataset import Split
from bioplaus.training import simplification, traced_step
from bioplaus.training.budget import Budget
from bioplaus.training.operation_count import count
from bioplaus.training.recording import record
from bioplaus.training.simplification import simplified
from bioplaus.training.stepper import Stepper
from tests.helpers.networks import network_for, random_batch
from tests.helpers.resuming import facts, run
from tests.helpers.tiny import VARIED

Function = Callable[[Tensor, Tensor], list[Tensor]]


def pair(seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    a, b = (torch.randn(4, 4, generator=generator) for _ in range(2))
    return a, b


def checked(function: Function) -> GraphModule:
    """Its graph, proved to give on other numbers, twice, what the function gives."""
    graph = simplified(record(function, pair(0)))
    for seed in (1, 2, 1):
        for ours, theirs in zip(graph(*pair(seed)), function(*pair(seed)), strict=True):
            assert ours.dtype == theirs.dtype and ours.stride() == theirs.stride()
            assert torch.equal(ours, theirs)
    return graph


def operations(graph: GraphModule, *names: str) -> int:
    """How many there are of those names."""
    targets = [str(node.target) for node in graph.graph.nodes if node.op == "call_function"]
    return sum(target.startswith(tuple(f"aten.{name}." for name in names)) for target in targets)


def test_equal_operations_are_done_once() -> None:
    graph = checked(lambda a, b: [(a @ b.T).tanh() + (a @ b.T).tanh() * (a @ b).tanh()])
    assert operations(graph, "mm") == 2 and operations(graph, "tanh") == 2
    assert operations(graph, "t", "permute", "transpose") == 1


def test_what_only_looks_equal_is_not() -> None:
    graph = checked(
        lambda a, b: [
            a.sum(0) + a.sum(1) + a.pow(2).sum(0) + a.pow(3).sum(0),
            torch.stack([torch.full((2,), 1), torch.full((2,), True)]),
            torch.stack([torch.full((2,), 0.0), torch.full((2,), -0.0)]).reciprocal(),
        ]
    )
    assert operations(graph, "sum") == 4


def test_a_factor_of_1_is_left_out_where_it_changes_no_type() -> None:
    graph = checked(lambda a, b: [torch.mul(a, 1) + torch.mul(b, 1.0) + b])
    assert operations(graph, "mul") == 0
    assert operations(checked(lambda a, b: [(a > 0) * 1 + 1]), "mul") == 1
    assert operations(checked(lambda a, b: [torch.mul(a, 1)]), "mul") == 1, "it is returned"


def test_a_product_with_1_that_is_another_layout_stays() -> None:
    graph = checked(lambda a, b: [(a[:, :3] * 1).view(-1) + 0, (b[:, :1].expand(4, 4) * 1).sum(1)])
    assert operations(graph, "mul") == 2
    infinite = torch.complex(torch.tensor([torch.inf]), torch.tensor([1.0]))
    assert simplified(record(lambda a: [a * 1 + 0], (infinite,)))(infinite)[0].isnan().any()


def test_what_hangs_on_nothing_is_computed_once() -> None:
    graph = checked(lambda a, b: [a * (torch.arange(4) * 2.5 + 1).cos()])
    assert operations(graph, "arange", "cos", "add", "mul") == 1


def test_large_constants_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def ramp(a: Tensor, b: Tensor) -> list[Tensor]:
        return [a + torch.arange(4.0).cos().sin()]

    graph = checked(ramp)
    assert operations(graph, "arange", "cos", "sin") == 0
    assert len(list(graph.buffers())) == 1, "what leads to it is let go of"
    monkeypatch.setattr(simplification, "_MOST_BYTES", 32)
    assert operations(checked(ramp), "cos", "sin") == 1
    monkeypatch.setattr(simplification, "_MOST_BYTES", 15)
    assert operations(checked(ramp), "arange", "cos", "sin") == 3


def test_a_tensor_from_outside_is_read_each_time() -> None:
    outside = torch.ones(4)
    graph = simplified(record(lambda a, b: [a * (2.0 * outside).cos()], pair(0)))
    outside.add_(1)
    (a, _), (found,) = pair(1), graph(*pair(1))
    assert torch.equal(found, a * (2.0 * outside).cos())
    (written,) = checked(lambda a, b: [a * torch.tensor([1.0, 2, 3, 4]).cos()])(*pair(1))
    assert torch.equal(written, a * torch.tensor([1.0, 2, 3, 4]).cos())


def test_random_numbers_are_drawn_each_time() -> None:
    graph = simplified(record(lambda a, b: [a + torch.rand(4, 4) - torch.rand(4, 4)], pair(0)))
    assert operations(graph, "rand") == 2
    assert not torch.equal(graph(*pair(0))[0], graph(*pair(0))[0])


def in_place(a: Tensor, b: Tensor) -> list[Tensor]:
    """The same reading before and after a writing, of a copy, of a constant, and through a view."""
    own, fixed = a.clone(), torch.zeros(4)
    before = own.sum() + fixed.sum()
    own[0].add_(b[0])
    fixed.add_(1)
    after = own.sum() + fixed.sum()
    second = a.clone()
    return [before, after, second, own, torch.zeros(4) + fixed]


def hidden_views(a: Tensor, b: Tensor) -> list[Tensor]:
    """A GRU on the CPU writes to parts that `unsafe_split` gives, of a product that both have."""
    w = b[:, :2].repeat(1, 1).T.contiguous().repeat(6, 1)[:12]
    return [torch.gru_cell(a, b, w, w), torch.gru_cell(a + 1, b, w, w)]


def unsaid_writes(a: Tensor, b: Tensor) -> list[Tensor]:
    mean, var = torch.zeros(4), torch.ones(4)
    first = torch.nn.functional.batch_norm(a, mean, var, training=True)
    between = mean.sum() + var.sum()
    second = torch.nn.functional.batch_norm(a, mean, var, training=True)
    return [first, between, second, mean.sum() + var.sum()]


@pytest.mark.parametrize("function", [in_place, hidden_views, unsaid_writes])
def test_what_is_written_to_stays_as_it_is(function: Function) -> None:
    checked(function)


def test_results_share_no_memory_that_they_did_not() -> None:
    graph = checked(lambda a, b: [a @ b, (a @ b).T, a @ b, torch.zeros(3), torch.zeros(3)])
    results = graph(*pair(0))
    assert len({t.untyped_storage().data_ptr() for t in results}) == len(results)
    again = graph(*pair(0))
    results[3].add_(1)
    assert not again[3].any() and not graph(*pair(0))[3].any()


@pytest.mark.parametrize("name", registry.names("rule"))
def test_no_bit_of_a_training_changes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cls: type[Rule] = registry.load("rule", name)
    rule = cls.configured(cls.quick)
    net = network_for(rule)

    def trained() -> tuple[Stepper, list[Tensor]]:
        x, y = random_batch(net, 20, 0).x, torch.arange(20) % net.classes
        adam = OptimizerSpec(name="adam", lr=1e-3)
        stepper = Stepper(rule.watched(), net, Split(x, y), Budget(5, 3, adam, adam), [0, 3])
        sums: list[Tensor] = []
        for number in range(4):
            index = torch.arange(10).reshape(2, 5) + number
            with torch.no_grad():
                sums.append(stepper.step(index, number, None))
        assert all(program.graph is not None for program in stepper.programs)
        return stepper, sums

    ours, our_sums = trained()
    monkeypatch.setattr(traced_step, "simplified", lambda written: written)
    theirs, their_sums = trained()
    assert all(map(torch.equal, our_sums, their_sums))
    for part in ("params", "aux", "memory"):
        ends = [s.params if part == "params" else getattr(s.state, part) for s in (ours, theirs)]
        assert all(torch.equal(ends[0][key], ends[1][key]) for key in ends[1]), part
    done, written = (
        sum(count(p.graph).operations for p in s.programs if p.graph) for s in (ours, theirs)
    )
    assert done < written


@pytest.mark.parametrize("rule", ["gaitprop", "predictive-coding"])
def test_no_bit_of_a_record_changes(
    rule: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Evaluations and probes included, and what the step is said to cost."""
    task = tmp_path / "tiny.toml"
    task.write_text(VARIED)
    ours = run(rule, task, tmp_path / "ours")
    monkeypatch.setattr(traced_step, "simplified", lambda written: written)
    theirs = run(rule, task, tmp_path / "theirs")
    for one, other in zip(ours.records, theirs.records, strict=True):
        counts = [facts(record).pop("cost") for record in (one, other)]
        assert counts[0]["step_flops"] == counts[1]["step_flops"]
        assert facts(one) | {"cost": None} == facts(other) | {"cost": None}
