"""Words that a line's end parts: whether the hyphen there belongs to the word."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Set
from functools import lru_cache

from memptm.errors import MemptmError
from memptm.models import resolve

SOFT = "\u00ad"
MARKS = "\x02\ufffe"  # how PDFium marks a hyphen at a line's end
_LETTER = r"[^\W\d_]"
_PARTED = re.compile(rf"(?P<before>[\w'’]*\w)(?P<mark>[-\u2010{MARKS}{SOFT}])[ \t]*\n(?P<after>{_LETTER}[\w'’]*)")
_LEFT = re.compile(f"[{MARKS}{SOFT}]")
_WORD = re.compile(r"[^\W\d_][\w'’-]*")
_ENGLISH = "sentence-transformers/all-MiniLM-L6-v2"  # its vocabulary serves as the dictionary


def words_of(text: str) -> frozenset[str]:
    """The words of a text, in small letters, those parted at a line's end left out."""
    return frozenset(word.lower() for word in _WORD.findall(_PARTED.sub(" ", text)))


def joined(text: str, known: Callable[[], Set[str]]) -> str:
    """``text`` with parted words made whole.

    The hyphen goes where the whole word stands elsewhere in the document (``known``, asked only if need be) or in the dictionary, and stays
    where the hyphenated one does, where both halves are words of their own, and beside capitals and figures (RX-b).
    """
    text = _PARTED.sub(lambda found: _whole(found["before"], found["mark"], found["after"], known()), text)
    return _LEFT.sub("-", text.replace("\u2010", "-"))


def _whole(before: str, mark: str, after: str, known: Set[str]) -> str:
    one, other = f"{before}{after}", f"{before}-{after}"
    if mark == SOFT or one.lower() in known:
        return one
    if other.lower() in known:
        return other
    capital = before[-1:].isupper() or any(letter.isdigit() for letter in before) or after[:1].isupper()
    if capital:
        return other
    dictionary = _dictionary()
    if one.lower() in dictionary:
        return one
    halves = (before.lower(), after.lower())
    apart = all(len(half) > 2 and (half in dictionary or half in known) for half in halves)
    return other if apart else one


@lru_cache(maxsize=1)
def _dictionary() -> frozenset[str]:
    """Whole words of the packaged encoder's vocabulary; empty where it is not installed."""
    try:
        vocabulary = json.loads((resolve(_ENGLISH) / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    except (OSError, ValueError, KeyError, MemptmError):
        return frozenset()
    return frozenset(word for word in vocabulary if word.isalpha())
