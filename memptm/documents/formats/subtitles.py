"""SRT and WebVTT: cues of one speaker joined into sentences, with the time they are heard at."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass

from memptm.documents.draft import Draft, Extracted, one_line
from memptm.documents.file import File
from memptm.documents.refused import Refused

_TAG = re.compile(r"<[^>]{0,200}>|\{\\[^}]*\}")
_VOICE = re.compile(r"<v(?:\.[\w.]+)?\s+([^>]{1,80})>")
_SPEAKER = re.compile(r"^(?:-\s*)?([A-Z][\w .'-]{0,30}):\s+(?=\S)")
_ENDS = re.compile(r"[.!?…][\"'”’)\]]*$")
_PAUSE = 3.0  # seconds without speech from which on a new paragraph begins
_LONGEST = 600  # characters of a paragraph


@dataclass(frozen=True, kw_only=True)
class _Cue:
    start: float
    end: float
    text: str
    speaker: str = ""


def read_srt(file: File) -> Iterator[Extracted]:
    """One document; a block's metadata have ``start`` and ``end`` in seconds and the ``speaker`` where one is named."""
    import srt

    text = file.text()
    try:
        try:
            parsed = list(srt.parse(text))
        except srt.SRTParseError as error:
            parsed = list(srt.parse(text, ignore_errors=True))
            line = text.count("\n", 0, error.expected_start) + 1
            file.warn(f"{file.path}: what is no subtitle is left out, first in line {line}")
    except (srt.SRTParseError, ValueError) as error:
        raise Refused(file.path, f"broken subtitles: {one_line(str(error))[:100]}") from None
    cues = [_cue(one.start.total_seconds(), one.end.total_seconds(), one.content) for one in parsed]
    yield _read(cues)


def read_vtt(file: File) -> Iterator[Extracted]:
    """As ``read_srt``; comments (NOTE) stand at the beginning."""
    import webvtt

    text = file.text()
    try:
        parsed = webvtt.from_buffer(io.StringIO(text))
        cues = [_cue(one.start_in_seconds, one.end_in_seconds, one.raw_text) for one in parsed.captions]
    except (webvtt.errors.MalformedFileError, webvtt.errors.MalformedCaptionError, ValueError) as error:
        raise Refused(file.path, f"broken subtitles: {one_line(str(error))[:100]}") from None
    notes = [one_line(found) for found in re.findall(r"^NOTE\s+(.+?)(?:\n\s*\n|\Z)", text, re.MULTILINE | re.DOTALL)]
    yield _read(cues, notes)


def _cue(start: float, end: float, raw: str) -> _Cue:
    voice = _VOICE.search(raw)
    text = one_line(_TAG.sub("", raw))
    named = None if voice else _SPEAKER.match(text)
    speaker = one_line(voice[1]) if voice else named[1] if named else ""
    return _Cue(start=float(start), end=float(end), text=text[named.end() :] if named else text, speaker=speaker)


def _read(cues: list[_Cue], notes: list[str] | None = None) -> Extracted:
    draft = Draft()
    for note in notes or []:
        draft.add(note)
    run: list[_Cue] = []
    for cue in cues:
        if not cue.text or (run and cue.text == run[-1].text):
            continue
        if run and (
            cue.speaker != run[-1].speaker
            or cue.start - run[-1].end > _PAUSE
            or (sum(len(one.text) for one in run) > _LONGEST / 2 and _ENDS.search(run[-1].text))
            or sum(len(one.text) for one in run) > _LONGEST
        ):
            _add(draft, run)
            run = []
        run.append(cue)
    if run:
        _add(draft, run)
    return draft.finish()


def _add(draft: Draft, run: list[_Cue]) -> None:
    speaker = run[0].speaker
    text = " ".join(one.text for one in run)
    metadata = {
        "start": round(run[0].start, 3),
        "end": round(run[-1].end, 3),
        **({"speaker": speaker} if speaker else {}),
    }
    draft.add(
        f"{speaker}: {text}" if speaker else text,
        kind="turn" if speaker else "text",
        context=f"at {clock(run[0].start)}",
        joint="\n",
        metadata=metadata,
    )


def clock(seconds: float) -> str:
    """12 as 0:12, 3725 as 1:02:05."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
