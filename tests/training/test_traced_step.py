"""A program does what its function does, however it runs, and says how it ran."""

from __future__ import annotations

import shutil

import pytest
import torch
from torch import Tensor
from torch.fx import GraphModule

from bioplaus.errors import PluginError
from bioplaus.training import traced_step as programs
from bioplaus.training.traced_step import Program, Traceable, trace


def function(a: Tensor, b: Tensor) -> Traceable:
    return [torch.tanh(a @ b) + 1, a], ("bent",)


def never(graph: GraphModule, tensors: object) -> bool:
    return False


def always(graph: GraphModule, tensors: object) -> bool:
    return True


def pair(seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(4, 4, generator=generator), torch.randn(4, 4, generator=generator)


def test_replaying_changes_no_bit() -> None:
    program = Program(function, never)
    for seed in range(3):
        for ours, theirs in zip(program(*pair(seed)), function(*pair(seed))[0], strict=True):
            assert torch.equal(ours, theirs)
    assert (program.how, program.why) == ("traced", "")
    assert program.names == ("bent",)


def test_the_function_runs_once_and_is_replayed_from_then_on() -> None:
    calls = []

    def counted(a: Tensor, b: Tensor) -> Traceable:
        calls.append(1)
        return function(a, b)

    program = Program(counted, never)
    for seed in range(3):
        program(*pair(seed))
    assert len(calls) == 1


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
def test_compiling_changes_rounding_alone(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    program = Program(function, always)
    for seed in range(2):
        for ours, theirs in zip(program(*pair(seed)), function(*pair(seed))[0], strict=True):
            assert torch.allclose(ours, theirs, rtol=1e-6, atol=1e-6)
    assert (program.how, program.why) == ("compiled", "")


def test_what_cannot_be_traced_runs_as_it_is_and_says_why() -> None:
    def branching(a: Tensor) -> Traceable:
        return [a + 1 if a.sum() > 0 else a - 1], ("moved",)

    program = Program(branching, always)
    assert program(torch.ones(2))[0].tolist() == [2, 2]
    assert program(-torch.ones(2))[0].tolist() == [-2, -2]
    assert program.how == "eager" and "traced" in program.why
    assert program.names == ("moved",)


def test_what_cannot_be_compiled_is_replayed_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(graph: GraphModule, tensors: object) -> None:
        raise FileNotFoundError("no compiler\nand a long story")

    monkeypatch.setattr(programs, "compile_graph", broken)
    program = Program(function, always)
    assert torch.equal(program(*pair(0))[0], function(*pair(0))[0][0])
    assert program.how == "traced"
    assert program.why == "it cannot be compiled (FileNotFoundError: no compiler)"


def test_what_the_function_does_wrong_is_raised() -> None:
    def wrong(a: Tensor) -> Traceable:
        return [a @ a], ()

    def broken(a: Tensor) -> Traceable:
        raise PluginError("a rule broke its contract")

    with pytest.raises(RuntimeError, match="mat"):
        Program(wrong, never)(torch.ones(2, 3))
    with pytest.raises(PluginError, match="contract"):
        Program(broken, never)(torch.ones(2))


def test_a_trace_holds_no_dead_operation() -> None:
    def wasteful(a: Tensor) -> Traceable:
        a @ a
        return [a + 1], ()

    assert "mm" not in trace(wasteful, [torch.ones(2, 2)])[0].code
