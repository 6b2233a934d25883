"""docs/tasks.md, which `python docs/hooks/task_page.py` writes from the models of task files."""

from __future__ import annotations

from pathlib import Path

from bioplaus.tasks.fields import Table, in_words, tables

PAGE = Path(__file__).parents[1] / "tasks.md"
INTRODUCTION = """# Task files

A task is everything but the rule, in one TOML file: `bioplaus show digits-square` prints one,
`bioplaus new task my-task` begins one of your own, and `--task my-task.toml` runs it. What is left
out has its default; a field that is not named here is refused. `--set task.batch_size=20` changes a
field for one run, `--set task.schedule.kind=linear` one of a table, and `bioplaus show schedule`
prints what stands here of it. The tables below are made from the models that read the files, by
`python docs/hooks/task_page.py`.

Images that are shifted and have holes, rates that fall, an evaluation every second epoch, and an
end where validation gets no better:

```toml
name = "my-digits"
dataset = "digits"
validation = 200
loss = "cross_entropy"
batch_size = 50
epochs = 30
normalise = true
evaluate_every = 2
early_stopping = { patience = 6 }
schedule = { kind = "cosine", warmup = 1 }
augment = { pad = 1, flip = false, cutout = 2 }
optimizer = { name = "sgd", lr = 0.1, momentum = 0.9 }

[network]
layers = [
    { type = "conv2d", channels = 8, kernel = 3, padding = 1, activation = "tanh" },
    { type = "flatten" },
    { type = "dense", units = 10 },
]
```

A network in time whose units get a higher threshold with each of their spikes (Bellec et al. 2020):
`adaptation` is what a spike adds to it, `adaptation_decay` the share of that which is left after a
step.

```toml
name = "my-adaptive"
dataset = "digits"
loss = "cross_entropy"
batch_size = 50
epochs = 10
optimizer = { name = "adam", lr = 1e-3 }

[network]
steps = 10
layers = [
    { type = "encode", how = "current" },
    { type = "dense", units = 64, neuron = { adaptation = 0.2, adaptation_decay = 0.97 } },
    { type = "dense", units = 10, neuron = { fires = false } },
    { type = "readout" },
]
```
"""


def task_page() -> str:
    """The page, as it should be."""
    return "\n".join([INTRODUCTION, *(line for table in tables() for line in _table(table))])


def _table(table: Table) -> list[str]:
    title = f"`{'.'.join(table.path)}`" if table.path else "The task itself"
    lines = [f"## {title}", "", table.what, ""]
    if not table.fields:
        return lines
    lines += ["| field | type | default | meaning |", "| :--- | :--- | :--- | :--- |"]
    for name, field in table.fields.items():
        default = "required" if field.is_required() else f"`{field.default!r}`"
        kind = in_words(field.annotation).replace("|", "\\|")
        meaning = (field.description or "").replace("|", "\\|")
        lines.append(f"| `{name}` | `{kind}` | {default} | {meaning} |")
    return [*lines, ""]


if __name__ == "__main__":
    PAGE.write_text(task_page(), encoding="utf-8")
