"""What the robustness axis does to inputs and weights, against closed forms."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bioplaus.axes import Trained
from bioplaus.axes.by_name import configured
from bioplaus.axes.robustness import data_range, examples, feedback, quantised, with_noise
from bioplaus.errors import ConfigError
from bioplaus.experiments.experiment import plan
from bioplaus.learning.batching import initial
from bioplaus.learning.rule import State
from bioplaus.numerics.random_streams import Stream
from bioplaus.tasks.dataset import Split
from bioplaus.training.groups import prepared
from tests.helpers.training import CPU

QUICK = {"examples": 40, "k": [1, 2], "queries": 20, "input_noise": [0.1], "draws": 2}


def untrained(tiny: Path, rule: str = "backprop", **settings: object) -> Trained:
    (experiment,) = plan([rule], str(tiny), settings=settings, precision="fp64")
    params, state = initial(experiment.rule, experiment.network, 0, torch.float64, CPU)
    splits = prepared(experiment, experiment.task.load_data(), CPU)
    return Trained(experiment, 0, params, state, splits, Stream(0).at("axis", "robustness"))


def silent(share: float) -> None:
    pass


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_weights_of_few_bits(bits: int) -> None:
    weight = torch.linspace(-1.0, 0.7, 1001, dtype=torch.float64).reshape(7, 143)
    found = quantised({"1.weight": weight, "1.bias": weight[0]}, bits)
    levels = 2**bits - 1
    assert len(found["1.weight"].unique()) <= levels
    step = 1.0 / (2 ** (bits - 1) - 1)  # the largest is 1
    torch.testing.assert_close(
        found["1.weight"] / step, (found["1.weight"] / step).round(), rtol=0, atol=1e-12
    )
    assert float((found["1.weight"] - weight).abs().max()) <= step / 2 + 1e-12
    assert torch.equal(found["1.bias"], weight[0])


def test_weights_that_are_all_zero_stay() -> None:
    zero = torch.zeros(3, 4)
    assert torch.equal(quantised({"1.weight": zero}, 4)["1.weight"], zero)


def test_noise_is_relative_to_the_weights_of_a_layer() -> None:
    params = {"1.weight": 0.01 * Stream(1).normal((300, 200)), "1.bias": torch.ones(300)}
    found = with_noise(params, 0.3, Stream(2))
    noise = (found["1.weight"] - params["1.weight"]).square().mean().sqrt()
    rms = params["1.weight"].square().mean().sqrt()
    # 60,000 draws: the ratio's standard error is 1 / sqrt(2 * 60,000) = 0.3 %
    assert float(noise / rms) == pytest.approx(0.3, rel=0.015)
    assert torch.equal(found["1.bias"], params["1.bias"])
    again = with_noise(params, 0.6, Stream(2))
    torch.testing.assert_close(
        again["1.weight"] - params["1.weight"], 2 * (found["1.weight"] - params["1.weight"])
    )


def test_feedback_weights_are_told_from_other_state() -> None:
    state = {"2.weight": torch.ones(3, 4), "2.bias": torch.ones(3), "average": torch.ones(3, 4)}
    assert list(feedback(state)) == ["2.weight"]


def test_examples_are_the_same_for_all_and_those_of_fewer_are_among_them() -> None:
    split = Split(torch.arange(100.0)[:, None], torch.zeros(100, dtype=torch.int64))
    few, more = examples(split, 10, "toy"), examples(split, 30, "toy")
    assert len(few) == 10 and set(few.x.flatten().tolist()) <= set(more.x.flatten().tolist())
    assert len(examples(split, 500, "toy")) == 100
    assert data_range(split.x) == (0.0, 99.0)


def test_every_curve_starts_from_the_examples_as_they_are(tiny: Path) -> None:
    trained = untrained(tiny)
    found = configured("robustness", QUICK).measure(trained, silent)
    assert list(found) == [
        "clean", "robust", "greedy", "sparse_rs", "input_noise", "weight_noise", "quantised",
    ]  # fmt: skip
    test = trained.data.test
    assert test is not None
    chosen = examples(test, 40, "digits")
    right = (trained.answers(chosen.x).argmax(1) == chosen.y).double().mean()
    assert found["clean"].value == pytest.approx(float(right))
    curves = {n: torch.as_tensor(r.value) for n, r in found.items() if r.over == "k"}
    assert list(found["robust"].at) == [1, 2]
    for name in ("greedy", "sparse_rs"):
        assert bool((curves["robust"] <= curves[name] + 1e-12).all())
        assert bool((curves[name] <= found["clean"].value).all())
        assert curves[name][1] <= curves[name][0]


def test_the_numbers_are_a_function_of_the_network_and_the_seed(tiny: Path) -> None:
    axis, trained = configured("robustness", QUICK), untrained(tiny)
    first, again = axis.measure(trained, silent), axis.measure(trained, silent)
    for name, reading in first.items():
        assert torch.equal(torch.as_tensor(reading.value), torch.as_tensor(again[name].value))


def test_a_rule_that_answers_from_feedback_weights_has_a_curve_of_them(tiny: Path) -> None:
    tiny.write_text(tiny.read_text().replace("leaky_relu(0.1)", "hard_sigmoid"))
    settings = {"equilibrium-propagation.feedback": "own", "equilibrium-propagation.free_steps": 5}
    trained = untrained(tiny, "equilibrium-propagation", **settings)
    found = configured("robustness", QUICK).measure(trained, silent)
    assert "feedback_noise" in found
    fed = {n: 0.0 * t for n, t in trained.state.aux.items()}
    x = trained.data.train.x[:5]
    assert not torch.equal(trained.answers(x), trained.answers(x, None, State(fed, {})))


def test_without_a_gradient_the_search_stands_alone(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = untrained(tiny)
    whole: Callable[..., torch.Tensor] = type(trained.experiment.rule).predict
    monkeypatch.setattr(
        type(trained.experiment.rule), "predict",
        lambda self, net, params, state, x: whole(self, net, params, state, x).detach(),
    )  # fmt: skip
    found = configured("robustness", QUICK).measure(trained, silent)
    assert "greedy" not in found and "sparse_rs" in found and "robust" in found
    assert torch.equal(
        torch.as_tensor(found["robust"].value), torch.as_tensor(found["sparse_rs"].value)
    )


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"k": [0]}, "greater than or equal to 1"),
        ({"k": [1, 1]}, "each value once"),
        ({"values": [0.2, 0.5]}, "the ends of the range"),
        ({"bits": [1]}, "greater than or equal to 2"),
        ({"examples": 0}, "greater than or equal to 1"),
        ({"input_noise": [-1.0]}, "greater than 0"),
    ],
)
def test_a_wrong_setting_is_one_clear_line(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as raised:
        configured("robustness", settings)
    assert "\n" not in str(raised.value)


def test_one_value_stands_for_a_list_of_it() -> None:
    assert configured("robustness", {"k": 3}).config.k == (3,)


def test_no_state_is_an_empty_one(tiny: Path) -> None:
    trained = untrained(tiny)
    assert trained.state == State({}, {})


def test_settings_given_as_they_are_by_default_are_the_same_settings() -> None:
    axis = configured("robustness")
    again = configured("robustness", axis.config.model_dump(mode="json"))
    assert again.config == axis.config
