"""Every format of a report takes whatever a record may hold."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from bioplaus.cli import main
from bioplaus.plugins import registry
from bioplaus.records.store import Store
from tests.helpers.records import make_record


@pytest.mark.parametrize("form", registry.names("report"))
def test_curves_of_nan_reach_every_report(tmp_path: Path, form: str) -> None:
    path = Store(tmp_path).write(make_record(cosines=[[0.5, 0.25]]))
    content = json.loads(path.read_text())
    content["curves"]["metrics"]["loss"] = [float("nan"), float("inf")]
    content["train_loss"] = float("inf")
    content["curves"]["alignment"]["loss"]["cosine.0"] = [float("nan")] * 2
    path.write_text(json.dumps(content))
    assert "NaN" in path.read_text()
    done = CliRunner().invoke(main, ["report", "--results", str(tmp_path), "--format", form])
    assert done.exit_code == 0, done.output
    assert "backprop" in done.stdout
