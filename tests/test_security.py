"""SECURITY.md, sentence by sentence, where no other test has it.

Bounds: records/test_hostile_records.py, benchmark/test_hostile_toml.py and
datasets/test_hostile_files.py. Checksums: datasets/test_idx.py and datasets/test_cifar10.py.
Names: records/test_schema.py. The page: reports/test_html.py and reports/test_html_browser.py.
"""

from __future__ import annotations

import ast
import csv
import io
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bioplaus.benchmark.suite import read_suite
from bioplaus.datasets.cifar import CifarDataset
from bioplaus.datasets.emnist import Emnist
from bioplaus.datasets.fashion_mnist import FashionMnist
from bioplaus.datasets.idx import IdxDataset
from bioplaus.datasets.mnist import Mnist
from bioplaus.datasets.svhn import Svhn
from bioplaus.errors import BioplausError
from bioplaus.plugins import registry
from bioplaus.records.merge import merge
from bioplaus.records.schema import ResultSet
from bioplaus.records.store import Store
from bioplaus.reports.text import csv_field
from bioplaus.tasks.task import read_task
from tests.helpers.records import make_record

REPOSITORY = Path(__file__).parents[1]
SOURCES = [p for part in ("bioplaus", "rules", "datasets", "reports") for p in
           sorted((REPOSITORY / part).rglob("*.py"))]  # fmt: skip
RUNS_CODE = {"eval", "exec", "compile", "__import__", "execfile", "unsafe_load", "full_load"}
UNPICKLES = {"loads", "load", "Unpickler", "read_pickle", "extractall"}
OF = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "torch", "np",
      "numpy", "yaml", "pandas", "pd"}  # fmt: skip
ALLOWED = {
    # the content of a file that was named with --plugin, and jobs from the process above
    ("bioplaus/plugins/from_file.py", "compile"),
    ("bioplaus/plugins/from_file.py", "pickle.loads"),
    # the same on a cluster, from the driver that started it
    ("bioplaus/benchmark/executors/ray_worker.py", "pickle.loads"),
}


def called(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def test_no_source_unpickles_or_runs_what_it_reads() -> None:
    assert len(SOURCES) > 100
    found = set()
    for path in SOURCES:
        where = path.relative_to(REPOSITORY).as_posix()
        for name, call in called(ast.parse(path.read_text(encoding="utf-8"))):
            module, _, attribute = name.rpartition(".")
            if name == "torch.load":
                safe = [k.value for k in call.keywords if k.arg == "weights_only"]
                assert safe and isinstance(safe[0], ast.Constant) and safe[0].value is True, where
                continue
            runs = attribute in RUNS_CODE and module in ("", "builtins", "yaml")
            if runs or (attribute in UNPICKLES and module.split(".")[0] in OF):
                found.add((where, name))
            shell = any(k.arg == "shell" for k in call.keywords)
            assert not shell and name not in ("os.system", "os.popen"), where
    assert found - ALLOWED == set()
    assert ("bioplaus/plugins/from_file.py", "pickle.loads") in found, (
        "the search finds what there is"
    )


def test_every_downloaded_set_has_its_sums() -> None:
    for name in registry.names("dataset"):
        cls = registry.load("dataset", name)
        if issubclass(cls, IdxDataset):
            if issubclass(cls, Emnist):  # of its archive, which is all that is published
                assert len(cls.archive_md5) == 32 and len(cls.archive_sha256) == 64
                continue
            stems = {n.partition("-idx")[0] for names in cls.files.values() for n in names}
            sums = cls.sha256 or cls.gz_md5
            assert set(sums) == stems
            assert {len(s) for s in sums.values()} == {64 if cls.sha256 else 32}
        if issubclass(cls, CifarDataset):
            assert len(cls.archive_md5) == 32 and len(cls.archive_sha256) == 64
        if issubclass(cls, CifarDataset | Svhn):
            assert {n for names in cls.files.values() for n in names} == set(cls.sha256)
            assert {len(s) for s in cls.sha256.values()} == {64}
    assert Mnist.sha256 and FashionMnist.sha256


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_a_spreadsheet_gets_no_formula(start: str) -> None:
    label = f'{start}HYPERLINK("http://x","y")'
    (row,) = csv.reader(io.StringIO(csv_field(label), newline=""))
    assert row == [f"'{label}"]
    report = registry.load("report", "csv")()
    text = report.render(ResultSet([make_record(label=label)]))
    _, (*_, config, _seeds) = (line[:4] for line in csv.reader(io.StringIO(text, newline="")))
    assert not config.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert csv_field(-0.5) == "-0.5" and csv_field("lr=-1") == "lr=-1"


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../b", "..", "x\n", "a\\b"])
def test_a_name_in_a_file_cannot_leave_its_folder(tmp_path: Path, name: str) -> None:
    for reader, text in (
        (read_suite, 'rules = "all"\ntasks = "digits-square"\nseeds = 1\n'),
        (read_task, 'dataset = "digits"\n'),
    ):
        path = tmp_path / "some.toml"
        path.write_text(f"name = {name!a}\n".replace("'", '"') + text)
        with pytest.raises(BioplausError, match="name"):
            reader(str(path))


def test_a_merge_takes_nothing_that_belongs_elsewhere(tmp_path: Path) -> None:
    theirs, mine = Store(tmp_path / "theirs"), Store(tmp_path / "mine")
    sound = theirs.write(make_record())
    moved = theirs.folder / "toy" / "other" / sound.parent.name / sound.name
    moved.parent.mkdir(parents=True)
    moved.write_bytes(sound.read_bytes())
    hostile = sound.with_name("seed-0001.json")
    hostile.write_text(sound.read_text().replace('"task": "toy"', '"task": "../../evil"'))
    done = merge([theirs.folder], mine.folder)
    assert done.copied == 1 and len(done.damaged) == 2
    assert [p.name for p in mine.folder.rglob("*.json")] == ["seed-0000.json"]
    assert not (tmp_path.parent / "evil").exists() and not (tmp_path / "evil").exists()


CLEAN = {"name": "a", "version": "1", "vulns": []}
BAD = {"name": "b", "version": "2", "vulns": [{"id": "CVE-1", "fix_versions": ["3"]}]}
SKIPPED = {"name": "c", "skip_reason": "Dependency not found on PyPI"}


@pytest.mark.parametrize(
    ("packages", "said", "status"),
    [
        ([CLEAN, SKIPPED], "No known vulnerability in 1 packages; not audited: c", 0),
        ([CLEAN, BAD, SKIPPED], "b 2: CVE-1, mended in 3", 1),
        ([SKIPPED, SKIPPED], "NOT AUDITED", 0),
        (None, "NOT AUDITED.*no network", 0),
    ],
)
def test_an_audit_says_when_it_was_none(packages: Any, said: str, status: int) -> None:
    verdict = runpy.run_path(str(REPOSITORY / ".ci" / "audit"))["verdict"]
    report = None if packages is None else {"dependencies": packages}
    text, code = verdict(report, "no network")
    assert code == status
    assert re.search(said, text)


def test_an_audit_without_its_tool_says_what_to_install() -> None:
    code = (
        "import runpy, sys; sys.modules['pip_audit'] = None; "
        "runpy.run_path(sys.argv[1], run_name='__main__')"
    )
    command = [sys.executable, "-c", code, str(REPOSITORY / ".ci" / "audit")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and "pip install" in done.stdout
