"""Passwords and tokens in what people type: hidden before anything is printed or kept."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import unquote

HIDDEN = "***"

_NAMES = (
    r"[\w.-]*(?:password|passwd|passphrase|pwd|secret|token|credentials?"
    r"|api[_-]?key|access[_-]?key|private[_-]?key|authkey|signature)"
)
_USER_PART = re.compile(r"(?P<scheme>[A-Za-z][\w+.-]*://)(?P<user>[^\s:@/?#]*):(?P<secret>\S*)@")
_BARE_USER = re.compile(r"(?P<scheme>https?://)(?P<secret>[^\s:@/?#]+)@", re.IGNORECASE)
_NAMED = re.compile(
    rf"(?P<name>(?<![\w.-]){_NAMES}[\"']?\s*(?:=|:)\s*)(?P<quote>[\"']?)"
    r"(?P<secret>(?:(?<=\")[^\"]*|(?<=')[^']*|[^\s&;,\"')\]}]+))",
    re.IGNORECASE,
)
_NAMED_OPTION = re.compile(rf"--{_NAMES}", re.IGNORECASE)
_SHORTEST = 4
"""Characters of a secret that is looked for by itself: shorter ones are words, too."""


def redacted(text: str, *sources: str | None) -> str:
    """The text with `***` for every password and token that shows as such.

    That is the password of a URL, whatever its scheme; a user of http(s) without one, which
    is a token; and the value of what is called a password, token, key or the like. sources:
    what secrets may have come from, a URL say: theirs are hidden wherever they stand.
    """
    for secret in sorted(_secrets(sources), key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    text = _USER_PART.sub(rf"\g<scheme>\g<user>:{HIDDEN}@", text)
    text = _BARE_USER.sub(rf"\g<scheme>{HIDDEN}@", text)
    return _NAMED.sub(rf"\g<name>\g<quote>{HIDDEN}", text)


def redacted_command(words: Iterable[str]) -> list[str]:
    """A command's words, each as `redacted`; and the word after `--token` and its like."""
    found, hide = [], False
    for word in words:
        found.append(HIDDEN if hide else redacted(word))
        hide = bool(_NAMED_OPTION.fullmatch(word))
    return found


def _secrets(sources: Iterable[str | None]) -> set[str]:
    """As they are written and as they are meant: `p%40ss` is p@ss."""
    found = set()
    for source in sources:
        for pattern in (_USER_PART, _BARE_USER, _NAMED):
            for match in pattern.finditer(source or ""):
                written = match["secret"]
                found |= {written, unquote(written)}
    return {secret for secret in found if len(secret) >= _SHORTEST}
