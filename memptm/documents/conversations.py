"""A conversation as a document: a line a turn, each a block that keeps its speaker and its time."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from memptm.documents.draft import Extracted, one_line
from memptm.documents.times import WRITTEN, fields, iso
from memptm.types import Block, Document, Passage

_TURN = re.compile(r"(?P<speaker>[^\s:\[\](){}<>=/][^:\[\](){}<>=/]{0,39}):[ \t]+(?P<text>\S.*)")
OTHERS = 0.05  # what a turn counts where the question names another speaker; 1 to 0.03 were tried on LoCoMo
_DATE = re.compile(r"(?:(?:date|time)\s*:)?\s*(?P<time>\S.*)", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What one speaker said. ``time``: as it was written, "" where it is not known."""

    id: str
    text: str
    speaker: str = ""
    time: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def line(self) -> str:
        """Speaker and text, in one line."""
        text = one_line(self.text)
        return f"{self.speaker}: {text}" if self.speaker else text


def extracted(
    turns: Sequence[Turn], *, name: str, part: str = "", metadata: Mapping[str, Any] | None = None
) -> Extracted:
    """A conversation called ``name``; a turn's time is its context, seen by encoder and reader."""
    blocks: list[Block] = []
    for turn in turns:
        start = blocks[-1].end + 1 if blocks else 0
        speaker = {"speaker": turn.speaker} if turn.speaker else {}
        blocks.append(
            Block(
                start=start,
                end=start + len(turn.line),
                kind="turn",
                context=turn.time,
                id=turn.id,
                metadata={**speaker, **fields(turn.time), **turn.metadata},
            )
        )
    return Extracted(
        text="\n".join(turn.line for turn in turns),
        title=name,
        blocks=tuple(blocks),
        metadata={"conversation": name, **(metadata or {})},
        part=part,
    )


def document(turns: Sequence[Turn], *, name: str, id: str = "", source: str = "") -> Document:
    """The document of a conversation."""
    made = extracted(turns, name=name)
    return Document(
        id=id or name, title=name, text=made.text, source=source, metadata=made.metadata, blocks=made.blocks
    )


def without_time(turns: Sequence[Turn]) -> str:
    """What a user should know of times that are no dates, in one line; "" if there are none."""
    odd = [turn for turn in turns if turn.time and iso(turn.time) is None]
    if not odd:
        return ""
    count = "1 turn has a time that is" if len(odd) == 1 else f"{len(odd)} turns have times that are"
    return (
        f"{count} no date that can be read ({odd[0].time[:40]!r}, turn {odd[0].id}); kept as text ({WRITTEN}), "
        "and filters on time pass over them"
    )


def log_weights(question: str, passages: Sequence[Passage]) -> list[float]:
    """Log of what each passage counts for a question that names speakers: what others said tells little of these.

    "What did Ann paint?" is not answered by what Bo says of his own pictures. 0 for all where no speaker is named.
    """
    spoke = [_speakers(passage) for passage in passages]
    speakers = set().union(*spoke)
    named = {one for one in speakers if re.search(rf"\b{re.escape(one.split()[0])}\b", question, re.IGNORECASE)}
    return [math.log(OTHERS) if named and own and not own & named else 0.0 for own in spoke]


def _speakers(passage: Passage) -> set[str]:
    """Who said it; metadata may hold anything: of a list each name in it, of what is no name none."""
    found = passage.metadata.get("speaker")
    names = found if isinstance(found, list | tuple) else [found]
    return {one.strip() for one in names if isinstance(one, str) and one.strip()}


def read(text: str, *, name: str) -> list[Turn] | None:
    """The turns of a session's file, or None if it is something else.

    The file begins with a line that is a date, alone or after "Date:"; further such lines set a new time. Each other line
    is ``Speaker: text``, or indented and goes on with the turn before. Somebody has to speak twice: what names each thing
    once is a table of facts. A turn's id is ``{name}:{number}``.
    """
    turns: list[Turn] = []
    for kind, time, speaker, said in _lines(text):
        if kind == "turn":
            turns.append(Turn(id=f"{name}:{len(turns) + 1}", text=said, speaker=speaker, time=time))
        elif kind == "more" and turns:
            last = turns[-1]
            turns[-1] = Turn(id=last.id, text=f"{last.text} {said}", speaker=last.speaker, time=last.time)
        else:
            return None
    return turns if len({turn.speaker for turn in turns}) < len(turns) else None


def _lines(text: str) -> Iterator[tuple[str, str, str, str]]:
    """(kind, time, speaker, text) a line: a turn, more of it, or "other"."""
    time = ""
    for line in text.splitlines():
        if not line.strip():
            continue
        if time and line[0] in " \t":
            yield "more", time, "", line.strip()
            continue
        dated = _DATE.fullmatch(line.strip())
        if dated and len(line) <= 60 and iso(dated["time"]):
            time = dated["time"]
            continue
        turn = _TURN.fullmatch(line.strip())
        if not time or turn is None:
            yield "other", time, "", line
            return
        yield "turn", time, turn["speaker"].strip(), turn["text"]
