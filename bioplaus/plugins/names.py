"""What a plugin may be called: its name becomes a folder, an option, and part of every record."""

from __future__ import annotations

import re

from bioplaus.errors import shown

LONGEST = 80
_DEVICES = {"con", "prn", "aux", "nul", *(f"{d}{n}" for d in ("com", "lpt") for n in range(1, 10))}
"""What Windows gives no file to, with any ending."""
BUILT_IN_LAYERS = (
    "dense", "tower", "conv2d", "conv1d", "layer_norm", "group_norm", "batch_norm",
    "max_pool2d", "avg_pool2d", "flatten", "truncate", "residual", "dropout", "encode", "readout",
    "add", "multiply", "concat", "slice", "activation",
)  # fmt: skip
_MEANT_OTHERWISE = {
    "rule": {
        "all": '`rules = "all"` in a suite',
        "optimizer": "`--set optimizer.lr=...`",
        "aux_optimizer": "`--set aux_optimizer.lr=...`",
        "task": "`--set task.epochs=...`",
    },
    "layer": {name: "a built-in layer of that type" for name in BUILT_IN_LAYERS},
}


def fault(kind: str, name: object) -> str | None:
    """Why no plugin of that kind can have this name, and what to do; None where it can."""
    if not isinstance(name, str):
        return f"a {kind} is called by a text, and this one's name is {shown(repr(name), 60)}"
    why = _why(kind, name)
    if why is None:
        return None
    return (
        f"{shown(repr(name), 60)} is no name for a {kind}: {why}; use letters a to z, digits, "
        "hyphens, dots and underscores, and begin with a letter or digit, as in my-rule"
    )


def _why(kind: str, name: str) -> str | None:
    if not name:
        return "it is empty"
    if len(name) > LONGEST:
        return f"it has {len(name)} characters, and {LONGEST} are the most"
    wrong = sorted(set(re.findall(r"[^A-Za-z0-9._-]", name)))
    if wrong:
        return f"it holds {' '.join(shown(repr(character)) for character in wrong[:5])}"
    if not name[0].isalnum():
        return f"it begins with {name[0]!r}"
    if name.endswith("."):
        return "it ends in a dot, which Windows drops"
    if name.partition(".")[0].lower() in _DEVICES:
        return "Windows gives no file such a name"
    if name in _MEANT_OTHERWISE.get(kind, {}):
        return f"{_MEANT_OTHERWISE[kind][name]} means something else"
    return None
