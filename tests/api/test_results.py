"""`load_results`, `load_curves`, `report` and `compare`: a results folder as data frames."""

from __future__ import annotations

from pathlib import Path

import pytest

import bioplaus
from bioplaus.errors import RecordError, UnknownNameError


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    rules = ["backprop", "feedback-alignment"]
    bioplaus.run(rules, "digits-mlp", seeds=2, epochs=2, results=folder)
    return folder


def test_records_come_back_as_they_were_returned(results: Path) -> None:
    frame = bioplaus.load_results(results)
    trained = bioplaus.run(
        ["backprop", "feedback-alignment"], "digits-mlp", seeds=2, epochs=2, results=results
    )
    assert frame.equals(trained)
    assert frame.attrs["problems"] == []
    one = bioplaus.load_results(results, rule="backprop", task=["digits-mlp"])
    assert one["rule"].tolist() == ["backprop"] * 2


def test_curves_have_a_row_for_each_epoch(results: Path) -> None:
    curves = bioplaus.load_curves(results)
    assert list(curves.columns[:6]) == ["task", "rule", "config", "seed", "epoch", "test_accuracy"]
    assert "loss" in curves
    assert len(curves) == 2 * 2 * 2
    last = curves[curves["epoch"] == 2].set_index(["rule", "seed"])["test_accuracy"]
    frame = bioplaus.load_results(results).set_index(["rule", "seed"])["test_accuracy"]
    assert last.sort_index().tolist() == frame.sort_index().tolist()


def test_means_and_comparison(results: Path) -> None:
    frame = bioplaus.load_results(results)
    means = frame.groupby("rule")["test_accuracy"].mean()
    table = bioplaus.report(results).set_index("rule")["test_accuracy"]
    assert table.to_dict() == pytest.approx(means.to_dict())
    row = bioplaus.compare("backprop", "feedback-alignment", results=results).iloc[0]
    difference = means["backprop"] - means["feedback-alignment"]
    assert row["difference"] == pytest.approx(difference)
    assert row["task"].startswith("digits-mlp") and row["verdict"]


def test_frames_show_themselves_in_a_notebook(results: Path) -> None:
    frames = (
        bioplaus.load_results(results), bioplaus.load_curves(results), bioplaus.report(results),
        bioplaus.compare("backprop", "feedback-alignment", results=results),
    )  # fmt: skip
    for frame in frames:
        html = frame._repr_html_()  # type: ignore[operator]
        assert "<table" in html and "backprop" in html


def test_a_plot_has_a_line_for_each_rule(results: Path) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    curves = bioplaus.load_curves(results)
    axes = bioplaus.plot_curves(curves)
    means = curves.groupby(["rule", "epoch"])["test_accuracy"].mean()
    drawn = {str(line.get_label()): list(line.get_ydata()) for line in axes.lines}
    assert set(drawn) == {"backprop epochs=2", "feedback-alignment epochs=2"}
    for name, values in drawn.items():
        assert values == pytest.approx((100 * means[name.split()[0]]).tolist())
    with pytest.raises(UnknownNameError, match="unknown column 'accuracy'; did you mean"):
        bioplaus.plot_curves(curves, "accuracy")
    curves.loc[curves["rule"] == "backprop", "cosine"] = 0.5
    (line,) = bioplaus.plot_curves(curves, "cosine").lines
    assert line.get_label() == "backprop epochs=2"
    matplotlib.pyplot.close("all")


def test_what_is_not_there_is_said(results: Path, tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"no records of gaitprop in .*bioplaus\.run"):
        bioplaus.load_results(results, rule="gaitprop")
    with pytest.raises(RecordError, match="no records in"):
        bioplaus.report(tmp_path)
    with pytest.raises(UnknownNameError, match="did you mean backprop"):
        bioplaus.compare("backprob", "feedback-alignment", results=results)
