"""Networks with weights left out: what is pruned stays zero, whatever rule and optimizer."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bioplaus.errors import UnsupportedError
from bioplaus.experiments.experiment import configure, plan
from bioplaus.numerics.random_streams import Stream
from bioplaus.tasks.pruning import Pruning
from bioplaus.tasks.task import read_task
from bioplaus.training.budget import budget
from bioplaus.training.groups import prepared
from bioplaus.training.trainer import Trainer
from tests.helpers.training import CPU, train

RULES = (
    "backprop", "feedback-alignment", "direct-feedback-alignment", "sign-symmetry",
    "kolen-pollack", "weight-mirror", "predictive-coding", "predictive-coding-fixed",
    "activation-relaxation", "z-il", "layerwise-feedback-propagation", "node-perturbation",
)  # fmt: skip
ADAM = {"optimizer.name": "adam", "optimizer.lr": 1e-2, "optimizer.weight_decay": 1e-2}
SGD = {
    "optimizer.name": "sgd", "optimizer.lr": 1e-2, "optimizer.momentum": 0.9,
    "optimizer.weight_decay": 1e-2,
}  # fmt: skip


def trained(
    rule: str, steps_of: int = 2, **settings: object
) -> tuple[Trainer, dict[str, torch.Tensor]]:
    """Two seeds after two epochs of ten steps, and the masks of both."""
    (experiment,) = plan(
        [rule], "digits-mlp", epochs=steps_of,
        settings={"task.train_examples": 300, "task.pruning.sparsity": 0.7, **settings},
        precision="fp64",
    )  # fmt: skip
    splits = prepared(experiment, experiment.task.load_training_data(), CPU)
    trainer = Trainer(experiment.rule, experiment.network, splits, budget(experiment), [0, 1],
                      probe=False)  # fmt: skip
    pruning = experiment.task.pruning
    assert pruning is not None
    one = {n: t[0] for n, t in trainer.params.items()}
    each = [pruning.masks(experiment.network, one, seed) for seed in (0, 1)]
    return trainer, {n: torch.stack([m[n] for m in each]) for n in each[0]}


@pytest.mark.parametrize(
    ("rule", "optimizer"),
    [(rule, optimizer) for rule in RULES for optimizer in (ADAM, SGD)],
)
def test_what_is_pruned_stays_zero_and_the_rest_learns(
    rule: str, optimizer: dict[str, object]
) -> None:
    """T-MASK-1."""
    trainer, masks = trained(rule, **optimizer)
    before = {n: trainer.params[n].clone() for n in masks}
    assert list(masks) == ["1.weight", "2.weight"]
    trainer.train()
    for name, mask in masks.items():
        after = trainer.params[name]
        assert bool((before[name][~mask] == 0).all())
        zeros = after[~mask]
        assert torch.equal(zeros, torch.zeros_like(zeros)) and not bool(zeros.signbit().any())
        assert float((after - before[name])[mask].abs().max()) > 5e-3, name


@pytest.mark.parametrize("seed", range(3))
def test_masks_are_the_seeds_and_nested(seed: int) -> None:
    net = read_task("digits-mlp").build_network()
    params = net.init(Stream(seed).at("parameters"))
    found = {s: Pruning(sparsity=s).masks(net, params, seed) for s in (0.0, 0.5, 0.8, 0.95)}
    for name in ("1.weight", "2.weight"):
        size = params[name].numel()
        for s, masks in found.items():
            assert int((~masks[name]).sum()) == round(s * size)
        assert bool((found[0.95][name] <= found[0.8][name]).all())
        assert bool((found[0.8][name] <= found[0.5][name]).all())
        other = Pruning(sparsity=0.5).masks(net, params, seed + 1)[name]
        assert not torch.equal(found[0.5][name], other)
    assert "3.weight" not in found[0.5]


def test_nothing_pruned_trains_to_the_same_bits(tiny: Path, tmp_path: Path) -> None:
    plain = train(tiny, tmp_path / "a", "kolen-pollack", compile="off")
    none = train(tiny, tmp_path / "b", "kolen-pollack", compile="off",
                 settings={"task.pruning.sparsity": 0.0})  # fmt: skip
    assert [r.curves for r in plain.records] == [r.curves for r in none.records]
    assert plain.records[0].key != none.records[0].key


@pytest.mark.parametrize("rule", ["targetprop", "burstccn", "direct-feedback-alignment"])
def test_feedback_that_no_mask_fits_is_not_pruned_silently(rule: str) -> None:
    base = read_task("digits-sigmoid" if rule == "burstccn" else "digits-square")
    settings = {"task.pruning.sparsity": 0.5, "task.pruning.feedback": "same"}
    with pytest.raises(UnsupportedError, match="is not shaped like the weights"):
        configure(rule, base, settings)


def test_feedback_is_pruned_where_that_is_asked(tmp_path: Path) -> None:
    for rule in ("kolen-pollack", "feedback-alignment"):
        dense, masks = trained(rule, 1)
        same, _ = trained(rule, 1, **{"task.pruning.feedback": "same"})
        for trainer in (dense, same):
            trainer.train()
        for trainer, pruned in ((dense, False), (same, True)):
            fed = {**trainer.state.aux, **trainer.state.memory}
            assert bool((fed["2.weight"][~masks["2.weight"]] == 0).all()) == pruned
            assert bool((fed["2.weight"][masks["2.weight"]] != 0).any())


def test_cut_units_are_a_smaller_network() -> None:
    """T-MASK-2: weights into and out of half of the units pruned, 20 steps of Adam."""
    from bioplaus.training.masks import Masks

    task = read_task("digits-mlp")
    (whole,) = plan(["backprop"], "digits-mlp", settings={"task.train_examples": 300}, epochs=2,
                    precision="fp64")  # fmt: skip
    small = configure("backprop", task, {"task.train_examples": 300, "task.width": 32,
                                         "task.epochs": 2}, "fp64")  # fmt: skip
    splits = prepared(whole, whole.task.load_training_data(), CPU)

    def made(experiment: object) -> Trainer:
        return Trainer(experiment.rule, experiment.network, splits, budget(experiment), [0],  # type: ignore[attr-defined, arg-type]
                       probe=False)  # fmt: skip

    big, little = made(whole), made(small)
    masks = {
        "1.weight": torch.ones(1, 64, 64, dtype=torch.bool),
        "2.weight": torch.ones(1, 64, 64, dtype=torch.bool),
        "3.weight": torch.ones(1, 10, 64, dtype=torch.bool),
    }
    masks["1.weight"][:, 32:] = False
    masks["2.weight"][:, 32:] = masks["2.weight"][:, :, 32:] = False
    masks["3.weight"][:, :, 32:] = False
    held = Masks(None, whole.network, [0])
    held._params = masks
    big.stepper._replicas._masks = held
    for name, mask in masks.items():
        big.params[name].copy_(torch.where(mask, big.params[name], 0.0))
        rows, columns = little.params[name].shape[1:]
        little.params[name].copy_(big.params[name][:, :rows, :columns])
    for trainer in (big, little):
        trainer.train()
    for name, tensor in little.params.items():
        corner = big.params[name][tuple(slice(0, n) for n in tensor.shape)]
        torch.testing.assert_close(corner, tensor, rtol=0, atol=1e-12)


def test_without_masked_gradients_pruned_weights_return() -> None:
    """T-MASK-3: what the harness does is needed; LFP's gradient is proportional to the weight."""
    from bioplaus.training.masks import Masks

    for rule, returns in (("backprop", True), ("layerwise-feedback-propagation", False)):
        trainer, masks = trained(rule, 1)
        trainer.stepper._replicas._masks = Masks(None, trainer.net, [0, 1])
        trainer.train()
        largest = float(trainer.params["2.weight"][~masks["2.weight"]].abs().max())
        assert (largest > 1e-3) if returns else largest == 0.0, rule


def test_optional_fields_change_no_key_and_settings_have_words() -> None:
    base = read_task("digits-mlp")
    assert "pruning" not in base.content()
    experiment = configure("backprop", base, {"task.pruning.sparsity": 0.8})
    assert experiment.label == "task.pruning.sparsity=0.8"
    assert experiment.task.content()["pruning"] == {
        "sparsity": 0.8, "kind": "random", "feedback": "dense",
    }  # fmt: skip
    again = configure("backprop", base, {"task.pruning": {"sparsity": 0.8, "feedback": "same"}})
    assert again.label == "task.pruning.sparsity=0.8 task.pruning.feedback=same"


@pytest.mark.parametrize("value", [1.0, -0.1, "much"])
def test_a_wrong_share_is_said(value: object) -> None:
    from bioplaus.errors import ConfigError

    with pytest.raises(ConfigError, match=r"pruning\.sparsity"):
        configure("backprop", read_task("digits-mlp"), {"task.pruning.sparsity": value})
