"""A record that is made anew leaves nothing beside it that was measured of the network before."""

from __future__ import annotations

from pathlib import Path

import bioplaus
from bioplaus.records.store import Store


def test_measurements_of_the_network_before_are_taken_out(tiny: Path, tmp_path: Path) -> None:
    results = tmp_path / "r"
    bioplaus.run("backprop", str(tiny), 2, results=results)
    first, second = (Store(results).place(r) for r in Store(results).read_all().records)
    beside = [path.with_name(f"axis-robustness-{'0' * 16}-{path.name}") for path in (first, second)]
    for path in beside:
        path.write_text("{}")
    bioplaus.run("backprop", str(tiny), 2, results=results)
    assert all(path.exists() for path in beside), "nothing was trained"
    bioplaus.run("backprop", str(tiny), [1], results=results, force=True)
    assert [path.exists() for path in beside] == [True, False], "of the seed that was, alone"
