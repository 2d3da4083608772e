"""WhatsApp's exported chats: iOS and Android, 12 and 24 hours, dates as the telephone's language writes them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import PurePath

from memptm.documents.conversations import Turn, extracted
from memptm.documents.draft import Extracted
from memptm.documents.times import spoken

_MARKS = "\u200e\u200f\u202a\u202c\ufeff"  # of direction; iOS puts one before what no one has written
_DATE = r"(?P<a>\d{1,4})(?P<mark>[./-])[ \u00a0]?(?P<b>\d{1,2})(?P=mark)[ \u00a0]?(?P<c>\d{2,4})\.?"
_TIME = r"(?P<hour>\d{1,2})[:.](?P<minute>\d\d)(?:[:.](?P<second>\d\d))?(?:[\s\u202f\u00a0]?(?P<half>[ap])\.?[\s\u202f\u00a0]?m\.?)?"
_START = re.compile(
    rf"(?P<marked>[{_MARKS}]*)(?:\[{_DATE},?[ ]{_TIME}\][ ]|{_DATE.replace('<a>', '<a2>').replace('<b>', '<b2>').replace('<c>', '<c2>').replace('mark', 'mark2')}"
    rf",?[ ]{_TIME.replace('<hour>', '<hour2>').replace('<minute>', '<minute2>').replace('<second>', '<second2>').replace('<half>', '<half2>')}[ ](?:-|–)[ ])"
    r"(?P<rest>.*)",
    re.IGNORECASE,
)
_SAID = re.compile(r"(?P<speaker>[^:\n]{1,80}?):[ \u00a0](?P<text>.*)", re.DOTALL)
_LEFT_OUT = re.compile(
    r"<[^<>]{3,60}>|[\w ]{2,40} (?:omitted|omitida?|omitido|absente?|weggelassen|ausgeschlossen|omesso|weggelaten|udeladt"
    r"|utelämnad|pominięto)|.{0,60}\(file attached\)|.{0,60}\(Datei angehängt\)",
    re.IGNORECASE,
)
_DELETED = re.compile(
    r"(?:this message was deleted|you deleted this message|diese nachricht wurde gelöscht|du hast diese nachricht gelöscht"
    r"|ce message a été supprimé|este mensaje fue eliminado|se eliminó este mensaje|questo messaggio è stato eliminato"
    r"|dit bericht is verwijderd|esta mensagem foi apagada)\.?",
    re.IGNORECASE,
)
_EDITED = re.compile(r"\s*<(?:this message was edited|diese nachricht wurde bearbeitet)>\s*$", re.IGNORECASE)
_NAME = re.compile(
    r"^(?:WhatsApp[ -]*Chats?(?: (?:with|mit|avec|con|com|met))?(?: -)?|Chat (?:de|di) WhatsApp (?:con|com)) *-? *",
    re.I,
)


def read(text: str, *, path: str, warn: Callable[[str], None]) -> Extracted | None:
    """The chat, a turn a message, or None where it is something else. What the program itself says is left out."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    if _START.match(first) is None:
        return None
    messages, left_out = _messages(text)
    if len(messages) < 2:
        return None
    if left_out:
        warn(f"{path}: attachments that are not in the export (pictures, voice messages): {left_out}")
    return extracted(messages, name=chat_name(path))


def chat_name(path: str) -> str:
    """Whom the chat was with, as the export's name says it: its own, or for iOS's _chat.txt its folder's."""
    found = PurePath(path)
    stem = found.parent.name if found.stem.startswith("_chat") else found.stem
    return _NAME.sub("", stem).strip() or stem


def _messages(text: str) -> tuple[list[Turn], int]:
    entries: list[tuple[re.Match[str], list[str]]] = []
    for line in text.splitlines():
        start = _START.match(line)
        if start:
            entries.append((start, [start["rest"]]))
        elif entries:
            entries[-1][1].append(line)
    order = _date_order([start for start, _ in entries])
    turns: list[Turn] = []
    left_out = 0
    for start, lines in entries:
        said = _SAID.fullmatch("\n".join(lines).rstrip())
        if said is None:
            continue
        words = _EDITED.sub("", said["text"])
        bare = words.strip(_MARKS + " \n")
        if _LEFT_OUT.fullmatch(bare):
            left_out += 1
            continue
        written_by_nobody = bool(start["marked"].strip("\ufeff")) or words.startswith(tuple(_MARKS))
        if not bare or _DELETED.fullmatch(bare) or (written_by_nobody and not turns):
            continue
        moment = _moment(start, order)
        turns.append(
            Turn(
                id=f"message {len(turns) + 1}",
                text=bare,
                speaker=said["speaker"].strip(_MARKS + " ~\u00a0\u202f"),
                time=spoken(moment) if moment else "",
            )
        )
    return turns, left_out


def _date_order(starts: Sequence[re.Match[str]]) -> str:
    """Return "ymd", "dmy" or "mdy", told from all dates of the file."""
    parts = [_parts(start) for start in starts]
    if any(len(a) == 4 for a, _, _ in parts):
        return "ymd"
    if any(int(a) > 12 for a, _, _ in parts):
        return "dmy"
    if any(int(b) > 12 for _, b, _ in parts):
        return "mdy"
    first = starts[0]
    slashes = (first["mark"] or first["mark2"]) == "/"
    return "mdy" if slashes and any(start["half"] or start["half2"] for start in starts) else "dmy"


def _parts(start: re.Match[str]) -> tuple[str, str, str]:
    return start["a"] or start["a2"], start["b"] or start["b2"], start["c"] or start["c2"]


def _moment(start: re.Match[str], order: str) -> datetime | None:
    named = dict(zip(order, map(int, _parts(start)), strict=True))
    year = named["y"] + (2000 if named["y"] < 100 else 0)
    hour = int(start["hour"] or start["hour2"])
    half = (start["half"] or start["half2"] or "").lower()
    if half:
        hour = hour % 12 + (12 if half == "p" else 0)
    try:
        return datetime(year, named["m"], named["d"], hour, int(start["minute"] or start["minute2"]))
    except ValueError:
        return None
