"""What BM25 sees of a text, and how ranked lists become one."""

from __future__ import annotations

import math
import re
import unicodedata
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property

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


class BM25:
    """Scores of texts in hand (Robertson and Zaragoza 2009).

    Only terms that were asked for are counted: a text may have very many parts.

    Args:
        texts: read again whenever new terms are asked for.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts
        self._sizes = array("L", bytes(array("L").itemsize * len(texts)))
        self._counts: list[Counter[str]] = [Counter() for _ in texts]
        self._holders: Counter[str] = Counter()
        self._counted: set[str] = set()

    def count(self, wanted: Iterable[str]) -> None:
        """Count these terms, in one reading of the texts."""
        new = set(wanted) - self._counted
        if not new:
            return
        for n, text in enumerate(self._texts):
            found = terms(text)
            self._sizes[n] = len(found)
            held = Counter(term for term in found if term in new)
            self._counts[n].update(held)
            self._holders.update(held.keys())
        self._counted |= new

    def score(self, n: int, asked: Mapping[str, float]) -> float:
        """Of text ``n``, by terms that were counted, each with its weight; 0 where it holds none of them."""
        counts, total = self._counts[n], 0.0
        for term, weight in asked.items():
            if times := counts.get(term, 0):
                holders = self._holders[term]
                rarity = math.log(1 + (len(self._texts) - holders + 0.5) / (holders + 0.5))
                length = SATURATION * (1 - LENGTH + LENGTH * self._sizes[n] / self._mean)
                total += weight * (rarity * times * (SATURATION + 1) / (times + length))
        return total

    @cached_property
    def _mean(self) -> float:
        """Terms of a text, once they are counted."""
        return sum(self._sizes) / len(self._sizes)


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
