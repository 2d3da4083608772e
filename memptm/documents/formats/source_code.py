"""Source code: the text as it stands; functions and classes are units that stay whole where they fit."""

from __future__ import annotations

import ast
import re
from itertools import pairwise

from memptm.documents.draft import Extracted
from memptm.types import Block

ENDINGS = frozenset(
    [
        ".py",
        ".pyi",
        ".js",
        ".mjs",
        ".cjs",
        ".ts",
        ".tsx",
        ".jsx",
        ".java",
        ".kt",
        ".kts",
        ".scala",
        ".go",
        ".rs",
        ".c",
        ".h",
        ".cc",
        ".cpp",
        ".cxx",
        ".hpp",
        ".cs",
        ".swift",
        ".rb",
        ".php",
        ".pl",
        ".pm",
        ".lua",
        ".r",
        ".jl",
        ".sh",
        ".bash",
        ".zsh",
        ".ps1",
        ".sql",
        ".dart",
        ".ex",
        ".exs",
        ".hs",
        ".ml",
        ".clj",
        ".groovy",
        ".vb",
        ".m",
        ".f90",
    ]
)
_PYTHON = frozenset((".py", ".pyi"))
_BEGINS = re.compile(  # a line without indentation that begins a definition, in most languages with braces or "end"
    r"^(?!(?:else|catch|finally|elif|end|\)|\}|\]|//|#|\*|/\*))(?=\S)"
    r"(?:.*\b(?:function|func|fn|def|class|struct|enum|interface|trait|impl|module|namespace|type|sub|proc|object)\b"
    r"|(?:public|private|protected|static|export|async|const|let|var|void|int|char|double|float|bool|auto|extern)\b"
    r"|[A-Za-z_][\w.:<>*&\s]*\([^;]*\)\s*\{?\s*$|CREATE\b|create\b).*$",
    re.MULTILINE,
)


def read(text: str, *, ending: str) -> Extracted:
    """The file's characters, a block a definition, and what is between them.

    Args:
        ending: of the file's name, with its dot, in small letters.
    """
    starts = _python_starts(text) if ending in _PYTHON else None
    if starts is None:
        starts = [found.start() for found in _BEGINS.finditer(text)]
    cuts = sorted({0, *starts, len(text)})
    blocks = [Block(start=start, end=end, kind="code") for start, end in pairwise(cuts) if text[start:end].strip()]
    return Extracted(text=text, blocks=tuple(blocks))


def _python_starts(text: str) -> list[int] | None:
    """Where the definitions of a Python module begin, with their decorators and the comments above; None if broken."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    lines = text.splitlines(keepends=True)
    offsets = [0]
    for line in lines:
        offsets.append(offsets[-1] + len(line))
    starts = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)]) - 1
            while first > 0 and lines[first - 1].startswith("#"):
                first -= 1
            starts.append(offsets[min(first, len(offsets) - 1)])
    return starts
