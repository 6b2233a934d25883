"""The tests' own house: folders like the packages', helpers apart, no module too long to read."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
SOURCES = ("bioplaus", "rules", "datasets", "reports", "tests")

MOST_LINES = 300


def programs(text: str) -> Iterator[str]:
    """The import lines of the programs that tests keep in strings."""
    for line in text.replace(";", "\n").splitlines():
        if line.strip().startswith(("from ", "import ")):
            yield line.strip()


def imported(source: str) -> Iterator[str]:
    """Every name that a module imports, by its whole path; that programs in its strings do too."""
    try:
        tree = ast.parse(source)
    except SyntaxError:  # a sentence, in a string
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            for line in programs(node.value):
                yield from imported(line)


def shared_the_wrong_way(root: Path) -> list[str]:
    """Each import of a test module or a conftest.py: what tests share is in tests/helpers."""
    return [
        f"{file.relative_to(root)} imports {name}"
        for file in sorted(root.rglob("*.py"))
        if file != Path(__file__)
        for name in imported(file.read_text(encoding="utf-8"))
        if any(part == "conftest" or part.startswith("test_") for part in name.split(".")[:-1])
        or name.startswith("test_")
    ]


def test_no_test_module_imports_another() -> None:
    assert shared_the_wrong_way(REPOSITORY / "tests") == []


@pytest.mark.parametrize(
    "text",
    [
        "from tests.rules.test_a import make\n",
        "def f():\n    from conftest import TINY\n",
        "import test_a\n",
        'CHILD = """\nimport sys\nfrom tests.rules.test_a import Job\n"""\n',
        'CODE = "import sys; from tests.test_a import f"\n',
    ],
)
def test_a_test_that_imports_another_is_found(tmp_path: Path, text: str) -> None:
    (tmp_path / "test_b.py").write_text(text)
    (message,) = shared_the_wrong_way(tmp_path)
    assert message.startswith("test_b.py imports ")


def test_tests_lie_in_folders_like_the_packages() -> None:
    """And folders in a package's folder are its subpackages."""
    for folder in sorted(p.parent for p in (REPOSITORY / "tests").rglob("__init__.py")):
        where = folder.relative_to(REPOSITORY / "tests")
        homes = (REPOSITORY / "bioplaus" / where, REPOSITORY / where)
        assert where.name == "helpers" or any(home.is_dir() for home in homes), where


def test_modules_that_the_documents_name_are_there() -> None:
    pages = [*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").glob("*.md"), REPOSITORY / ".ci/run"]
    for page in pages:
        for name in re.findall(r"[\w/]*\btest_[a-z_0-9]+\.py", page.read_text(encoding="utf-8")):
            file = REPOSITORY / "tests" / name.removeprefix("tests/")
            assert file.is_file() or "my_" in name, f"{page.name}: there is no {name}"


def test_no_module_is_too_long_to_read() -> None:
    long = {
        str(file.relative_to(REPOSITORY))
        for folder in SOURCES
        for file in (REPOSITORY / folder).rglob("*.py")
        if len(file.read_text(encoding="utf-8").splitlines()) > MOST_LINES
    }
    assert not long, f"split by subject: {', '.join(sorted(long))}"
