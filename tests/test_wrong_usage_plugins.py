"""What authors of plugins and task files get wrong: one line, what is wrong, and what to do."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.helpers.command import call
from tests.helpers.strangers import RULE, TASK, install, install_dataset
from tests.helpers.tiny import TINY

pytestmark = pytest.mark.usefixtures("forgotten")


@dataclass(frozen=True)
class Usage:
    """Something a person does, and what the last line of the answer must say."""

    name: str
    act: Callable[[Path, Path], list[str]]
    """Writes files into a folder and a site of installed packages; gives the command."""
    says: str
    """A regular expression."""


def data(name: str, result: str, says: str) -> Usage:
    """A dataset whose `load` ends like that."""

    def act(folder: Path, site: Path) -> list[str]:
        install_dataset(site, name, result)
        (folder / "own.toml").write_text(TASK.format(dataset=name, units=3))
        return ["run", "--rule", "backprop", "--task", str(folder / "own.toml"), "--seeds", "1"]

    return Usage(f"data: {name}", act, says)


def declared(name: str, old: str, new: str, says: str) -> Usage:
    """A dataset whose class has something else in the place of what is right."""

    def act(folder: Path, site: Path) -> list[str]:
        command = data(name, "return Split(x, y)", says).act(folder, site)
        module = site / f"data_{name.replace('-', '_')}.py"
        module.write_text(module.read_text().replace(old, new))
        return command

    return Usage(f"data: {name}", act, says)


def rule(name: str, old: str, new: str, says: str, *command: str) -> Usage:
    """A rule from a file with something else in the place of what is right."""

    def act(folder: Path, site: Path) -> list[str]:
        assert old in RULE
        (folder / "own.py").write_text(RULE.replace(old, new), encoding="utf-8")
        (folder / "tiny.toml").write_text(TINY)
        task = ["--task", str(folder / "tiny.toml"), "--seeds", "1", "--epochs", "1"]
        return [*(command or ("run",)), "--plugin", str(folder / "own.py"), *task]

    return Usage(f"rule: {name}", act, says)


def file(name: str, content: str | bytes, says: str) -> Usage:
    """A task file with that content."""

    def act(folder: Path, site: Path) -> list[str]:
        raw = content.encode() if isinstance(content, str) else content
        (folder / "own.toml").write_bytes(raw)
        return ["run", "--rule", "backprop", "--task", str(folder / "own.toml"), "--seeds", "1"]

    return Usage(f"task: {name}", act, says)


def setting(words: str, says: str) -> Usage:
    """`--set` with these words."""

    def act(folder: Path, site: Path) -> list[str]:
        return ["run", "--rule", "gaitprop", "--seeds", "1", "--set", words]

    return Usage(f"--set {words}", act, says)


def python(name: str, content: bytes, says: str) -> Usage:
    """A --plugin file with that content."""

    def act(folder: Path, site: Path) -> list[str]:
        (folder / "own.py").write_bytes(content)
        return ["run", "--plugin", str(folder / "own.py"), "--seeds", "1"]

    return Usage(f"rule: {name}", act, says)


def two_files(folder: Path, site: Path) -> list[str]:
    (folder / "first.py").write_text(RULE)
    (folder / "second.py").write_text(RULE + "\n# another\n")
    files = [str(folder / "first.py"), "--plugin", str(folder / "second.py")]
    return ["run", "--plugin", *files, "--rule", "mine", "--seeds", "1"]


def unimportable(folder: Path, site: Path) -> list[str]:
    install(site, "sad_rule", "import sys\nsys.exit(3)\n", "sad = sad_rule:Mine", "bioplaus.rules")
    return ["run", "--rule", "sad", "--seeds", "1"]


def named_all(folder: Path, site: Path) -> list[str]:
    install(site, "greedy", "", "all = greedy:Mine", "bioplaus.rules")
    return ["run", "--rule", "all", "--seeds", "1"]


def bad_task_plugin(folder: Path, site: Path) -> list[str]:
    install(site, "task_less", "", "sad-task = task_less", "bioplaus.tasks")
    return ["run", "--rule", "backprop", "--task", "sad-task"]


def no_home(folder: Path, site: Path) -> list[str]:
    return ["run", "--rule", "backprop", "--results=~nobody-of-this-name/r"]


X = "torch.ones(n, 4)"
DATA = [
    data("no-return", "pass", r"train split of no-return.*returned None.*return.*Split\(x, y\)"),
    data("text-labels", "return Split(x, ['cat', 'dog'] * (n // 2))",
         r"train split of text-labels: labels are text \('cat', 'dog', 'cat'\).*number them"),
    data("objects", "return Split(np.array([{}] * n), y)", r"of objects: examples are an array of"),
    data("flat-wrong", "return Split(x[:, :3], y)", r"shape \(3,\), declared is \(4,\)"),
    data("as-images", "return Split(x.reshape(n, 1, 2, 2), y)",
         r"shape \(1, 2, 2\), declared is \(4,\): return x.reshape\(-1, 4\)"),
    data("no-test", "return Split(x, y)[:0 if split == 'test' else n]",
         r"the test split of no-test: it holds no examples"),
    data("float-labels", "return Split(x, y.float())", r"torch.float32.*int64.*y.long\(\)"),
    data("one-hot", "return Split(x, torch.eye(3)[y])", r"of shape \(40, 3\).*y.argmax\(1\)"),
    data("columns", "return Split(x, y[:, None])", r"of shape \(40, 1\).*y.flatten\(\)"),
    data("from-one", "return Split(x, y + 1)", r"classes 0 to 2 \(they run from 1 to 3: sub"),
    data("too-many", "return Split(x, torch.arange(n))", r"37 of 40 labels are not among"),
    data("not-finite", "return Split(x / 0, y)", r"of not-finite: 40 of 40 examples hold NaN or"),
    data("uneven", "return Split(x, y[:-1])", r"of uneven: 40 examples but 39 labels"),
    data("no-file", "return open('/nowhere/at/all.npy')",
         r"of no-file cannot be loaded: FileNotFoundError.*line 18 of data_no_file.py.*DataError"),
    data("complex", "return Split(x * 1j, y)", r"of complex: examples are complex"),
    data("three", "return x, y, n", r"of three: `load` returned a tuple of 3, due is"),
    data("mixed", "return Split(x if split == 'train' else x.double(), y)",
         r"mixed is of torch.float32 and the test split of torch.float64.*store them alike"),
    data("leaves", "raise SystemExit(2)", r"of leaves cannot be loaded: SystemExit: 2"),
    declared("shape-int", "shape = (4,)", "shape = 4", r"'shape-int'.*`shape` is 4, due is"),
    declared("classes-text", "classes = 3", "classes = 'three'", r"`classes` is 'three', due"),
    declared("scale-none", "classes = 3", "classes = 3\n    scale = None", r"`scale` is None, due"),
    declared("loadless", "def load", "def get", r"'loadless' from .*: it lacks load"),
    declared("greedy-init", "    def load", "    def __init__(self, folder): ...\n\n    def load",
             r"'greedy-init'.*cannot be made without arguments, so give them defaults: .*folder"),
    declared("no-base", "Mine(Dataset)", "Mine", r"'no-base'.*derive its class from bioplaus.Data"),
    declared("splitless", "load(self, split)", "load(self)", r"has load\(self\), due is load"),
]  # fmt: skip
RULES = [
    *(
        rule(f"name {bad!r}", '"mine"', repr(bad), rf"own.py: .* is no name for a rule: {why}")
        for bad, why in (
            ("règle", "it holds 'è'; use letters"),
            ("my rule", "it holds ' '"),
            ("a/b", "it holds '/'"),
            ("../evil", "it holds '/'"),
            ("", "it is empty"),
            ("x" * 81, "it has 81 characters, and 80 are the most"),
            ("con", "Windows gives no file such a name"),
            ("nul.rule", "Windows gives no file such a name"),
            ("-x", "it begins with '-'"),
            ("x.", "it ends in a dot"),
            ("task", "`--set task.epochs=...` means something else"),
        )
    ),
    rule("name 5", '"mine"', "5", r"is called by a text, and this one's name is 5"),
    rule("name taken", '"mine"', '"backprop"', r"'backprop', which is the name .*choose another"),
    rule("name taken but for case", '"mine"', '"Backprop"', r"Windows does not tell them apart"),
    Usage("rule: two files of one name", two_files, r"second.py calls its rule 'mine'.*first.py"),
    Usage("rule: sys.exit at import", unimportable, r"'sad' from sad_rule.*SystemExit: 3.*line"),
    Usage("rule: called all", named_all, r"greedy 1.0 has a rule.*'all' is no name.*in a suite"),
    rule("old import", "from bioplaus import C",
         "from bioplaus.rule import State\nfrom bioplaus import C",
         r"named 'bioplaus.rule' \(line 2 of own.py\); write: from bioplaus import State"),
    rule("misspelt import", "import Citation", "import Citatoin",
         r"cannot import name 'Citatoin'.*; did you mean Citation"),
    rule("plausibility raises", '"transpose"', '"exact"', r"'mine' cannot say its `pl.*line 13"),
    rule("plausibility is a method", "@property", "#", r"`plausibility` is <bound.*@property"),
    rule("__init__ without arguments", "    @property",
         "    def __init__(self): ...\n\n    @property",
         r"'mine' cannot be made.*options alone.*super\(\).__init__\(config\).*TypeError"),
    rule("__init__ without super", "    @property",
         "    def __init__(self, config): ...\n\n    @property", r"has no `config`.*super\(\)"),
    rule("abstract", "def deltas", "def delta", r"'mine' in .*own.py lacks deltas: define it"),
    rule("no citation", "citation =", "source =", r"'mine'.*no `citation`.*Citation\(authors="),
    rule("predict gives classes", "    def deltas",
         "    def predict(self, net, params, state, x):\n"
         "        return super().predict(net, params, state, x).argmax(-1)\n\n    def deltas",
         r"'mine': `predict` gives the shape \(\d+,\), due is \(\d+, 16\): one row"),
    rule("update gives a tuple", "    def deltas",
         "    def update(self, net, params, state, batch, noise):\n"
         "        return params, {}\n\n    def deltas", r"'mine': `update` returned a tuple"),
    rule("a metric is a number", "    def deltas",
         "    def metrics(self, fwd, deltas):\n        return {'depth': 3.0}\n\n    def deltas",
         r"'mine' returned a float in metrics, due is a dict of tensors"),
    rule("supports gives True", "    def deltas",
         "    def supports(self, net):\n        return True\n\n    def deltas",
         r"'mine': `supports` returned True; return None"),
    rule("optimizer is text", "    def deltas",
         "    optimizer = 'adam'\n\n    def deltas", r"'mine': `optimizer` is no bioplaus"),
    rule("raises in deltas", "deltas, error = [], fwd.error", "raise KeyError('here')",
         r"'mine' failed on tiny: KeyError: 'here' \(line 19 of own.py\)"),
    python("UTF-16", RULE.encode("utf-16"), r"own.py is not UTF-8 text: save it as UTF-8"),
    python("latin-1", RULE.replace("stranger", "règle").encode("latin-1"), r"own.py is not UTF-8"),
    python("no rule", b"x = 1\n", r"own.py defines no learning rule: derive a class"),
    python("syntax", b"def (\n", r"own.py does not run: SyntaxError.*\(line 1 of own.py\)"),
]  # fmt: skip
TASKS = [
    file("unknown key", TINY.replace("epochs", "epoch"), r"epoch: there.*; did you mean epochs"),
    file("unknown optimizer key", TINY.replace("lr =", "rate ="), r"optimizer.rate: .*there are"),
    file("unknown layer key", TINY.replace("units", "unit"), r"unit: there is .*you mean units"),
    file("unknown layer", TINY.replace('"dense"', '"dens"'), r"layer type 'dens'.*mean dense"),
    file("unknown activation", TINY.replace("leaky_relu(0.1)", "leakyrelu"), r"leakyrelu"),
    file("no epochs", TINY.replace("epochs = 2", "epochs = 0"), r"epochs:.*greater than 0"),
    file("latin-1", TINY.replace("two", "dèux").encode("latin-1"),
         r"own.toml: it is not UTF-8 \(byte 0xe8 in line 3\); save it as UTF-8"),
    file("UTF-16 without a mark", TINY.encode("utf-16-le"), r"own.toml: it .*NUL.*as UTF-8"),
    file("half of UTF-16", TINY.encode("utf-16")[:-1], r"own.toml: it is no whole UTF-16.*UTF-8"),
    file("not TOML", "no = = toml", r"own.toml is not valid TOML"),
    file("unknown dataset", TINY.replace('"digits"', '"digit"'), r"'digit'; did you mean digits"),
    Usage("task: a plugin without its file", bad_task_plugin, r"'sad-task' from task_less 1.0"),
]  # fmt: skip
SETTINGS = [
    setting("lr=0.1", r"unknown option of gaitprop 'lr'.*--set optimizer.lr="),
    setting("gaitprop.lr=0.1", r"unknown option of gaitprop 'lr'.*--set optimizer.lr="),
    setting("learning_rate=0.1", r"--set optimizer.lr="),
    setting("epochs=3", r"an option of the command: --epochs"),
    setting("seed=3", r"an option of the command: --seeds"),
    setting("batch_size=3", r"--set task.batch_size="),
    setting("task.lr=3", r"unknown task setting 'lr'.*--set optimizer.lr="),
    setting("network=3", r"make a task of your own"),
    setting("ortho=inf", r"gaitprop: ortho: .*finite"),
    setting("ortho=-1", r"gaitprop: ortho: .*greater than or equal to 0 \(given: -1\)"),
    setting("orto=1", r"did you mean ortho"),
    Usage("--results=~nobody", no_home, r"no home folder of 'nobody-of-this-name'.*without ~"),
]


@pytest.mark.parametrize("usage", DATA + RULES + TASKS + SETTINGS, ids=lambda u: u.name)
def test_one_line_says_what_is_wrong_and_what_to_do(
    usage: Usage, tmp_path: Path, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = call(*usage.act(tmp_path, site))
    assert done.exit_code != 0 and isinstance(done.exception, SystemExit), done.output
    assert "Traceback" not in done.output
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("Error: ") and re.search(usage.says, last), last
    assert not list(tmp_path.rglob("seed-*.json"))
