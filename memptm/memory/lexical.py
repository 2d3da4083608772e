"""What BM25 sees of a text, and how ranked lists become one."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping

import regex

SATURATION, LENGTH = 1.2, 0.75  # BM25's k1 and b
MOST_TERMS = 256  # distinct terms of a question that are looked up
DENSE_SHARE = 0.8  # of the fused score; chosen by scripts/benchmarks/fusion.py, on passages that are not held out

# Scripts written without blanks: words cannot be told by eye, so pairs of letters stand for them.
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_TERM = regex.compile(rf"[{_UNSPACED}][{_UNSPACED}\p{{M}}ー]*|(?:(?![{_UNSPACED}])[\p{{L}}\p{{N}}\p{{M}}_])+")
_ASCII_TERM = re.compile(r"\w+", re.ASCII)  # what _TERM finds in ASCII, several times as fast
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
    plain = text.lower() if text.isascii() else unicodedata.normalize("NFKC", text).lower()
    plain = _THOUSANDS.sub("", _POSSESSIVE.sub("", plain))
    plain = _DOT_NET.sub(" dotnet", _SHARP.sub(r"\1sharp ", _PLUS.sub(r"\1plusplus ", plain)))
    if plain.isascii():
        return _ASCII_TERM.findall(plain)
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


def bm25(times: int, length: int, *, mean: float, holders: int, texts: int) -> float:
    """What a term adds to the score of a text that holds it (Robertson and Zaragoza 2009), for texts in hand.

    Args:
        times: that the text holds it. length: of the text, in terms; mean: of all. holders: of ``texts`` texts hold it.
    """
    rarity = math.log(1 + (texts - holders + 0.5) / (holders + 0.5))
    return rarity * times * (SATURATION + 1) / (times + SATURATION * (1 - LENGTH + LENGTH * length / mean))


def fuse(cosines: Mapping[int, float], bm25: Mapping[int, float]) -> list[tuple[int, float]]:
    """A convex sum of cosine and BM25, the latter divided by the question's best (Bruch et al. 2023, arXiv 2210.11934).

    Args:
        cosines: id → cosine, for every id. bm25: id → score, of those the words found.
    Returns:
        (id, score), best first; equal scores by id.
    """
    best = max(bm25.values(), default=0.0) or 1.0
    scores = {
        name: DENSE_SHARE * cosine + (1 - DENSE_SHARE) * bm25.get(name, 0.0) / best for name, cosine in cosines.items()
    }
    return sorted(scores.items(), key=lambda item: (-round(item[1], 6), item[0]))  # cosines are exact to float32
