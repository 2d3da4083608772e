"""What a cell of a table holds: a number with its unit, a date, a time of day, or words."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date

Value = float | int | str

_CURRENCY = r"[€$£¥₹₽₩₺]|[A-Z]{3}|Rs\.?|kr\.?|zł|Ft"
_UNIT = r"[^\W\d_]{1,12}[²³23]?\.?(?:/[^\W\d_]{1,8}[²³23]?)?|[%‰°]\s?[CFcf]?|" + _CURRENCY
_BLANK = "\u0020\u00a0\u202f\u2009"
_DIGITS = rf"\d{{1,3}}(?:[{_BLANK}.,'’]\d{{3}})+(?:[.,]\d+)?|\d+(?:[.,]\d+)?|[.,]\d+"
_NUMBER = re.compile(
    rf"(?P<before>{_CURRENCY})?\s?(?P<open>\()?(?P<sign>[-+−–])?\s?(?P<money>{_CURRENCY})?\s?"
    rf"(?P<digits>{_DIGITS})(?(open)\))(?:\s?(?P<unit>{_UNIT}))?"
)
_DECIMAL_COMMA = re.compile(r"\d,\d{1,2}(?!\d)|\d[.\u0020\u00a0\u202f]\d{3},\d")
_DECIMAL_POINT = re.compile(r"\d\.\d{1,2}(?!\d)|\d,\d{3}\.\d")
_TIME = re.compile(r"([01]?\d|2[0-4])[:.h]([0-5]\d)(?::[0-5]\d)?(?:\s?(?:Uhr|h|[ap]\.?m\.?))?", re.IGNORECASE)
_ISO = re.compile(r"(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})(?:[T ]\d{1,2}:\d\d.*)?")
_WRITTEN = re.compile(r"(\d{1,2})([./-])(\d{1,2})\2(\d{4}|\d{2})")
_MONTHS = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
]
_MONTH = "|".join(f"{name[:3]}(?:{name[3:]})?\\.?" if name != "may" else "may" for name in _MONTHS)
_NAMED = re.compile(
    rf"(?:[a-z]{{2,9}},?\s+)?(?:(?P<day>\d{{1,2}})(?:st|nd|rd|th)?\.?\s+(?P<month>{_MONTH})"
    rf"|(?P<month2>{_MONTH})\s+(?P<day2>\d{{1,2}})(?:st|nd|rd|th)?),?\s+(?P<year>\d{{4}})",
    re.IGNORECASE,
)


def has_decimal_comma(cells: Iterable[str]) -> bool:
    """Whether the numbers of these cells are written as 1.234,5 and not as 1,234.5."""
    comma = point = 0
    for cell in cells:
        comma += bool(_DECIMAL_COMMA.search(cell))
        point += bool(_DECIMAL_POINT.search(cell))
    return comma > point


def value(cell: str, *, decimal_comma: bool = False, day_first: bool = True) -> Value:
    """The number, the ISO 8601 date or the words of a cell; what cannot be read for certain stays as it is written.

    A unit or currency beside a number is left out: it stands in the cell's text. Numbers with a leading zero
    (telephone numbers, postcodes) are words.
    """
    text = cell.strip()
    found = number(text, decimal_comma=decimal_comma)
    if found is not None:
        return found
    return iso_date(text, day_first=day_first) or text


def number(text: str, *, decimal_comma: bool = False) -> float | int | None:
    """The number that ``text`` is, with or without a unit; None where it is none."""
    match = _NUMBER.fullmatch(text)
    if match is None or iso_date(text) or _is_time(text):
        return None
    digits = match["digits"]
    if re.match(r"0\d", digits):
        return None
    digits = re.sub(rf"[{_BLANK}'’]", "", digits)
    thousands, point = (".", ",") if decimal_comma else (",", ".")
    if thousands in digits and not re.fullmatch(rf"\d{{1,3}}(?:\{thousands}\d{{3}})+(?:\{point}\d+)?", digits):
        thousands, point = point, thousands  # written the other way round than its column
    digits = digits.replace(thousands, "").replace(point, ".")
    try:
        found = float(digits)
    except ValueError:
        return None
    if match["sign"] in ("-", "−", "–") or match["open"]:
        found = -found
    return int(found) if found.is_integer() and "." not in digits else found


def iso_date(text: str, *, day_first: bool = True) -> str | None:
    """``text``, a full date in figures or in English, as ISO 8601; None where it is none."""
    text = text.strip()
    if match := _ISO.fullmatch(text):
        year, month, day = map(int, match.groups())
    elif match := _WRITTEN.fullmatch(text):
        first, second, year = int(match[1]), int(match[3]), int(match[4])
        day, month = (first, second) if (day_first and second <= 12) or first > 12 else (second, first)
        year += 2000 if year < 70 else 1900 if year < 100 else 0
    elif match := _NAMED.fullmatch(text):
        named = (match["month"] or match["month2"]).lower()[:3]
        day, year = int(match["day"] or match["day2"]), int(match["year"])
        month = next(n for n, name in enumerate(_MONTHS, start=1) if name.startswith(named))
    else:
        return None
    try:
        return date(year, month, day).isoformat()
    except ValueError:
        return None


def is_plain_words(cell: str) -> bool:
    """Whether a cell could be a column's name: neither a number nor a date nor a time of day."""
    text = cell.strip()
    return number(text) is None and iso_date(text) is None and not _is_time(text)


def _is_time(text: str) -> bool:
    return ":" in text and _TIME.fullmatch(text) is not None
