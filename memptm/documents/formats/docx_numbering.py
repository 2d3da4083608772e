"""The numbers that Word puts before paragraphs, which are nowhere in its text: 3., b), 2.1, IV."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Any

_WORD = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_PLACE = re.compile(r"%(\d)")
_ROMAN = (
    (1000, "m"),
    (900, "cm"),
    (500, "d"),
    (400, "cd"),
    (100, "c"),
    (90, "xc"),
    (50, "l"),
    (40, "xl"),
    (10, "x"),
    (9, "ix"),
    (5, "v"),
    (4, "iv"),
    (1, "i"),
)


class Numbering:
    """Counts the numbered paragraphs of a document as they come.

    Args:
        definitions: the root of numbering.xml, None where a document has none.
        styles: the root of styles.xml: a style can number its paragraphs, too.
    """

    def __init__(self, definitions: Any, styles: Any) -> None:
        abstract = {}
        self._levels: dict[str, dict[int, tuple[str, str, int]]] = {}
        self._counts: dict[str, dict[int, int]] = defaultdict(dict)
        self._same: dict[str, str] = {}  # a list's id → that of the counters it goes on with
        for one in definitions.iterchildren() if definitions is not None else ():
            if one.tag == _WORD + "abstractNum":
                abstract[one.get(_WORD + "abstractNumId")] = {
                    int(level.get(_WORD + "ilvl")): _level(level) for level in one.iterchildren(_WORD + "lvl")
                }
            elif one.tag == _WORD + "num":
                number, refers = one.get(_WORD + "numId"), _value(one.find(_WORD + "abstractNumId"))
                self._levels[number] = dict(abstract.get(refers, {}))
                own = {int(over.get(_WORD + "ilvl")): over for over in one.iterchildren(_WORD + "lvlOverride")}
                self._same[number] = f"{refers}/{number}" if own else f"{refers}"
                for n, over in own.items():
                    begin = _value(over.find(_WORD + "startOverride"))
                    if begin and begin.isdigit() and n in self._levels[number]:
                        form, text, _ = self._levels[number][n]
                        self._levels[number][n] = (form, text, int(begin))
        self._styles = {
            style.get(_WORD + "styleId"): _reference(style.find(f"{_WORD}pPr/{_WORD}numPr"))
            for style in (styles.iterchildren(_WORD + "style") if styles is not None else ())
        }

    def label(self, paragraph: Any) -> str:
        """The number before a paragraph, "" where it has none; bullets are none."""
        found = _reference(paragraph.find(f"{_WORD}pPr/{_WORD}numPr"))
        if found is None:
            style = _value(paragraph.find(f"{_WORD}pPr/{_WORD}pStyle"))
            found = self._styles.get(style)
        number, depth = found or ("0", 0)
        levels = self._levels.get(number or "", {})
        if depth not in levels:
            return ""
        counts = self._counts[self._same[number or ""]]
        counts[depth] = counts[depth] + 1 if depth in counts else levels[depth][2]
        for deeper in [n for n in counts if n > depth]:
            del counts[deeper]
        form, text, _ = levels[depth]
        if form in ("bullet", "none") or not text:
            return ""

        def written(found: re.Match[str]) -> str:
            n = int(found[1]) - 1
            return _written(counts.get(n, levels[n][2] if n in levels else 1), levels[n][0] if n in levels else form)

        return _PLACE.sub(written, text).strip()


def _level(level: Any) -> tuple[str, str, int]:
    """(form of the number, text around it, first number)."""
    begin = _value(level.find(_WORD + "start"))
    form, text = (_value(level.find(_WORD + name)) or "" for name in ("numFmt", "lvlText"))
    return form, text, int(begin) if begin and begin.isdigit() else 1


def _reference(properties: Any) -> tuple[str | None, int] | None:
    if properties is None:
        return None
    depth = _value(properties.find(_WORD + "ilvl")) or "0"
    number = _value(properties.find(_WORD + "numId"))
    return None if number is None else (number, int(depth) if depth.isdigit() else 0)


def _value(element: Any) -> str | None:
    return None if element is None else element.get(_WORD + "val")


def _written(number: int, form: str) -> str:
    if form in ("lowerLetter", "upperLetter"):
        letter = chr(ord("a") + (number - 1) % 26) * ((number - 1) // 26 + 1)
        return letter.upper() if form == "upperLetter" else letter
    if form in ("lowerRoman", "upperRoman"):
        roman = ""
        for value, letters in _ROMAN:
            roman += letters * (number // value)
            number %= value
        return roman.upper() if form == "upperRoman" else roman
    return f"{number:02}" if form == "decimalZero" else str(number)
