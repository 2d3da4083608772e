"""Calendars (.ics): an entry a record, with its times, place and people."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Any

from memptm.documents.draft import Draft, Extracted, one_line
from memptm.documents.file import File
from memptm.documents.refused import Refused
from memptm.documents.times import day

_KINDS = ("VEVENT", "VTODO", "VJOURNAL")


def read(file: File) -> Iterator[Extracted]:
    """One document. An entry's metadata have ``time`` (its start, ISO 8601) and ``until``; a repetition is in words."""
    import icalendar

    try:
        calendars = icalendar.Calendar.from_ical(file.data, multiple=True)
    except (ValueError, IndexError, KeyError) as error:
        raise Refused(file.path, f"a broken calendar: {one_line(str(error))[:100]}") from None
    draft = Draft()
    title = ""
    for calendar in calendars:
        title = title or one_line(str(calendar.get("X-WR-CALNAME", "")))
        for entry in calendar.walk():
            if entry.name in _KINDS:
                _add(draft, entry)
    yield draft.finish(title=title)


def _add(draft: Draft, entry: Any) -> None:
    start, end = _moment(entry, "DTSTART"), _moment(entry, "DTEND")
    due = _moment(entry, "DUE")
    whole_days = start is not None and not isinstance(start, datetime)
    if whole_days and end is not None and not isinstance(end, datetime) and end > start:
        end -= timedelta(days=1)  # the end of a whole day is the first day after it
    parts = {
        "What": _said(entry, "SUMMARY"),
        "When" if end is None or end == start else "From": _spoken(start),
        "Until": "" if end is None or end == start else _spoken(end),
        "Due": _spoken(due),
        "Repeats": _repeats(entry),
        "Where": _said(entry, "LOCATION"),
        "With": ", ".join(_people(entry, "ATTENDEE")),
        "Organiser": ", ".join(_people(entry, "ORGANIZER")),
        "Status": _said(entry, "STATUS").lower(),
        "Details": _said(entry, "DESCRIPTION"),
    }
    metadata = {"time": start, "until": end}
    draft.add(
        "; ".join(f"{name}: {words}" for name, words in parts.items() if words),
        kind="record",
        joint="\n",
        metadata={name: moment.isoformat() for name, moment in metadata.items() if moment is not None},
    )


def _moment(entry: Any, name: str) -> Any:
    found = getattr(entry.get(name), "dt", None)
    return found.replace(tzinfo=None) if isinstance(found, datetime) else found if isinstance(found, date) else None


def _spoken(moment: Any) -> str:
    if moment is None:
        return ""
    written = f"{moment:%A}, {day(moment)}"
    return f"{written}, {moment:%H:%M}" if isinstance(moment, datetime) else written


def _said(entry: Any, name: str) -> str:
    found = entry.get(name)
    return one_line("; ".join(map(str, found)) if isinstance(found, list) else str(found or ""))


def _people(entry: Any, name: str) -> list[str]:
    found = entry.get(name) or []
    people = found if isinstance(found, list) else [found]
    return [one_line(str(one.params.get("CN") or str(one).removeprefix("mailto:"))) for one in people]


def _repeats(entry: Any) -> str:
    rule = entry.get("RRULE")
    if not rule:
        return ""
    values = {name: ", ".join(map(str, one if isinstance(one, list) else [one])) for name, one in rule.items()}
    every = values.get("INTERVAL", "1")
    words = [values.get("FREQ", "").lower() if every == "1" else f"every {every} ({values.get('FREQ', '').lower()})"]
    words += [f"on {values['BYDAY']}"] if "BYDAY" in values else []
    words += [f"until {values['UNTIL']}"] if "UNTIL" in values else []
    words += [f"{values['COUNT']} times"] if "COUNT" in values else []
    return " ".join(words)
