"""Experiments: who decides what, what a key covers, and what is run again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import bioplaus
from bioplaus.errors import BioplausError, ConfigError, UnknownNameError, UnsupportedError
from bioplaus.experiments.experiment import Experiment, plan
from bioplaus.experiments.settings import parse_assignments
from bioplaus.records.schema import digest
from bioplaus.records.store import Store, read_record
from bioplaus.running import run as module
from bioplaus.running.run import Results, run_experiments
from bioplaus.training.execution import Execution

CPU = torch.device("cpu")


def train(tiny: Path, results: Path, *rules: str, **options: object) -> Results:
    seeds = options.pop("seeds", [0, 1])
    force = bool(options.pop("force", False))
    weights = bool(options.pop("save_weights", False))
    how = {k: options.pop(k) for k in ("compile", "max_replicas") if k in options}
    experiments = plan(rules, str(tiny), **options)  # type: ignore[arg-type]
    store = Store(results)
    return run_experiments(
        experiments,
        seeds,  # type: ignore[arg-type]
        store,
        execution=Execution(CPU, **how),  # type: ignore[arg-type]
        force=force,
        save_weights=weights,
    )


def one(tiny: Path, rule: str = "gaitprop", **settings: object) -> Experiment:
    return plan([rule], str(tiny), settings=settings)[0]


def test_precedence_task_then_rule_then_command_line(tiny: Path) -> None:
    assert one(tiny, "backprop").optimizer.lr == 1e-3
    assert one(tiny, "targetprop-exact").optimizer.lr == 1e-5
    chosen = plan(["targetprop-exact"], str(tiny), settings={"optimizer.lr": 0.25})[0]
    assert chosen.optimizer.lr == 0.25
    assert chosen.optimizer.betas == (0.9, 0.99)
    assert chosen.label == "optimizer.lr=0.25"


def test_auxiliary_optimizer_can_be_set(tiny: Path) -> None:
    chosen = plan(["targetprop"], str(tiny), settings={"aux_optimizer.lr": 0.5})[0]
    assert chosen.aux_optimizer is not None and chosen.aux_optimizer.lr == 0.5
    assert chosen.label == "aux_optimizer.lr=0.5"
    with pytest.raises(ConfigError, match="gaitprop as configured learns no auxiliary"):
        plan(["gaitprop"], str(tiny), settings={"aux_optimizer.lr": 0.5})


def test_labels_name_what_differs_from_the_defaults(tiny: Path) -> None:
    assert one(tiny).label == ""
    assert one(tiny, ortho=0.1).label == ""
    assert plan(["gaitprop"], str(tiny), epochs=2)[0].label == ""
    changed = plan(["gaitprop"], str(tiny), epochs=3, settings={"task.batch_size": 25})[0]
    assert changed.label == "task.batch_size=25 epochs=3"


def test_bare_options_go_to_every_rule_and_all_must_have_them(tiny: Path) -> None:
    rules = ["gaitprop", "targetprop"]
    both = plan(rules, str(tiny), settings={"ortho": 0.5})
    assert [e.label for e in both] == ["ortho=0.5", "ortho=0.5"]
    one_only = plan(rules, str(tiny), settings={"gaitprop.ortho": 0.5})
    assert [e.label for e in one_only] == ["ortho=0.5", ""]
    with pytest.raises(UnknownNameError, match="unknown option of targetprop 'gamma'"):
        plan(rules, str(tiny), settings={"gamma": 0.5})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"orto": 1}, "unknown option of gaitprop 'orto'; did you mean ortho"),
        ({"ortho": -1}, "ortho: .*greater than or equal to 0"),
        ({"ortho": "much"}, "ortho: .*number"),
        ({"form": "finit"}, "form: .*'difference' or 'finite'"),
        ({"optimizer.rate": 1}, "unknown optimizer setting 'rate'"),
        ({"optimizer.lr": 0}, "optimizer: lr: .*greater than 0"),
        ({"task.loss": "hinge"}, "loss"),
        ({"task.network": 1}, "unknown task setting 'network'"),
        ({"gaitprp.ortho": 1}, "'gaitprp'; did you mean gaitprop"),
    ],
)
def test_bad_settings_get_one_clear_line(
    tiny: Path, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(BioplausError, match=message) as caught:
        plan(["gaitprop"], str(tiny), settings=settings)
    assert "\n" not in str(caught.value)


def test_assignments_read_values_as_in_toml() -> None:
    read = parse_assignments(["a=1", "b=0.5", "c=true", "d=False", "e=text", "r.f=1e-3", "g=[1,2]"])
    expected = {"a": 1, "b": 0.5, "c": True, "d": False, "e": "text", "r.f": 1e-3, "g": [1, 2]}
    assert read == expected
    for bad in ("a", "=1", ""):
        with pytest.raises(ConfigError, match="option=value"):
            parse_assignments([bad])
    with pytest.raises(ConfigError, match="set twice"):
        parse_assignments(["a=1", "a=2"])


def test_a_network_that_a_rule_cannot_train_is_refused_before_anything_runs(tiny: Path) -> None:
    tiny.write_text(tiny.read_text().replace("leaky_relu(0.1)", "relu"))
    with pytest.raises(UnsupportedError, match=r"gaitprop cannot train on tiny: .*relu"):
        plan(["backprop", "gaitprop"], str(tiny))


def test_without_a_task_the_default_is_chosen() -> None:
    assert plan(["gaitprop"])[0].task.name == "digits-square"


def test_a_key_covers_what_changes_the_result_and_nothing_else(tiny: Path, tmp_path: Path) -> None:
    def key(settings: dict[str, object] | None = None, **more: object) -> str:
        chosen = plan(["gaitprop"], str(tiny), settings=settings, **more)[0]  # type: ignore[arg-type]
        return digest(chosen.configuration(chosen.task.load_data()))

    same = key()
    assert key({"ortho": 0.1}) == same
    assert key(epochs=2) == same
    other = tmp_path / "other.toml"
    other.write_text(tiny.read_text().replace('"tiny"', '"renamed"').replace("in a blink", "."))
    renamed = plan(["gaitprop"], str(other))[0]
    assert digest(renamed.configuration(renamed.task.load_data())) == same
    different = [
        key({"ortho": 0.2}),
        key(epochs=3),
        key(precision="fp64"),
        key({"optimizer.lr": 0.1}),
        key({"task.batch_size": 25}),
        key({"task.validation": 900}),
    ]
    assert len({same, *different}) == 1 + len(different)


def test_records_hold_everything(tiny: Path, tmp_path: Path) -> None:
    done = train(tiny, tmp_path / "r", "gaitprop", settings={"ortho": 0.05})
    files = sorted((tmp_path / "r").rglob("*.json"))
    assert [f.name for f in files] == ["seed-0000.json", "seed-0001.json"]
    record = read_record(files[1])
    assert record == done.records[1]
    assert (record.task, record.rule, record.seed) == ("tiny", "gaitprop", 1)
    assert record.configuration["options"]["ortho"] == 0.05
    assert record.configuration["options"]["form"] == "difference"
    assert record.configuration["data"]["sizes"] == {"train": 500, "validation": 937, "test": 360}
    assert len(record.curves.metrics["loss"]) == 2
    assert record.test_accuracy == record.curves.test_accuracy[-1]
    assert record.provenance["packages"]["torch"].partition("+")[0] in torch.__version__
    assert record.provenance["seeds_together"] == [0, 1]
    assert json.loads(files[1].read_text())["schema"] == 1


def test_only_what_is_missing_runs(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[list[int]] = []
    real = module.train_groups

    def spy(experiment, data, seeds, *rest):  # type: ignore[no-untyped-def]
        trained.append(list(seeds))
        return real(experiment, data, seeds, *rest)

    monkeypatch.setattr(module, "train_groups", spy)
    results = tmp_path / "r"
    train(tiny, results, "gaitprop", seeds=[1])
    again = train(tiny, results, "gaitprop", seeds=[0, 1, 2])
    assert trained == [[1], [0, 2]]
    assert (again.reused, len(again.records)) == (1, 3)
    train(tiny, results, "gaitprop", seeds=[0, 1, 2])
    assert len(trained) == 2
    train(tiny, results, "gaitprop", seeds=[1], force=True)
    assert trained[2:] == [[1]]
    damaged = next(results.rglob("seed-0002.json"))
    damaged.write_text(damaged.read_text()[:100])
    train(tiny, results, "gaitprop", seeds=[0, 1, 2])
    assert trained[3:] == [[2]]


def test_the_same_seed_twice_is_the_same_record(tiny: Path, tmp_path: Path) -> None:
    first = train(tiny, tmp_path / "a", "gaitprop", "targetprop").records
    second = train(tiny, tmp_path / "b", "gaitprop", "targetprop").records
    for one_, other in zip(first, second, strict=True):
        assert one_.curves == other.curves
        assert one_.key == other.key


def test_a_rule_that_raises_is_a_problem_and_the_others_run(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bioplaus.plugins.registry import load

    def broken(self: object, *args: object) -> None:
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(load("rule", "backprop"), "deltas", broken)
    done = train(tiny, tmp_path / "r", "backprop", "gaitprop")
    assert [r.rule for r in done.records] == ["gaitprop", "gaitprop"]
    assert len(done.problems) == 1
    assert "'backprop' failed on tiny: ZeroDivisionError: planted" in done.problems[0]
    monkeypatch.setenv("BIOPLAUS_TRACEBACK", "1")
    with pytest.raises(ZeroDivisionError, match="planted"):
        train(tiny, tmp_path / "s", "backprop")


def test_a_record_that_cannot_be_written_is_not_lost(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bioplaus.errors import RecordError

    def full(self: Store, record: object, replace: bool) -> Path:
        raise RecordError("cannot write: no space left on device")

    monkeypatch.setattr(Store, "publish", full)
    done = train(tiny, tmp_path / "r", "gaitprop")
    assert len(done.records) == 2
    assert done.problems == ["stopped: cannot write: no space left on device"]


def test_weights_are_kept_beside_the_record(tiny: Path, tmp_path: Path) -> None:
    train(tiny, tmp_path / "r", "gaitprop", seeds=[0])
    train(tiny, tmp_path / "r", "gaitprop", seeds=[0], save_weights=True)
    path = next((tmp_path / "r").rglob("seed-0000.pt"))
    weights = torch.load(path, weights_only=True)
    assert sorted(weights) == ["1.bias", "1.weight", "2.bias", "2.weight"]
    assert weights["1.weight"].shape == (16, 64)


def test_the_library_returns_a_tidy_frame(tiny: Path, tmp_path: Path) -> None:
    frame = bioplaus.run(["gaitprop", "backprop"], str(tiny), seeds=2, results=tmp_path / "r")
    assert list(frame["rule"]) == ["backprop", "backprop", "gaitprop", "gaitprop"]
    assert list(frame["seed"]) == [0, 1, 0, 1]
    assert frame["test_accuracy"].between(0, 1).all()
    assert frame.attrs["problems"] == []
    with pytest.raises(ConfigError, match="seeds are whole numbers"):
        bioplaus.run("gaitprop", str(tiny), seeds=[-1], results=tmp_path / "r")


def test_five_wide_replicas_train_on_two_threads(tmp_path: Path, real_data: Path) -> None:
    """Torch's own stacked LU does not survive this: see bioplaus.numerics.linalg."""
    from bioplaus.tasks.task import prepare, read_task
    from bioplaus.training.trainer import Budget, Splits, Trainer

    task = read_task("mnist-square")
    rule = plan(["gaitprop"], "mnist-square")[0].rule
    data = task.load_data()
    some = torch.arange(120)
    train_split = prepare(data.train[some], (784,), data.scale, torch.float32, CPU)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        budget = Budget(60, 1, task.optimizer, task.optimizer)
        outcomes = Trainer(
            rule, task.build_network(), Splits(train_split, None, None), budget, range(5)
        ).train()
    finally:
        torch.set_num_threads(threads)
    assert all(o.diverged_epoch is None for o in outcomes)
    # at the start the weights are orthogonal, where GAIT-prop is backprop
    cosines = [v[-1] for o in outcomes for k, v in o.alignment["loss"].items() if "cosine" in k]
    assert min(c for c in cosines if c is not None) > 0.99
