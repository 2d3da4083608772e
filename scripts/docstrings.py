"""For the API reference: turns our docstrings into what Griffe expects, with blank lines between sections, a name a line.

In the code sections stand close together, arguments that mean the same may share a line ("start, end: ..."), and so may
errors ("InputError: it is empty. IndexLocked: another process is writing.").
"""

from __future__ import annotations

import re
from typing import Any

import griffe

SECTION = re.compile(r"(?<!\n)\n(?=(?:Args|Attributes|Raises|Returns|Yields):\n)")
SHARED = re.compile(r"^(?P<indent> +)(?P<names>\w+(?:, \w+)+): (?P<text>.*(?:\n(?P=indent) +.*)*)", re.MULTILINE)
RAISES = re.compile(r"^Raises:\n(?P<body>(?: +.*\n?)+)", re.MULTILINE)


def spread(docstring: str) -> str:
    """``docstring`` with a blank line before each section and each name on a line of its own."""

    def names(found: re.Match[str]) -> str:
        return "\n".join(f"{found['indent']}{name}: {found['text']}" for name in found["names"].split(", "))

    def errors(found: re.Match[str]) -> str:
        one_by_one = re.split(r"(?<=\.) (?=[A-Z]\w+: )", " ".join(found["body"].split()))
        return "Raises:\n" + "".join(f"    {error}\n" for error in one_by_one)

    return RAISES.sub(errors, SHARED.sub(names, SECTION.sub("\n\n", docstring)))


class Spread(griffe.Extension):
    """Griffe's hook: every docstring that it loads."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = spread(obj.docstring.value)
