"""Processes: gone only when that is certain."""

from __future__ import annotations

from bioplaus.system.processes import Process, this_process


def test_a_process_is_gone_only_when_that_is_certain() -> None:
    me = this_process()
    assert not me.is_gone
    assert Process(me.host, me.place, me.pid, "1").is_gone, "its number went to another"
    assert not Process(me.host, "another boot", 2**22, "1").is_gone
    assert not Process(me.host, "", 2**22, "1").is_gone
