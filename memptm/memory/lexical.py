"""What BM25 sees of a text, and how ranked lists become one."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import regex

MOST_TERMS = 256  # distinct terms of a question that are looked up
RANK_OFFSET = (
    60  # k of reciprocal rank fusion (Cormack et al. 2009): how little the first place counts above the second
)

# Scripts written without blanks: words cannot be told by eye, so pairs of letters stand for them.
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_TERM = regex.compile(rf"[{_UNSPACED}][{_UNSPACED}\p{{M}}ー]*|(?:(?![{_UNSPACED}])[\p{{L}}\p{{N}}\p{{M}}_])+")
_RUN = regex.compile(rf"[{_UNSPACED}]")
_THOUSANDS = regex.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_POSSESSIVE = regex.compile(r"(?<=\p{L})['’]s\b")
_PLUS, _SHARP = regex.compile(r"\b(\p{L})\+\+"), regex.compile(r"\b(\p{L})[#♯](?!\p{L})")
_DOT_NET = regex.compile(r"(?<![\p{L}\p{N}])\.net\b")


def terms(text: str) -> list[str]:
    """The terms of a text, in order: letters and digits only, so that nothing a user writes is query syntax.

    Compatibility forms are unified (ﬁ → fi), case folded; C++, C# and .NET stay apart from C and net; scripts without
    blanks come as pairs of letters.
    """
    plain = unicodedata.normalize("NFKC", text).lower()
    plain = _THOUSANDS.sub("", _POSSESSIVE.sub("", plain))
    plain = _DOT_NET.sub(" dotnet", _SHARP.sub(r"\1sharp ", _PLUS.sub(r"\1plusplus ", plain)))
    found: list[str] = []
    for term in _TERM.findall(plain):
        if _RUN.match(term) and len(term) > 1:
            found.extend(term[n : n + 2] for n in range(len(term) - 1))
        else:
            found.append(term)
    return found


def lexical_text(*parts: str) -> str:
    """What the full-text index holds for a passage."""
    return " ".join(term for part in parts for term in terms(part))


def question_terms(question: str) -> str:
    """What is looked up for a question: each term once, at most ``MOST_TERMS``."""
    return " ".join(list(dict.fromkeys(terms(question)))[:MOST_TERMS])


def fuse(*lists: Sequence[int], weights: Sequence[float] | None = None) -> list[tuple[int, float]]:
    """Reciprocal rank fusion (Cormack et al. 2009): Σ over lists of weight / (RANK_OFFSET + rank).

    Args:
        lists: ids, best first.
        weights: one a list, 1 each by default.
    Returns:
        (id, score), best first; equal scores in the order of the first list, then by id.
    """
    scores: dict[int, float] = {}
    for weight, ranked in zip(weights or [1.0] * len(lists), lists, strict=True):
        for rank, name in enumerate(ranked, start=1):
            scores[name] = scores.get(name, 0.0) + weight / (RANK_OFFSET + rank)
    place = {name: rank for rank, name in enumerate(lists[0])} if lists else {}
    return sorted(scores.items(), key=lambda item: (-round(item[1], 12), place.get(item[0], len(place)), item[0]))
