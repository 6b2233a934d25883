"""CUDA graphs, where there is a device to capture on, and as the CPU plays them everywhere."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bioplaus.learning.batching import Rule
from bioplaus.learning.optimizers import OptimizerSpec
from bioplaus.plugins import registry
from bioplaus.tasks.dataset import Split
from bioplaus.training.budget import Budget
from bioplaus.training.cuda_graph import Captured
from bioplaus.training.stepper import Compile, Stepper
from tests.helpers.accelerator import Replayed, needs_cuda, play_replays
from tests.helpers.networks import network_for, random_batch
from tests.helpers.resuming import run


@pytest.fixture(params=["played", pytest.param("cuda", marks=needs_cuda)])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> torch.device:
    """Where steps are captured."""
    if request.param == "played":
        play_replays(monkeypatch)
    return torch.device("cpu" if request.param == "played" else "cuda")


@needs_cuda
def test_every_call_counts_once() -> None:
    total = torch.zeros((), device="cuda")

    def counting() -> None:
        total.add_(1)

    captured = Captured(counting, total.device)
    for _ in range(10):
        captured()
    assert float(total) == 10
    assert captured.why == ""


@needs_cuda
def test_what_waits_for_the_device_is_not_captured_and_runs_all_the_same() -> None:
    total = torch.zeros((), device="cuda")

    def waiting() -> None:
        total.add_(1 + 0 * total.item())

    captured = Captured(waiting, total.device)
    for _ in range(10):
        captured()
    assert float(total) == 10
    assert "captur" in captured.why and "previous error" not in captured.why


@needs_cuda
def test_one_run_after_the_other_holds_no_more_memory(tiny: Path, tmp_path: Path) -> None:
    """cuBLAS has a workspace for every stream that it ever worked on, 32 MiB each on Hopper."""
    peaks = []
    for number in range(3):
        done = run("backprop", tiny, tmp_path / str(number), device="cuda", compile="auto")
        cost = done.records[0].cost
        assert cost is not None and cost.peak_measured and cost.peak_bytes
        peaks.append(cost.peak_bytes)
    assert max(peaks) - min(peaks) < 2**23


@pytest.mark.parametrize("name", registry.names("rule"))
def test_ten_captured_steps_are_ten_plain_ones(name: str, device: torch.device) -> None:
    cls: type[Rule] = registry.load("rule", name)
    rule = cls.configured(cls.quick)
    net = network_for(rule)

    def trained(compile: Compile) -> Stepper:
        x = random_batch(net, 20, 0).x.to(device)
        y = torch.arange(20, device=device) % net.classes
        adam = OptimizerSpec(name="adam", lr=1e-3)
        stepper = Stepper(rule, net, Split(x, y), Budget(5, 3, adam, adam), [0, 3], compile)
        sums = None
        for number in range(10):
            index = torch.arange(10, device=device).reshape(2, 5) + number
            with torch.no_grad():
                sums = stepper.step(index, number, sums)
        assert stepper.not_captured == []
        return stepper

    plain, captured = trained("off"), trained("auto")
    assert device.type == "cuda" or Replayed.captured
    for part in ("params", "aux", "memory"):
        ours, theirs = (
            s.params if part == "params" else getattr(s.state, part) for s in (captured, plain)
        )
        for key in theirs:
            assert torch.allclose(ours[key], theirs[key], rtol=1e-10, atol=1e-12), key
