"""What was compiled once is found on disk, used, and told apart from anything else."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.fx import GraphModule

from bioplaus.training.compiled_graph import (
    against_growth,
    compile_graph,
    inductor_settings,
    is_kept,
)
from bioplaus.training.traced_step import Traceable, trace

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")


def relaxation(steps: int) -> tuple[GraphModule, list[Tensor]]:
    """x <- lerp(x, goal), as the error next to a fixed one relaxes."""

    def function(x: Tensor, goal: Tensor) -> Traceable:
        for _ in range(steps):
            x = torch.lerp(x, goal, 0.1)
        return [x], ()

    tensors = [torch.zeros(8, 8), torch.linspace(-1, 1, 64).reshape(8, 8)]
    return trace(function, tensors)[0], tensors


def test_running_statistics_do_not_relax() -> None:
    """They are a lerp each, of what came from the layer below and not from its statistics."""

    def normed(x: Tensor, first: Tensor, second: Tensor) -> Traceable:
        after = torch.tanh(x - x.mean(0))
        return [first.lerp(x.mean(0), 0.1), second.lerp(after.mean(0), 0.1), after], ()

    tensors = [torch.linspace(-1, 1, 64).reshape(8, 8), torch.zeros(8), torch.zeros(8)]
    assert against_growth(trace(normed, tensors)[0]) == {}
    assert against_growth(relaxation(1)[0]) == {}
    assert against_growth(relaxation(2)[0])


def test_what_is_compiled_of_a_relaxation_does_not_double_with_each_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each step uses the last one's result twice: inductor would write it into both places."""
    from torch._inductor.loop_body import LoopBody

    made: list[int] = []
    build = LoopBody.__init__

    def counted(self: LoopBody, *given: Any, **named: Any) -> None:
        build(self, *given, **named)
        if hasattr(self, "root_block"):
            made.append(len(self.root_block.graph.nodes))

    monkeypatch.setattr(LoopBody, "__init__", counted)
    largest: dict[int, int] = {}
    for steps in (4, 8):
        made.clear()
        monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / str(steps)))
        graph, tensors = relaxation(steps)
        (found,), (expected,) = compile_graph(graph, tensors)(*tensors), graph(*tensors)
        assert torch.allclose(found, expected, atol=1e-6)
        largest[steps] = max(made)
    assert largest[8] <= 2 * largest[4]


def graph_of(factor: float, size: int = 8) -> tuple[GraphModule, list[Tensor]]:
    def function(a: Tensor) -> Traceable:
        return [torch.tanh(a @ a) * factor], ()

    tensors = [torch.linspace(-1, 1, size * size).reshape(size, size)]
    return trace(function, tensors)[0], tensors


def test_what_is_compiled_is_kept_and_does_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    graph, tensors = graph_of(2.0)
    assert not is_kept(graph, tensors)
    first = compile_graph(graph, tensors)(*tensors)[0]
    assert is_kept(*graph_of(2.0))
    for other in (graph_of(3.0), graph_of(2.0, 9), (graph, [tensors[0].double()])):
        assert not is_kept(*other)
    monkeypatch.setattr(
        "torch._inductor.standalone_compile", lambda *_, **__: pytest.fail("compiled again")
    )
    assert torch.equal(compile_graph(graph, tensors)(*tensors)[0], first)
    expected = torch.tanh(tensors[0] @ tensors[0]) * 2
    assert torch.allclose(first, expected, rtol=1e-6, atol=1e-6)


def test_a_damaged_file_is_compiled_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    graph, tensors = graph_of(4.0)
    first = compile_graph(graph, tensors)(*tensors)[0]
    (kept,) = tmp_path.glob("bioplaus-*.bin")
    kept.write_bytes(b"nothing of the kind")
    assert torch.equal(compile_graph(graph, tensors)(*tensors)[0], first)
    assert kept.read_bytes() != b"nothing of the kind"


def test_a_graph_with_constants_is_read_back_and_does_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A noise's keys are tensors in the graph; used twice, they are one."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    keys, scale = torch.tensor([3, 5]), torch.tensor([0.5, 2.0])

    def keyed(x: Tensor) -> Traceable:
        return [x * keys + scale, (x + keys).sum()], ()

    x = torch.arange(2.0)
    graph, _ = trace(keyed, [x])
    assert any(node.op == "get_attr" for node in graph.graph.nodes), "constants are in the graph"
    for _ in range(2):  # compiled, and read from disk
        product, total = compile_graph(graph, [x])(x)
        assert product.tolist() == [0.5, 7.0] and total == 9.0
    assert len(list(tmp_path.glob("bioplaus-*.bin"))) == 1


def test_a_first_compilation_asks_for_no_instruction_set_that_torch_uses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Vectors as wide as those of torch's own kernels, without compiling its headers for each."""
    from torch._inductor import config
    from torch._inductor.cpu_vec_isa import pick_vec_isa, valid_vec_isa_list

    width = {"AVX2": 256, "AVX512": 512}.get(torch.backends.cpu.get_cpu_capability())
    if width is None:
        pytest.skip("neither AVX2 nor AVX512 here")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv("ATEN_CPU_CAPABILITY", raising=False)
    valid_vec_isa_list.cache_clear()
    with config.patch(inductor_settings(torch.device("cpu"))):
        assert pick_vec_isa().bit_width() == width
    sources = [path.read_text() for path in tmp_path.rglob("*.cpp")]
    assert not any("at::vec" in source for source in sources)


def test_what_the_user_says_of_instruction_sets_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._inductor import config

    with config.patch({"cpp.vec_isa_ok": False}):
        assert "cpp.vec_isa_ok" not in inductor_settings(torch.device("cpu"))
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: "DEFAULT")
    assert "cpp.vec_isa_ok" not in inductor_settings(torch.device("cpu"))


def test_a_gpu_gets_no_pool_of_processes() -> None:
    assert inductor_settings(torch.device("cuda")) == {"compile_threads": 1}
