"""Signals while something works: kept until it is done, but not for ever."""

from __future__ import annotations

import signal
import time

import pytest

from bioplaus.system.interruption import Interruption, Terminated, handled


def test_a_step_that_takes_too_long_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bioplaus.system.interruption._PATIENCE_SECONDS", 0.2)
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt), handled(), Interruption():
        signal.raise_signal(signal.SIGINT)
        while time.monotonic() < start + 60:
            pass
    assert 0.2 <= time.monotonic() - start < 30


def test_a_second_signal_is_not_kept() -> None:
    with pytest.raises(Terminated), handled(), Interruption() as interruption:
        signal.raise_signal(signal.SIGINT)
        assert interruption.requested
        signal.raise_signal(signal.SIGTERM)


def test_a_signal_that_comes_too_late_is_obeyed_when_the_work_is_done() -> None:
    done = []
    with pytest.raises(Terminated), handled():
        with Interruption():
            signal.raise_signal(signal.SIGTERM)
        done.append("kept")
    assert done == ["kept"]
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
