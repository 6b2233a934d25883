"""Equations of docstrings, written as plain text, into MathML that a browser renders offline.

The notation is that of the design: W_l^T, e_{l-1}, <d_l h_{l-1}^T> for a batch mean, * for
the elementwise product, <- for an update. What cannot be read stays as it was written.
"""

from __future__ import annotations

import html
import re

from latex2mathml.converter import convert

GREEK = (
    *("alpha", "beta", "gamma", "delta", "eps", "eta", "lambda", "mu", "xi", "phi", "theta"),
    *("sigma", "rho", "tau", "Delta", "Sigma", "Phi"),
)
_NAMES = {"eps": "varepsilon"}
_SYMBOLS = [
    ("<->", r"\leftrightarrow "),
    ("<-", r"\leftarrow "),
    ("->", r"\rightarrow "),
    ("<=", r"\le "),
    (">=", r"\ge "),
    ("||", r"\Vert "),
    (" * ", r" \odot "),
    ("...", r"\ldots "),
    (" .. ", r" \ldots "),
    ("~", r"\approx "),
]
_TOKEN = re.compile(
    r"(?<![\w`/.])(?:[A-Za-z]{1,2}|" + "|".join(GREEK) + r")'?"
    r"(?:(?:_(?:\{[^{}]*\}|[A-Za-z0-9]+)|\^(?:\{[^{}]*\}|-?\w+))+)'?(?![\w`])"
)
"""A letter with a subscript or an exponent, in prose."""


def to_latex(text: str) -> str:
    """One equation as LaTeX."""
    text = re.sub(r"(\w)'\^", r"(\1')^", text)  # a prime among exponents looks like a minus
    text = re.sub(r"<([^<>=-][^<>]*)>", r"\\langle \1\\rangle ", text)
    for plain, latex in _SYMBOLS:
        text = text.replace(plain, latex)
    text = text.replace("_{<", "_{\\lt ").replace("<", r"\lt ").replace(">", r"\gt ")
    text = re.sub(r"\^(-?\w+)", r"^{\1}", text)
    text = re.sub(r"_([A-Za-z0-9]+)", r"_{\1}", text)
    return re.sub(r"(?<![\\A-Za-z])[A-Za-z]{2,}", _word, text)


def _word(match: re.Match[str]) -> str:
    word = match.group()
    if word in GREEK:
        return f"\\{_NAMES.get(word, word)} "
    if word == "sum":
        return r"\sum "
    if word == "gW":
        return "gW"
    return rf"\text{{{word}}} "


def inline(text: str) -> str:
    """Prose as HTML, with the symbols in it as formulas and `code` as code."""
    pieces = re.split(r"(`+[^`]+`+)", text)
    return "".join(
        f"<code>{html.escape(piece.strip('`'))}</code>" if piece.startswith("`") else _prose(piece)
        for piece in pieces
    )


def _prose(text: str) -> str:
    done, last = [], 0
    for match in _TOKEN.finditer(text):
        done += [html.escape(text[last : match.start()], quote=False), _math(match.group())]
        last = match.end()
    return "".join([*done, html.escape(text[last:], quote=False)])


def _math(text: str, display: str = "inline") -> str:
    if not _balanced(text):
        return html.escape(text, quote=False)
    try:
        made: str = convert(to_latex(text), display=display)
    except Exception:  # what the converter cannot read is shown as it was written
        return f"<code>{html.escape(text)}</code>"
    return made


def _balanced(text: str) -> bool:
    return all(text.count(a) == text.count(b) for a, b in ("()", "{}", "[]"))


def _is_formula(text: str) -> bool:
    """Whether a part of an indented line is mathematics and not a remark."""
    words = re.findall(r"(?<![\w_^{])[A-Za-z]{3,}(?![\w_^}])", text)
    plain = [w for w in words if w not in GREEK and w not in _FUNCTIONS]
    return bool(re.search(r"[=~]|<-|\^|_", text)) and len(plain) <= 1


_FUNCTIONS = frozenset(
    [
        "sum",
        "sqrt",
        "sign",
        "sigmoid",
        "diag",
        "mean",
        "loss",
        "target",
        "prediction",
        "softmax",
        "max",
    ]
)


def block(lines: list[str]) -> str:
    """Indented lines: formulas rendered, remarks beside them as text."""
    rows = []
    for line in lines:
        parts = [part for part in re.split(r"\s{2,}", line.strip()) if part]
        cells = [_math(p, "block") if _is_formula(p) else inline(p) for p in parts]
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    return '<table class="equations">' + "".join(rows) + "</table>"


def docstring(text: str) -> str:
    """A docstring as HTML: paragraphs, and indented blocks of equations."""
    done: list[str] = []
    paragraph: list[str] = []
    indented: list[str] = []

    def flush() -> None:
        if paragraph:
            done.append(f"<p>{inline(' '.join(paragraph))}</p>")
            paragraph.clear()
        if indented:
            done.append(block(indented))
            indented.clear()

    for line in [*text.splitlines(), ""]:
        if not line.strip():
            flush()
        elif line.startswith("    "):
            if paragraph:
                flush()
            indented.append(line)
        else:
            if indented:
                flush()
            paragraph.append(line.strip())
    return "\n".join(done)
