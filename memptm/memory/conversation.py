"""A memory as an agent's: what was said is remembered turn by turn, recalled in a later session, forgotten on request."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import groupby

from memptm.documents.conversations import Turn, document
from memptm.documents.decode import clean, says_something
from memptm.documents.times import WRITTEN, spoken
from memptm.errors import InputError
from memptm.memory.memory import Memory
from memptm.types import Document, Hit, Passage

PART = 50  # turns a document; a new turn writes its own document anew, so this bounds what it costs
OF_CONVERSATIONS = "metadata.conversation IS NOT NULL"
TALK = "said_as IN ('question', 'answer')"  # no evidence: what was asked tells nothing, nor may an answer prove itself


@dataclass(frozen=True, kw_only=True)
class NewTurn:
    """A turn to remember. ``time``: when it was said; None is now. ``kind``: "statement", "question" or "answer"."""

    text: str
    speaker: str = ""
    time: datetime | str | None = None
    kind: str = "statement"


@dataclass
class Conversation:
    """One conversation in a memory. It grows without old turns being encoded anew; one process writes to it at a time.

    Its documents are ``{name}/{part}``, its turns ``{name}:{number}``, each with ``conversation``, ``speaker``, ``time``
    (ISO 8601), ``time_text`` and ``said_as`` as metadata.
    """

    memory: Memory
    name: str = "conversation"
    _part: int = field(default=1, init=False)  # no earlier part still grows

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise InputError("A conversation needs a name.")

    @property
    def source(self) -> str:
        """What hits show as where its turns come from."""
        return f"conversation {self.name}"

    def remember(self, text: str, *, speaker: str = "", time: datetime | str | None = None) -> str:
        """Keep what ``speaker`` said; returns the turn's id.

        Args:
            time: when, as a datetime (kept to the minute) or as text; text that is no date is kept as it stands. None is
                now.
        Raises:
            InputError: the text is empty. IndexLocked: another process is writing.
        """
        return self.remember_all([NewTurn(text=text, speaker=speaker, time=time)])[0]

    def remember_all(self, turns: Sequence[NewTurn]) -> list[str]:
        """Keep several turns, oldest first, in one write where they share a part; returns their ids.

        Raises:
            InputError: one of them is empty; nothing is kept then.
        """
        if any(not says_something(clean(one.text)) for one in turns):
            raise InputError("The turn is empty, or of punctuation alone. Nothing was remembered.")
        parts = self._parts(f"part >= {self._part}")
        self._part = max(parts, default=1)
        number = max((_number(turn) for part in parts.values() for turn in part), default=0)
        changed, made = set(), []
        for one in turns:
            if len(parts.get(self._part, ())) >= PART:
                self._part += 1
            number += 1
            made.append(f"{self.name}:{number}")
            parts.setdefault(self._part, []).append(self._turn(one, made[-1], number))
            changed.add(self._part)
        self.memory.add([self._document(part, parts[part]) for part in sorted(changed)])
        return made

    def recall(self, question: str, *, k: int = 5, where: str | None = None) -> list[Hit]:
        """The ``k`` turns nearest to ``question``, of all conversations of the memory, those of its files included.

        Args:
            where: a filter, as in "speaker = 'Ann' AND time >= '2023-05'".
        Raises:
            InputError: as for ``Memory.search``.
        """
        return self.memory.search(
            question, k=k, where=OF_CONVERSATIONS if where is None else f"{OF_CONVERSATIONS} AND ({where})"
        )

    def turns(self) -> Iterator[Turn]:
        """All turns of this conversation, oldest first."""
        for _, turns in sorted(self._parts().items()):
            yield from turns

    def forget(self, *ids: str) -> int:
        """Forget these turns, or the whole conversation where none is named; returns how many turns are gone.

        Raises:
            InputError: an id is unknown; nothing is forgotten then.
        """
        parts = self._parts()
        known = {turn.id for turns in parts.values() for turn in turns}
        unknown = [one for one in ids if one not in known]
        if unknown or not known:
            what = f"turn {unknown[0]}" if unknown else "turn"
            raise InputError(f"The conversation {self.name} has no {what}. Nothing was forgotten.")
        gone = set(ids) or known
        left = {part: [turn for turn in turns if turn.id not in gone] for part, turns in parts.items()}
        kept = [self._document(part, left[part]) for part in left if left[part] and left[part] != parts[part]]
        emptied = [f"{self.name}/{part}" for part in left if not left[part]]
        if kept:
            self.memory.add(kept)
        if emptied:
            for one in emptied:
                self.memory.remove(ids=[one], source=self.source)
        return len(gone)

    def _document(self, part: int, turns: Sequence[Turn]) -> Document:
        made = document(turns, name=self.name, id=f"{self.name}/{part}", source=self.source)
        return replace(made, metadata={**made.metadata, "part": part})

    def _turn(self, new: NewTurn, name: str, number: int) -> Turn:
        time = datetime.now() if new.time is None else new.time
        return Turn(
            id=name,
            text=clean(new.text),
            speaker=clean(new.speaker).strip(),
            time=spoken(time) if isinstance(time, datetime) else clean(time),
            metadata={"said_as": new.kind, "turn": number},
        )

    def _parts(self, condition: str = "") -> dict[int, list[Turn]]:
        """Part → its turns, read back from the passages."""
        name = self.name.replace("'", "''")
        source = self.source.replace("'", "''")
        where = f"metadata.conversation = '{name}' AND source = '{source}'" + (f" AND {condition}" if condition else "")
        found = sorted(self.memory.passages(where=where), key=lambda passage: (passage.metadata["part"], passage.start))
        parts: dict[int, list[Turn]] = {}
        for (part, _), pieces in groupby(found, key=lambda one: (one.metadata["part"], one.metadata["turn"])):
            parts.setdefault(part, []).append(_turn_of(list(pieces)))
        return parts


def _turn_of(pieces: Sequence[Passage]) -> Turn:
    """The turn that these passages are slices of, in order; only single blanks lie between them."""
    first, line = pieces[0], ""
    for piece in pieces:
        at = piece.start - first.start
        line = line[:at].ljust(at) + piece.text
    metadata = dict(first.metadata)
    speaker = metadata.get("speaker", "")
    return Turn(
        id=f"{metadata['conversation']}:{metadata['turn']}",
        text=line.removeprefix(f"{speaker}: ") if speaker else line,
        speaker=speaker,
        time=metadata.get(WRITTEN, ""),
        metadata={name: metadata[name] for name in ("said_as", "turn")},
    )


def _number(turn: Turn) -> int:
    return int(turn.metadata["turn"])
