"""Text of documents on a terminal: nothing in it may steer the terminal."""

from __future__ import annotations

import re

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")  # C0 without tab and newline, and DEL
_UNSEEN = re.compile(r"[\x80-\x9f\u202a-\u202e\u2066-\u2069\u200e\u200f\ud800-\udfff]")  # C1, direction overrides


def printable(text: str) -> str:
    """``text`` with control characters made visible (ESC becomes ␛); as long as before, but for CR before LF."""
    text = text.replace("\r\n", "\n")
    text = _CONTROL.sub(lambda found: "␡" if found[0] == "\x7f" else chr(0x2400 + ord(found[0])), text)
    return _UNSEEN.sub("\ufffd", text)


def one_line(text: str) -> str:
    """``text`` printable and without line breaks."""
    return " ".join(printable(text).split())
