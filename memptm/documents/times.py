"""When something was said: clock times as ISO 8601, and what "yesterday" meant on the day it was said."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Any

TIME, WRITTEN = "time", "time_text"  # metadata of a passage: ISO 8601, for filters; and as it stood in the document

_ISO_PART = re.compile(r"\d{4}(-(0[1-9]|1[0-2]))?")
_CLOCK = re.compile(r"\d[:.h]\d\d|\d\s*[ap]\.?m\b", re.IGNORECASE)
_PLAIN_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_COUNT = r"(?:\d{1,3}|an?|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve)"
_UNIT = r"(?P<{}>day|week|month|year)s?"
_WEEKDAY = r"(?:mon|tues|wednes|thurs|fri|satur|sun)day"
_RELATIVE = re.compile(
    r"\b(?:the day before yesterday|the day after tomorrow|yesterday|today|tonight|tomorrow|last night"
    r"|this (?:morning|afternoon|evening)"
    rf"|(?:last|next) {_WEEKDAY}"
    r"|(?:last|next|this) (?P<named>weekend|week|month|year)"
    rf"|{_COUNT} {_UNIT.format('back')} (?:ago|from now)|in {_COUNT} {_UNIT.format('ahead')})\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class When:
    """A stretch of days. ``said``: the words that mean it. ``iso``: ISO 8601, no more precise than they are (2023-05-07,
    2023-W18, 2023-05, 2023, or 2023-05-06/2023-05-07 for a weekend). ``words``: the same for a person.
    """

    said: str
    iso: str
    words: str


@lru_cache(maxsize=4096)
def iso(text: str) -> str | None:
    """``text``, a date or a date with a clock time, as ISO 8601; None where it is neither.

    Of an ambiguous 5/12/2023 the month comes first. What leaves the year or the day open is no date, except 2023 and
    2023-05 as ISO 8601 writes them.
    """
    text = text.strip()
    if _ISO_PART.fullmatch(text):
        return text
    parsed = _parsed(text)
    if parsed is None:
        return None
    return parsed.isoformat() if _CLOCK.search(text) else parsed.date().isoformat()


def fields(text: str) -> dict[str, str]:
    """A turn's metadata for a time as written: ``time`` where it parses, and ``time_text`` as it stands."""
    if not text.strip():
        return {}
    found = iso(text)
    return {**({TIME: found} if found else {}), WRITTEN: text}


def spoken(moment: datetime) -> str:
    """A moment as a document would write it: 8 May 2023, 13:56."""
    return f"{day(moment.date())}, {moment:%H:%M}"


def day(one: date) -> str:
    """A date for a person: 8 May 2023."""
    return f"{one.day} {one:%B %Y}"


def resolve(text: str, said: str) -> When | None:
    """The first relative date in ``text`` ("yesterday", "two weeks ago"), as it was meant at ``said`` (ISO 8601).

    None where there is none, or where ``said`` is no such time or leaves the day open. Vague ones ("a few days ago", "on
    Friday") are left.
    """
    found = _RELATIVE.search(text)
    if found is None or not _PLAIN_DATE.match(said):
        return None
    unit = (found["named"] or found["back"] or found["ahead"] or "day").lower()
    try:
        base = datetime.fromisoformat(said).replace(tzinfo=None)
        return _resolved(found[0], unit, base)
    except (ValueError, OverflowError):  # metadata may hold anything, and before the year 1 there is no date
        return None


def meant(text: str, metadata: Mapping[str, Any]) -> When | None:
    """``resolve`` for words of a passage with this metadata."""
    said = metadata.get(TIME)
    return resolve(text, said) if isinstance(said, str) else None


def _resolved(said: str, unit: str, base: datetime) -> When | None:
    if unit == "weekend":
        weeks = {"last": -1, "this": 0, "next": 1}[said.split()[0].lower()]
        saturday = base.date() + timedelta(days=5 - base.weekday(), weeks=weeks)
        return When(said, *_written(saturday, unit))
    shifted = _shifted(said, base)
    return None if shifted is None else When(said, *_written(shifted.date(), unit))


def _written(one: date, unit: str) -> tuple[str, str]:
    if unit == "year":
        return f"{one.year}", f"{one.year}"
    if unit == "month":
        return f"{one:%Y-%m}", f"{one:%B %Y}"
    if unit == "week":
        year, week, _ = one.isocalendar()
        return f"{year}-W{week:02}", f"the week of {day(one - timedelta(days=one.weekday()))}"
    if unit == "weekend":
        sunday = one + timedelta(days=1)
        return f"{one.isoformat()}/{sunday.isoformat()}", f"the weekend of {day(one)}"
    return one.isoformat(), day(one)


def _parsed(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        pass
    if not any(letter.isdigit() for letter in text) or len(text) > 100:
        return None
    import dateparser

    settings: Any = {"STRICT_PARSING": True, "PARSERS": ["absolute-time"]}
    found: datetime | None = dateparser.parse(text, languages=["en"], settings=settings)
    return found


def _shifted(expression: str, base: datetime) -> datetime | None:
    import dateparser

    settings: Any = {"RELATIVE_BASE": base, "PREFER_DATES_FROM": "past", "RETURN_AS_TIMEZONE_AWARE": False}
    found: datetime | None = dateparser.parse(expression, languages=["en"], settings=settings)
    return found
