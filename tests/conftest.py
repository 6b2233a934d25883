"""What all tests share: a tiny task, and the real data where they are."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers.tiny import TINY

pytest_plugins = ["pytester"]

# the tests' products are small, and other programs may want the cores
torch.set_num_threads(1)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """`-n` gives each worker a stretch of the list, so that what a module sets up is set up once
    and not in every worker; who is done early takes from the others."""
    from xdist.scheduler import WorkStealingScheduling

    return WorkStealingScheduling(config, log) if config.getvalue("dist") == "load" else None


@pytest.fixture(scope="session", autouse=True)
def cache_of_this_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is made once for many modules finds nothing that the user has compiled."""
    yield from _empty_cache(tmp_path_factory)


@pytest.fixture(scope="module", autouse=True)
def cache_of_this_module(
    cache_of_this_session: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """Code that another test or worker has compiled must not come into one of two runs that a
    test compares: what is kept, `--compile auto` takes, and it rounds differently."""
    yield from _empty_cache(tmp_path_factory)


def _empty_cache(folders: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folders.mktemp("cache")))
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", "")  # restored after: compiling here sets it
        patch.delenv("TORCHINDUCTOR_CACHE_DIR")
        yield


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """The file of a task that trains in a blink."""
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return path


@pytest.fixture
def real_data(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the real MNIST files, set as BIOPLAUS_DATA; skips where there is none."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "datasets"
    folder = Path(os.environ.get("BIOPLAUS_DATA", beside))
    if not (folder / "mnist" / "train-images-idx3-ubyte.gz").is_file():
        pytest.skip("needs MNIST: set BIOPLAUS_DATA to a folder with mnist/*.gz")
    monkeypatch.setenv("BIOPLAUS_DATA", str(folder))
    return folder


@pytest.fixture(scope="session")
def environment_apart(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Path], str]:
    """Runs shell commands in a new environment that has bioplaus and what it depends on.

    It borrows this environment's packages instead of downloading them again.
    """
    folder = tmp_path_factory.mktemp("fresh") / "venv"
    venv.create(folder, with_pip=True, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    for old in site.glob("setuptools*"):  # what venv brings is too old to build with
        shutil.rmtree(old)
    here = [path for path in sys.path if path.endswith("site-packages")]
    lines = [f"import site; site.addsitedir({path!r})" for path in here]
    (site / "borrowed.pth").write_text("\n".join(lines) + "\n")
    script = folder / "bin" / "bioplaus"
    script.write_text(
        f"#!{folder}/bin/python\nfrom bioplaus.cli import main\n"
        'if __name__ == "__main__":\n    main()\n'
    )
    script.chmod(0o755)
    environment = os.environ | {
        "PATH": f"{folder}/bin{os.pathsep}{os.environ['PATH']}",
        "PIP_NO_BUILD_ISOLATION": "0",  # pip's way to say: no isolation
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_INDEX": "1",
        "OMP_NUM_THREADS": "1",
    }

    def run(command: str, where: Path) -> str:
        done = subprocess.run(["bash", "-ec", command], cwd=where, env=environment, text=True,
                              capture_output=True)  # fmt: skip
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return run


@pytest.fixture
def fresh(
    environment_apart: Callable[[str, Path], str], tmp_path: Path
) -> Iterator[Callable[[str, Path], str]]:
    """The same, where nothing is left of what other tests installed."""
    yield environment_apart
    mine = " ".join(f"bioplaus-my-{kind}" for kind in ("rule", "dataset", "task"))
    environment_apart(f"pip uninstall -q -y {mine}", tmp_path)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of installed distributions, on the path; nothing of it is left after the test."""
    from bioplaus.plugins import registry

    folder = tmp_path / "site"
    folder.mkdir()
    with monkeypatch.context() as patched:
        patched.setattr(registry, "_NOTED", {})
        patched.syspath_prepend(str(folder))
        registry._installed.cache_clear()
        yield folder
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None) or "").startswith(f"{folder}{os.sep}"):
            del sys.modules[name]
    importlib.invalidate_caches()
    registry._installed.cache_clear()


@pytest.fixture
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test takes from a file is gone after it."""
    from bioplaus.plugins import registry

    monkeypatch.setattr(registry, "_FROM_FILES", {})
