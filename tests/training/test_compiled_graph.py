"""What was compiled once is found on disk, used, and told apart from anything else."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.fx import GraphModule

from bioplaus.training.compiled_graph import compile_graph, is_kept
from bioplaus.training.traced_step import Traceable, trace

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")


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
