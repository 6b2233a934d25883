"""Spikes and synaptic operations of inferences, as records have them."""

from __future__ import annotations

import json

import pytest
import torch

from bioplaus.analysis.boards import boards
from bioplaus.learning.optimizers import OptimizerSpec
from bioplaus.network.network import Network
from bioplaus.network.neuron import Neuron
from bioplaus.records.schema import Record, ResultSet
from bioplaus.reports.leaderboard import board_table
from bioplaus.reports.text import JsonReport, MarkdownReport
from bioplaus.running.verify import different_bits
from bioplaus.testing.networks import make_network, make_spiking
from bioplaus.training import spike_count
from bioplaus.training.budget import Budget
from bioplaus.training.trainer import Splits, Trainer
from tests.helpers.networks import get_rule
from tests.helpers.records import make_record
from tests.helpers.spiking import image_batch, spiking_network

QUIET = spiking_network((7, 9, 6, 4), Neuron(0.8, 0.5), 6)


def trained(net: Network, seeds: list[int], epochs: int = 2) -> Trainer:
    from bioplaus.tasks.dataset import Split

    parts = [image_batch(net, count, seed) for seed, count in enumerate((40, 30))]
    train, test = (Split(part.x, part.y.argmax(1)) for part in parts)
    budget = Budget(10, epochs, OptimizerSpec(name="adam", lr=0.01), None)
    trainer = Trainer(get_rule("backprop"), net, Splits(train, None, test), budget, seeds)
    trainer.train()
    return trainer


def test_the_last_epoch_has_means_over_the_test_split() -> None:
    trainer = trained(QUIET, [3])
    metrics = trainer.outcomes[0].metrics
    params = {name: tensor[0] for name, tensor in trainer.params.items()}
    x = image_batch(QUIET, 30, 1).x
    trains = [step.output for step in QUIET.forward(params, x)[:-1]]
    by_layer = [float(t.sum()) / 30 for t in trains]
    # every weight is nonzero; delayed layers do not read the last step's spikes
    operations = trains[0].sum() * 9 + trains[1][:, :-1].sum() * 6 + trains[2][:, :-1].sum() * 4
    assert metrics["test_spikes"] == [None, pytest.approx(sum(by_layer), rel=1e-12)]
    for l, count in enumerate(by_layer, 1):
        assert metrics[f"test_spikes.{l}"][1] == pytest.approx(count, rel=1e-12)
    assert metrics["test_synaptic_operations"][1] == pytest.approx(float(operations) / 30)
    assert metrics["test_multiply_accumulates"] == [None, 0.0]


@pytest.mark.parametrize("net", [QUIET, make_spiking()], ids=["quiet", "noisy"])
def test_a_seed_among_others_and_in_small_batches_costs_the_same(
    net: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("test_spikes", "test_synaptic_operations")
    alone = trained(net, [3]).outcomes[0].metrics
    monkeypatch.setattr(spike_count, "_ELEMENTS", 600)
    among = trained(net, [0, 3]).outcomes[1].metrics
    assert [among[name] for name in names] == [alone[name] for name in names]


def test_networks_without_spikes_and_rules_that_answer_otherwise_have_no_counts() -> None:
    assert not spike_count.is_counted(get_rule("backprop"), make_network((7, 6, 4)))
    assert not spike_count.is_counted(get_rule("equilibrium-propagation"), QUIET)
    assert spike_count.is_counted(get_rule("desire-backpropagation"), QUIET)


def with_counts(record: Record, spikes: float, operations: float) -> Record:
    epochs = len(record.curves.test_accuracy)
    found = {"test_spikes": spikes, "test_synaptic_operations": operations}
    curves = {name: [*[None] * (epochs - 1), value] for name, value in found.items()}
    metrics = {**record.curves.metrics, **curves}
    return record.model_copy(
        update={"curves": record.curves.model_copy(update={"metrics": metrics})}
    )


def test_tables_have_the_columns_where_a_row_has_the_numbers() -> None:
    plain = [make_record(seed=s, test=0.5 + s / 10) for s in (0, 1)]
    counted = [with_counts(record, 100 + record.seed, 12_000) for record in plain]
    text = MarkdownReport().render(ResultSet(counted))
    assert "| Spikes | Synaptic operations |" in text and "| 100 | 12,000 |" in text.replace(
        "| 101 |", "| 100 |"
    )
    assert "Spikes" not in MarkdownReport().render(ResultSet(plain))
    (row,) = json.loads(JsonReport().render(ResultSet(counted)))
    assert (row["spikes"], row["synaptic_operations"]) == (100.5, 12_000)
    for records, there in ((counted, True), (plain, False)):
        (board,) = boards(ResultSet(records))
        names = [column.name for column in board_table(board, 0).columns]
        assert ("Spikes" in names, "Syn. ops" in names) == (there, there)


def test_a_record_of_before_verifies_against_one_that_counts() -> None:
    before = make_record(seed=0)
    now = with_counts(before, 100, 12_000)
    assert different_bits(before, now) == []
    assert different_bits(now, with_counts(before, 101, 12_000)) == ["the curves differ"]
    assert different_bits(now, before) == ["the curves differ"]


def test_counts_are_whole_numbers_in_single_precision() -> None:
    net = spiking_network((64, 300, 10), Neuron(0.75), 20)
    from bioplaus.network.synapses import activity
    from tests.helpers.spiking import lively_params

    batch, params = image_batch(net, 4, 0), lively_params(net, 0)
    single = {name: tensor.float() for name, tensor in params.items()}
    found = activity(net, single, net.forward(single, batch.x.float()))
    assert torch.equal(found.accumulates, found.accumulates.round())
