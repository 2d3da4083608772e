"""Sources and other texts as people write them: a path as it is shown, letters composed or decomposed."""

from __future__ import annotations

import math
import os
import unicodedata
from itertools import product
from pathlib import Path

MOST_SPELLINGS = 64  # of one path


def composed(text: str) -> str:
    """``text`` with every letter and its marks as one character (Unicode's NFC)."""
    return unicodedata.normalize("NFC", text)


def forms(text: str) -> list[str]:
    """``text`` as it stands, composed (NFC) and decomposed (NFD); equal ones once."""
    return list(dict.fromkeys((text, composed(text), unicodedata.normalize("NFD", text))))


def spellings(source: str) -> list[str]:
    """Every way in which the source that a user writes may be stored.

    A path is stored whole, and shown without the working directory; the names on its way are composed or decomposed each as
    its folder has them. A source that is no path is stored as the document gives it.
    """
    found: dict[str, None] = {}
    for one in (source, absolute(source)):
        parts = [forms(part) for part in one.split("/")]
        few = math.prod(map(len, parts)) <= MOST_SPELLINGS
        found |= dict.fromkeys(map("/".join, product(*parts)) if few else forms(one))
    return list(found)


def absolute(source: str | Path) -> str:
    """The path written in full; links stay as named."""
    try:
        path = Path(source).expanduser()
    except RuntimeError:  # "~nobody": no user's home, so it stands for itself
        path = Path(source)
    return os.path.abspath(path)  # noqa: PTH100 (resolve() would follow links)


def means(source: str, stored: str) -> bool:
    """Whether the source that a user writes is the one that is ``stored``."""
    return composed(stored) in (composed(source), composed(absolute(source)))


def holds(source: str, stored: str) -> bool:
    """Whether the source that a user writes is a folder on the way to the one that is ``stored``."""
    folders = {composed(one).rstrip("/") + "/" for one in (source, absolute(source)) if one}
    return any(composed(stored).startswith(folder) for folder in folders)
