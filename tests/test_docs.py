"""Every code block and every command of the README and the documentation runs as it stands.

Python blocks of a page run one after the other, as in one session; a block that begins with
a comment that names a file is written to that file too. Commands run in an empty folder; those
of the tutorial in a new environment, literally.
"""

from __future__ import annotations

import glob
import re
import shlex
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

import bioplaus
from bioplaus.benchmark.suite import parse_suite
from bioplaus.cli import main
from bioplaus.plugins import registry
from bioplaus.plugins.from_file import add_rules
from bioplaus.tasks.task import Task

REPOSITORY = Path(__file__).parents[1]
README = REPOSITORY / "README.md"
PAGES = sorted((REPOSITORY / "docs").glob("*.md"))

Blocks = list[tuple[str, str]]
"""(language, content), in order."""


def blocks(page: Path) -> Blocks:
    found = re.findall(
        r"^( *)```(\w+)\n(.*?)^\1```$", page.read_text(), flags=re.DOTALL | re.MULTILINE
    )
    return [(language, textwrap.dedent(content)) for _, language, content in found]


def run_python(content: Blocks, folder: Path) -> dict[str, object]:
    names: dict[str, object] = {}
    for language, code in content:
        if language != "python":
            continue
        file = re.match(r"# (\w+\.py)\n", code)
        if file:
            (folder / file[1]).write_text(code)
        exec(compile(code, "<documentation>", "exec"), names)
    return names


def test_five_lines_train_gaitprop_to_95_percent(tmp_path: Path) -> None:
    content = [block for block in blocks(README) if block[0] == "python"]
    code = content[1][1]
    assert "gaitprop" in code and "nn.Sequential" in code
    assert len(code.splitlines()) == 5
    for seed in range(2):
        torch.manual_seed(seed)
        accuracy = run_python(content[:3], tmp_path)["accuracy"]
        assert isinstance(accuracy, torch.Tensor)
        assert accuracy > 0.95


def test_ten_lines_train_a_resnet_by_two_rules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As they stand; both learners are kept aside for what they have learned in one pass."""
    content = [block for block in blocks(README) if block[0] == "python"]
    code = content[3][1]
    assert "class ResNet(nn.Module)" in code
    assert len([line for line in code.splitlines() if line.strip()]) == 10
    assert max(map(len, code.splitlines())) <= 100
    made: list[bioplaus.Learner] = []

    class Kept(bioplaus.Learner):
        def __init__(self, *given: object, **named: object) -> None:
            super().__init__(*given, **named)  # type: ignore[arg-type]
            made.append(self)

    monkeypatch.setattr(bioplaus, "Learner", Kept)
    torch.manual_seed(0)
    names = run_python([content[0], content[3]], tmp_path)
    x, y = names["test_x"], names["test_y"]
    assert isinstance(x, torch.Tensor) and isinstance(y, torch.Tensor)
    assert len(made) == 2
    for learner in made:
        right = learner.predict(x.view(-1, 1, 8, 8)).argmax(1) == y
        assert right.float().mean() > 0.7, "a tenth is chance"


TINY = """
name = "tiny"
description = "the shortest suite there is"
rules = ["backprop"]
tasks = ["digits-square"]
seeds = 1
epochs = 1
"""


def shortened(line: str) -> str:
    """What takes minutes, in seconds: of an option given twice the last one counts."""
    command = line.partition("#")[0].strip()
    if command.startswith("bioplaus run"):
        return f"{command} --seeds 1 --epochs 1"
    if command.startswith("bioplaus tune"):
        return command.replace("mnist-mlp", "digits-square") + " --trials 2 --epochs 1"
    if command.startswith("bioplaus bench quick") and "--dry-run" not in command:
        return command.replace("quick", "tiny.toml")
    if command.startswith("bioplaus speed"):
        return f"{command} --replicas 1 --compile off"
    if command == "bioplaus check my-rule":
        return f"{command} --only purity"
    return command


def perform(lines: Iterable[str], monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Commands one after the other in a folder, in this process: it has torch already."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(registry, "_FROM_FILES", {})
    (folder / "tiny.toml").write_text(TINY)
    for results in ("mine", "theirs"):
        (folder / results).mkdir()
    for line in filter(None, map(shortened, lines)):
        if line == "cd my-rule && pip install -e .":  # done in earnest in test_scaffold.py
            add_rules("my-rule/bioplaus_my_rule.py")
            continue
        command, _, file = line.partition(">")
        program, *words = shlex.split(command)
        assert program == "bioplaus", line
        found = [sorted(glob.glob(word)) if "*" in word else [word] for word in words]
        done = CliRunner().invoke(main, [word for part in found for word in part])
        assert done.exit_code == 0, f"{line}\n{done.output}\n{done.exception!r}"
        if file:
            (folder / file.strip()).write_text(done.stdout)


def test_the_readmes_commands_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """All but the two of its first chapter, which CI begins with."""
    text = [content for language, content in blocks(README) if language == "text"]
    lines = [line for content in text for line in content.splitlines()]
    assert sum(line.startswith("bioplaus ") for line in lines) >= 15
    perform(lines, monkeypatch, tmp_path)
    assert (tmp_path / "my-task.toml").read_text().startswith('name = "mnist-mlp"')
    assert len([block for block in blocks(README) if block[0] == "sh"]) == 2


def test_the_commands_of_submitting_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    content = blocks(REPOSITORY / "docs" / "submitting.md")
    shell = [code for language, code in content if language == "sh"]
    perform((line for code in shell for line in code.splitlines()), monkeypatch, tmp_path)
    assert list((tmp_path / "board").rglob("seed-0000.json"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_works_as_it_stands(
    page: Path, fresh: Callable[[str, Path], str], tmp_path: Path
) -> None:
    content = blocks(page)
    assert {language for language, _ in content} <= {"python", "sh", "text", "toml"}
    for language, code in content:
        if language == "toml" and "rules" in tomllib.loads(code):
            assert parse_suite(code, page.name).rule_entries()
        if language == "toml" and "dataset" in tomllib.loads(code):
            assert Task.model_validate(tomllib.loads(code)).build_network().depth
    torch.manual_seed(0)
    names = run_python(content, tmp_path)
    if "accuracy" in names:
        assert names["accuracy"] > 0.8  # type: ignore[operator]
    script = "\n".join(code for language, code in content if language == "sh")
    if script and page.stem != "submitting":  # that takes minutes: in short, above
        said = fresh(script, tmp_path)
        assert "# my-" not in said or ": passed" in said
    if page.stem == "tutorial":
        table = (tmp_path / "results.csv").read_text()
        rules = {"backprop", "gaitprop", "my-rule"}
        assert {line.split(",")[1] for line in table.splitlines()[1:]} == rules
        board = (tmp_path / "board.html").read_text()
        assert all(rule in board for rule in rules)


def test_a_command_of_every_page_exists() -> None:
    for page in [README, *PAGES]:
        for command in re.findall(r"`bioplaus (\w+)", page.read_text()):
            assert command in main.commands, (page.name, command)


def test_the_page_on_task_files_is_of_the_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """`python docs/hooks/task_page.py` writes it anew."""
    monkeypatch.syspath_prepend(str(REPOSITORY / "docs" / "hooks"))
    import task_page

    assert task_page.PAGE.read_text(encoding="utf-8") == task_page.task_page()
    for field in ("evaluate_every", "early_stopping", "adaptation_decay", "warmup", "cutout"):
        assert f"| `{field}` |" in task_page.task_page()


def test_links_to_files_lead_somewhere() -> None:
    for page in [README, REPOSITORY / "CONTRIBUTING.md"]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), (page.name, target)


def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    pytest.importorskip("material")
    pytest.importorskip("mkdocstrings")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", str(tmp_path)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    from bioplaus import list_rules

    for rule in list_rules():
        page = (tmp_path / "rules" / rule / "index.html").read_text()
        assert "Options" in page and "Plausibility" in page
        # rendered where it is read, with nothing from elsewhere
        assert not re.search(r'(?:src|href)="https?://[^"]+\.(?:js|css|woff2?)"', page)
    assert "<math" in (tmp_path / "rules" / "gaitprop" / "index.html").read_text()
    assert "diverged_epoch" in (tmp_path / "records" / "index.html").read_text()
    fields = (tmp_path / "tasks" / "index.html").read_text()
    assert all(name in fields for name in ("label_noise", "conv2d", "warmup", "accumulate"))


SYMBOLS = {
    "e_{l-1} = W_l^T (D_l e_l)": ["<msub>", "<msubsup>"],
    "W_l <- W_l - eta (gW_l + lambda W_l)": ["&#x02190;", "&#x003B7;", "&#x003BB;"],
    "<d_l h_{l-1}^T>": ["&#x027E8;", "&#x027E9;"],
    "1/2 ||mu_l - prediction_l||^2": ["<msup>", "prediction"],
}


@pytest.mark.parametrize("text", SYMBOLS)
def test_equations_become_mathml(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("latex2mathml")
    monkeypatch.syspath_prepend(str(REPOSITORY / "docs" / "hooks"))
    import equations

    made = equations.block([f"    {text}"])
    assert "<math" in made
    for part in SYMBOLS[text]:
        assert part in made, made
