"""Thousands of made-up but sound records, as large as real ones: for tests of scale."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bioplaus.records.keys import digest, seed_key
from bioplaus.records.schema import SCHEMA
from bioplaus.records.store import Store

EPOCHS = 20
LAYERS = 4
TRAIN, BATCH = 50_000, 100

CARD = {
    "summary": "A rule that exists for a test of scale: nothing was trained.",
    "citation": {"authors": "Nobody", "title": "No paper", "venue": "none", "year": 2024,
                 "identifier": "", "equations": ""},
    "plausibility": {
        "auxiliary": "feedback weights with the signs of the forward weights",
        "backward_locking": True, "local": True, "needs_derivative": "transport", "note": "",
        "phases": "one backward pass", "signed_errors": "yes", "update_locking": True,
        "weight_transport": "sign",
    },
    "published": [{"metric": "mnist test accuracy", "note": "made up", "source": "nowhere",
                   "value": 0.9}],
    "tested": {"needs_derivative": "transport", "weight_transport": "sign"},
}  # fmt: skip


def contents(rules: int, tasks: int, configurations: int, seeds: int) -> Iterator[dict[str, Any]]:
    """What the record files hold, one cell after the other."""
    rng = np.random.default_rng(0)
    for task in range(tasks):
        for rule in range(rules):
            for number in range(configurations):
                yield from _cell(rng, f"rule-{rule:02d}", f"task-{task}", number, seeds)


def write_all(folder: Path, rules: int, tasks: int, configurations: int, seeds: int) -> int:
    """Write them where the store would, and say how many there are."""
    store, count = Store(folder), 0
    for content in contents(rules, tasks, configurations, seeds):
        path = store.path(content["task"], content["rule"], content["cell"], content["seed"])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n")
        count += 1
    return count


def _cell(
    rng: np.random.Generator, rule: str, task: str, number: int, seeds: int
) -> Iterator[dict[str, Any]]:
    rate = (1 + number) / 1000
    configuration = _configuration(rule, task, rate)
    cell = digest(configuration)
    top, spent = 0.98 - 0.1 * rng.random(), 40.0 + rng.random()
    for seed in range(seeds):
        diverged = rng.random() < 0.002
        rise = (top + 0.005 * rng.normal()) * (1 - np.exp(-np.arange(1, EPOCHS + 1) / 4))
        test = _shares(rise, 10_000)
        validation = _shares(rise + 0.002 * rng.normal(size=EPOCHS), 5000)
        if diverged:
            test[-1] = validation[-1] = None
        loss = (2.3 * np.exp(-np.arange(1, EPOCHS + 1) / 5) * (1 + 0.1 * rng.random())).tolist()
        alignment = {}
        for layer in range(1, LAYERS + 1):
            alignment[f"cosine.{layer}"] = rng.uniform(0.3, 1, EPOCHS).tolist()
            alignment[f"norm_ratio.{layer}"] = rng.uniform(0.5, 1.5, EPOCHS).tolist()
        yield {
            "schema": SCHEMA, "key": seed_key(cell, seed), "cell": cell, "task": task,
            "rule": rule, "seed": seed, "configuration": configuration, "card": CARD,
            "label": f"optimizer.lr={rate:g}" if number else "",
            "status": "diverged" if diverged else "complete",
            "diverged_epoch": EPOCHS if diverged else None,
            "train_loss": loss[-1], "validation_accuracy": validation[-1],
            "test_accuracy": test[-1],
            "curves": {"metrics": {"loss": loss}, "validation_accuracy": validation,
                       "test_accuracy": test, "alignment": {"loss": alignment}},
            "timing": {"group_train_seconds": spent,
                       "group_evaluation_seconds": 2.0, "group_size": seeds,
                       "setup_seconds": 0.5, "train_seconds": spent / seeds},
            "cost": {"forward_equivalents": 3.1, "step_flops": 10**9, "peak_bytes": 2**28,
                     "peak_measured": False},
            "provenance": _provenance(seeds),
        }  # fmt: skip


def _shares(values: np.ndarray, examples: int) -> list[float | None]:
    """The nearest numbers of right answers, by the number of examples."""
    return [round(float(v) * examples) / examples for v in np.clip(values, 0, 1)]


def _configuration(rule: str, task: str, rate: float) -> dict[str, Any]:
    layers = [{"activation": "tanh", "bias": True, "type": "dense", "units": 256}] * LAYERS
    return {
        "schema": 1, "rule": rule, "rule_version": 1, "epochs": EPOCHS, "precision": "fp32",
        "options": {"magnitude": "uniform", "steps": 20}, "aux_optimizer": None,
        "optimizer": {"lr": rate, "name": "adam"},
        "task": {"batch_size": BATCH, "dataset": task, "loss": "cross_entropy", "validation": 5000,
                 "network": {"gain": math.sqrt(2), "init": "xavier_normal", "layers": layers}},
        "data": {"checksums": {"test": digest({"test": task}), "train": digest({"train": task})},
                 "scale": 0.0625,
                 "sizes": {"test": 10_000, "train": TRAIN, "validation": 5000}},
    }  # fmt: skip


def _provenance(seeds: int) -> dict[str, Any]:
    return {
        "bioplaus_git": "0" * 40, "command": ["bioplaus", "bench", "everything.toml"],
        "device": "x86_64 (8 cores)", "device_type": "cpu", "threads": 4,
        "packages": {"bioplaus": "0.1.0", "numpy": "2.4.6", "pydantic": "2.14.3",
                     "torch": "2.14.1", "torchvision": "0.29.1"},
        "platform": "Linux-x86_64-with-glibc2.36", "python": "3.11.7",
        "seeds_together": list(range(seeds)),
    }  # fmt: skip
