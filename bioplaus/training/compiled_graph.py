"""Graphs as machine code, kept on disk: what was compiled here before is read in a blink."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import platform
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import platformdirs
import torch
from torch import Tensor
from torch.fx import Graph, GraphModule, Node

from bioplaus.system.processes import usable_cores

Compiled = Callable[..., Sequence[Tensor]]

_COMPILERS = 2
"""C++ compilers at a time: each takes some hundred MB, and other workers may run beside."""
_VECTORS = "AVX2", "AVX512"


def compile_graph(graph: GraphModule, tensors: Sequence[Tensor]) -> Compiled:
    """The graph as machine code for tensors of these shapes, from disk where it is kept.

    Raises whatever inductor or the C++ compiler may.
    """
    folder = _folder()
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(folder))
    # imported late: it takes seconds
    from torch._inductor import config, standalone_compile

    kept = folder / _name(graph, tensors)
    lifted, constants = _without_constants(graph)

    def bound(compiled: Compiled) -> Compiled:
        return (lambda *given: compiled(*given, *constants)) if constants else compiled

    # what is read is linked against the same settings: with others inductor looks around anew
    settings = inductor_settings(tensors[0].device) | against_growth(graph)
    with _quiet(), config.patch(settings):
        if kept.is_file():
            # somebody else's torch, or half a file: compiled anew
            with contextlib.suppress(Exception):
                from torch._inductor import CompiledArtifact  # type: ignore[attr-defined]

                return bound(CompiledArtifact.load(path=str(kept), format="binary"))
        # shapes as they are: without them inductor takes nothing into its cache
        compiled = standalone_compile(
            lifted, [*tensors, *constants], dynamic_shapes="from_example_inputs"
        )
        # what cannot be kept can be used all the same
        with contextlib.suppress(RuntimeError, OSError):
            kept.parent.mkdir(parents=True, exist_ok=True)
            compiled.save(path=str(kept), format="binary")
    return bound(compiled)


def inductor_settings(device: torch.device) -> dict[str, Any]:
    """Inductor's, for what a first compilation spends beside the code itself.

    Left to itself it compiles torch's vector headers once for each of the processor's instruction
    sets, to see whether it may use them. Where torch's own kernels run on them, it may; a C++
    compiler that knows less than torch's ends in a replay, as where there is none.
    """
    from torch._inductor import config

    settings: dict[str, Any] = {}
    if device.type != "cpu":
        # kernels of a GPU go to a pool of processes, which takes longer to start than it saves
        settings["compile_threads"] = 1
    else:
        settings["compile_threads"] = min(_COMPILERS, usable_cores())
        if config.cpp.vec_isa_ok is None and torch.backends.cpu.get_cpu_capability() in _VECTORS:
            settings["cpp.vec_isa_ok"] = True
    return settings


def against_growth(graph: GraphModule) -> dict[str, Any]:
    """Inductor's settings for graphs that relax, x <- lerp(x, goal) again and again.

    Inductor writes what is pointwise into each of its uses, until that is 30 operations (50 on a
    CPU from torch 2.14), counted without repetitions. lerp uses x twice: where the goal stands
    still, each step doubles what is worked through. Of bounds from 10 to 30 this is the lowest
    with which no step was slower on a CPU, and bits were the same with each that was compared;
    what it gains is in docs/performance.md. On a GPU it was not measured.
    """
    relaxed: set[Node] = set()  # what hangs on a lerp; running statistics do, and on one alone
    for node in graph.graph.nodes:
        again = not relaxed.isdisjoint(node.all_input_nodes)
        lerp = "aten.lerp" in str(node.target)
        if lerp and again:
            return {"realize_opcount_threshold": 12}
        if lerp or again:
            relaxed.add(node)
    return {}


def is_kept(graph: GraphModule, tensors: Sequence[Tensor]) -> bool:
    """Whether this machine has compiled that graph before."""
    return (_folder() / _name(graph, tensors)).is_file()


def _without_constants(graph: GraphModule) -> tuple[GraphModule, list[Tensor]]:
    """The graph with its constant tensors, a noise's keys say, as further inputs, and them.

    What inductor reads back from disk expects constants and does not have them (torch 2.14).
    """
    lifted = Graph()
    lifted.output(lifted.graph_copy(graph.graph, {}))
    constants: list[Tensor] = []
    places: dict[str, Node] = {}
    last = [node for node in lifted.nodes if node.op == "placeholder"][-1]
    for node in [node for node in lifted.nodes if node.op == "get_attr"]:
        name = str(node.target)
        if name not in places:
            with lifted.inserting_after(last):
                last = places[name] = lifted.placeholder(f"constant{len(constants)}")
            constants.append(getattr(graph, name))
        node.replace_all_uses_with(places[name])
        lifted.erase_node(node)
    # a module that holds nothing: what one holds is taken for an input, used or not
    return GraphModule(torch.nn.Module(), lifted), constants


def _folder() -> Path:
    if given := os.environ.get("TORCHINDUCTOR_CACHE_DIR"):
        return Path(given)
    return Path(platformdirs.user_cache_dir("bioplaus", appauthor=False)) / "compiled"


def _name(graph: GraphModule, tensors: Sequence[Tensor]) -> str:
    """Of the file, from all that the code depends on."""
    device = tensors[0].device
    machine: list[object] = [platform.machine(), torch.backends.cpu.get_cpu_capability()]
    if device.type == "cuda":
        allowed = torch.backends.cuda.matmul.allow_tf32
        machine = [torch.cuda.get_device_name(device), torch.version.cuda, allowed]
    content: list[object] = [
        torch.__version__,
        platform.python_version(),
        *machine,
        torch.get_num_threads(),
        graph.code,
        against_growth(graph),
        *((t.shape, t.stride(), t.dtype, t.device.type) for t in tensors),
        *(
            _constant(graph, str(node.target))
            for node in graph.graph.nodes
            if node.op == "get_attr"
        ),
    ]
    digest = hashlib.sha256("\n".join(map(str, content)).encode()).hexdigest()
    return f"bioplaus-2-{digest[:32]}.bin"


def _constant(graph: GraphModule, name: str) -> str:
    value: Any = getattr(graph, name, None)
    if not isinstance(value, Tensor):
        return str(value)
    data = value.detach().cpu().contiguous()
    return f"{data.dtype} {data.shape} {hashlib.sha256(data.numpy().tobytes()).hexdigest()}"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the compiler's advice on machines and caches: what fails is in `why`."""
    loggers = [
        logging.getLogger(name)
        for name in ("torch.utils.cpp_extension", "torch._inductor.standalone_compile")
    ]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
