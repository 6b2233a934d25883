"""Which configurations a tuning tries: Optuna's search, made to survive being killed.

Trials are asked for in waves, each chosen from the results of whole waves before it, by a
sampler seeded with the tuning's key, the trial's number and the parameter. So what is tried
depends on nothing but the plan and the results: not on how often it was interrupted, or in
which order the trials of a wave ended. The first wave is the default and points that fill
the space evenly (Halton's sequence, scrambled); later ones are Optuna's tree-structured
Parzen estimator.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bioplaus.errors import BioplausError, ConfigError, RecordError
from bioplaus.learning.search_space import Choice, Dimension, LogUniform, Uniform
from bioplaus.records.schema import Trial
from bioplaus.system.atomic_files import cannot_write

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
    ) -> None:
        optuna = load_optuna()
        self._key, self._space, self._total = key, dict(space), trials
        self._where = storage
        self._distributions = {name: _distribution(d) for name, d in space.items()}
        with self._blaming("; give a file or an Optuna storage URL with --storage"):
            self._study = optuna.create_study(
                storage=_storage(storage),
                study_name=key,
                direction="maximize",
                load_if_exists=True,
            )
            for point in self._points(start)[len(self._found()) :]:
                self._study.enqueue_trial(point)

    @contextlib.contextmanager
    def _blaming(self, hint: str = "") -> Iterator[None]:
        """Whatever the storage raises, a full disk say, as a RecordError with one line."""
        try:
            yield
        except BioplausError:
            raise
        except Exception as error:  # a database's driver may raise anything
            if isinstance(error, OSError) and error.errno is not None:
                raise cannot_write(self._where, error) from None
            reason = " ".join(str(error).split())
            raise RecordError(
                f"cannot use the tuning storage {self._where}: "
                f"{reason or type(error).__name__}{hint}"
            ) from None

    def next_wave(self) -> list[tuple[int, dict[str, object]]]:
        """The trials of the first wave that is not done, number and settings; [] for none.

        The whole of it, after an interruption too: which trials train together must not
        depend on that.
        """
        waiting = load_optuna().trial.TrialState.WAITING
        with self._blaming():
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
        with self._blaming():
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


class _FileLock:
    """A lock that a killed process cannot leave behind: the operating system lets go of it.

    Whoever gets it finds whole lines: half of one, from a process that was killed or had no
    space while it wrote, would spoil the next one too.
    """

    def __init__(self, journal: Path) -> None:
        from filelock import FileLock

        self._journal = journal
        self._lock = FileLock(journal.with_name(journal.name + ".lock"))

    def acquire(self) -> bool:
        self._lock.acquire()
        try:
            _drop_torn_line(self._journal)
        except BaseException:
            self._lock.release()
            raise
        return True

    def release(self) -> None:
        self._lock.release()


def _storage(where: str | os.PathLike[str]) -> Any:
    """Optuna's own for a URL, a journal for a file."""
    if isinstance(where, str) and "://" in where:
        return where
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    path = Path(where)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = _FileLock(path)
    lock.acquire()  # for the sake of the readers
    lock.release()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return JournalStorage(JournalFileBackend(str(path), lock))  # type: ignore[arg-type]


def _drop_torn_line(path: Path) -> None:
    if not path.is_file() or not path.stat().st_size:
        return
    with path.open("rb+") as file:
        file.seek(-1, os.SEEK_END)
        if file.read() != b"\n":
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)


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
