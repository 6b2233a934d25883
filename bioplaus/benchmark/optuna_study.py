"""Which configurations a tuning tries: Optuna's search, made to survive being killed.

Trials are asked for in waves, each chosen from the results of whole waves before it, by a
sampler seeded with the tuning's key, the trial's number and the parameter. So what is tried
depends on nothing but the plan and the results: not on how often it was interrupted, or in
which order the trials of a wave ended. The first wave is the default and points that fill
the space evenly (Halton's sequence, scrambled); later ones are Optuna's tree-structured
Parzen estimator.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bioplaus.benchmark.trial_storage import blaming, open_storage
from bioplaus.errors import ConfigError
from bioplaus.learning.search_space import Choice, Dimension, LogUniform, Uniform
from bioplaus.records.schema import Trial

if TYPE_CHECKING:
    import optuna

FIRST_WAVE = 10
LATER_WAVES = 5
_LOST = "lost_attempts"
_DIGITS = 4
"""Significant digits of a number that is tried: labels and commands stay readable."""


class Study:
    """The trials of one tuning in a storage."""

    def __init__(
        self,
        key: str,
        space: Mapping[str, Dimension],
        start: Mapping[str, object],
        trials: int,
        storage: str | os.PathLike[str],
        lower_is_better: bool = False,
    ) -> None:
        optuna = load_optuna()
        self._key, self._space, self._total = key, dict(space), trials
        self._where = storage
        self._distributions = {name: _distribution(d) for name, d in space.items()}
        with blaming(storage, "; give a file or an Optuna storage URL with --storage"):
            self._study = optuna.create_study(
                storage=open_storage(storage),
                study_name=key,
                direction="minimize" if lower_is_better else "maximize",
                load_if_exists=True,
            )
            for point in self._points(start)[len(self._found()) :]:
                self._study.enqueue_trial(point)

    def next_wave(self) -> list[tuple[int, dict[str, object]]]:
        """The trials of the first wave that is not done, number and settings; [] for none.

        The whole of it, after an interruption too: which trials train together must not
        depend on that.
        """
        waiting = load_optuna().trial.TrialState.WAITING
        with blaming(self._where):
            start, end = self._wave()
            if start == end:
                return []
            while sum(t.state != waiting for t in self._found()) < end:
                self._study.ask()
            for trial in self._found()[start:end]:
                if not trial.state.is_finished():
                    self._complete(trial)
            return [(t.number, self._settings(t)) for t in self._found()[start:end]]

    def _complete(self, found: optuna.trial.FrozenTrial) -> None:
        """Choose what was not chosen yet: a process may be killed between any two parameters.

        Each has a seed of its own, so that it is the same whichever were there already.
        """
        optuna = load_optuna()
        for name, distribution in self._distributions.items():
            if name not in found.params:
                self._study.sampler = optuna.samplers.TPESampler(
                    seed=_seed(self._key, f"{found.number}/{name}"), n_startup_trials=1
                )
                trial = optuna.trial.Trial(self._study, found._trial_id)
                trial._suggest(name, distribution)

    def is_done(self, number: int) -> bool:
        """Whether that trial was told."""
        return self._found()[number].state.is_finished()

    def tell(self, trial: Trial) -> None:
        """Keep what a trial gave; one that is told already stays as it is."""
        failed = load_optuna().trial.TrialState.FAIL
        if self.is_done(trial.number):
            return
        note = trial.model_dump(mode="json", exclude={"number", "settings"})
        with blaming(self._where):
            self._study.set_user_attr(_note(trial.number), note)
            if trial.validation_accuracy is None:
                self._study.tell(trial.number, state=failed, skip_if_finished=True)
            else:
                self._study.tell(trial.number, trial.validation_accuracy, skip_if_finished=True)

    def note_loss(self, reason: str) -> None:
        """Keep why a worker was lost that ran trials; they are tried again."""
        self._study.set_user_attr(_LOST, [*self.losses(), reason])

    def losses(self) -> list[str]:
        """All such reasons, in order."""
        return list(self._study.user_attrs.get(_LOST, []))

    def trials(self) -> list[Trial]:
        """All that are done, by number."""
        notes = self._study.user_attrs
        return [
            Trial(number=t.number, settings=self._settings(t), **notes[_note(t.number)])
            for t in self._found()
            if t.state.is_finished()
        ]

    def _found(self) -> list[optuna.trial.FrozenTrial]:
        found: list[optuna.trial.FrozenTrial] = self._study.get_trials(deepcopy=False)
        return found

    def _wave(self) -> tuple[int, int]:
        """Where the first wave that is not done starts, and where it ends."""
        done = sum(t.state.is_finished() for t in self._found())
        start, end = 0, min(FIRST_WAVE, self._total)
        while end <= done and start < end:
            start, end = end, min(end + LATER_WAVES, self._total)
        return start, end

    def _points(self, start: Mapping[str, object]) -> list[dict[str, Any]]:
        """The first wave's parameters."""
        from scipy.stats import qmc  # type: ignore[import-untyped,unused-ignore]

        count = min(FIRST_WAVE, self._total) - 1
        unit = qmc.Halton(len(self._space), scramble=True, seed=_seed(self._key, 0)).random(count)
        drawn = [
            {name: d.at(float(u)) for (name, d), u in zip(self._space.items(), row, strict=True)}
            for row in unit
        ]
        return [dict(start), *drawn]

    def _settings(self, trial: optuna.trial.FrozenTrial) -> dict[str, object]:
        """What to set; the first trial is the default, exactly."""
        if trial.number == 0:
            return {}
        return {name: _rounded(trial.params[name]) for name in self._space}


def load_optuna() -> Any:
    """Optuna, which is imported when something is tuned, and not before."""
    try:
        import optuna
        import scipy  # type: ignore[import-untyped,unused-ignore]  # noqa: F401
    except ImportError:
        raise ConfigError("tuning needs Optuna: pip install 'bioplaus[tune]'") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _distribution(dimension: Dimension) -> Any:
    distributions = load_optuna().distributions
    match dimension:
        case LogUniform():
            return distributions.FloatDistribution(dimension.low, dimension.high, log=True)
        case Uniform():
            return distributions.FloatDistribution(dimension.low, dimension.high)
        case Choice():
            return distributions.CategoricalDistribution(dimension.values)
        case _:
            raise ConfigError(f"a search space of {type(dimension).__name__} is not known here")


def _rounded(value: object) -> object:
    return float(f"{value:.{_DIGITS}g}") if isinstance(value, float) else value


def _seed(key: str, what: int | str) -> int:
    return int.from_bytes(hashlib.sha256(f"{key}/{what}".encode()).digest()[:4], "big")


def _note(number: int) -> str:
    return f"trial-{number}"
