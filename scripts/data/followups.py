"""Conversations to measure follow-up questions on: CANARD and TREC iKAT; see also scripts/data/held_out.py."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from memptm.documents.split import split
from memptm.memory.memory import Memory
from memptm.training.data.splits import held_out_passage
from memptm.types import Answer, Document, Json, Passage
from scripts.data.held_out import rows

NO_ANSWER = ("cannotanswer", "i don't know", "")
WORDS = 60  # of a passage


@dataclass(frozen=True)
class FollowUpQuestion:
    """A question in its conversation.

    Attributes:
        dialog: what it belongs to. history: the turns before it, oldest first, questions and answers in turn.
        rewrite: the same question able to stand alone. row: its place in canard.jsonl.
        answer, start: its answer and where that stands in the dialog's text; None where it is not known.
    """

    dialog: str
    row: int
    history: tuple[str, ...]
    question: str
    rewrite: str
    answer: str | None = None
    start: int | None = None

    @property
    def turns(self) -> list[str]:
        """What was said, but answers that say nothing."""
        return [one for asked, answer in self.exchanges for one in (asked, answer.text) if one is not None]

    @property
    def exchanges(self) -> list[tuple[str, Answer]]:
        """What was said, as a session takes it."""
        pairs = zip(self.history[::2], self.history[1::2], strict=False)
        return [
            (asked, Answer(question=asked, text=_known(reply), probability=1.0, method="reader"))
            for asked, reply in pairs
        ]


class Canard:
    """CANARD's dialogs. What a dialog's questions were answered with, in order, is its text: QuAC answers are spans of it.

    Held-out dialogs are one in six, by their name's hash; train on the others.
    """

    def __init__(self, data: Path) -> None:
        self.rows = rows(data / "canard.jsonl")
        longest: dict[str, Json] = {}
        for row in self.rows:
            if row["turn"] >= longest.get(row["dialog"], row)["turn"]:
                longest[row["dialog"]] = row
        self.titles = {name: ", ".join(row["history"][:2]) for name, row in longest.items()}
        self.texts: dict[str, str] = {}
        self._starts: dict[tuple[str, int], int] = {}
        for name, row in longest.items():
            text = ""
            for n, reply in enumerate(row["history"][3::2]):
                if _known(reply):
                    self._starts[name, n] = len(text)
                    text += f"{reply} "
            self.texts[name] = text.strip()
        self._answers = {
            (name, n): reply for name, row in longest.items() for n, reply in enumerate(row["history"][3::2])
        }

    def rewrites(self) -> list[str]:
        """Of all rows, in order."""
        return [row["rewrite"] for row in self.rows]

    def held_out(self) -> list[FollowUpQuestion]:
        """The questions of held-out dialogs on pages that no other dialog is on, where something was said before."""
        trained = {row["history"][0] for row in self.rows if not held_out_passage(row["dialog"])}
        found = []
        for n, row in enumerate(self.rows):
            history = tuple(row["history"][2:])  # the first two are the page's title and the section's
            if not history or not held_out_passage(row["dialog"]) or row["history"][0] in trained:
                continue
            place = row["dialog"], len(history) // 2
            start = self._starts.get(place)
            answer = None if start is None else self._answers[place]
            found.append(FollowUpQuestion(row["dialog"], n, history, row["question"], row["rewrite"], answer, start))
        return found

    def documents(self) -> list[Document]:
        """The dialogs' texts."""
        return [
            Document(id=name, title=self.titles[name], text=text, source="canard")
            for name, text in self.texts.items()
            if text
        ]

    def passages(self) -> list[Passage]:
        """The dialogs' texts in passages of ``WORDS`` words."""
        return [one for document in self.documents() for one in split(document, words=WORDS, overlap=0)]

    def open_index(self, folder: Path, *, encoder: str | None) -> Memory:
        """All dialogs' texts in one index, made once."""
        memory = Memory.open(folder, create=True, encoder=encoder)
        memory.add(self.documents(), words=WORDS, overlap=0)
        return memory


@dataclass(frozen=True)
class PersonalTurn:
    """A turn of iKAT and the personal facts it needs. ``history``: utterances and responses before it."""

    title: str
    history: tuple[str, ...]
    utterance: str
    resolved: str
    facts: tuple[str, ...]

    @property
    def turns(self) -> list[str]:
        """What was said."""
        return list(self.history)

    @property
    def exchanges(self) -> list[tuple[str, Answer]]:
        """What was said, as a session takes it."""
        pairs = zip(self.history[::2], self.history[1::2], strict=True)
        return [(asked, Answer(question=asked, text=reply, probability=1.0, method="reader")) for asked, reply in pairs]


def personal_turns(data: Path) -> tuple[dict[str, list[str]], list[PersonalTurn]]:
    """(conversation → the person's facts, turns that need some of them) of held-out conversations."""
    facts: dict[str, list[str]] = {}
    found = []
    for number, row in enumerate(row for row in rows(data / "ikat.jsonl") if held_out_passage(row["title"])):
        title = f"{number} {row['title']}"
        facts[title] = list(row["facts"].values())
        history: list[str] = []
        for turn in row["turns"]:
            needed = tuple(row["facts"][str(n)] for n in turn["facts"] if str(n) in row["facts"])
            if needed:
                found.append(PersonalTurn(title, tuple(history), turn["utterance"], turn["resolved"], needed))
            history += [turn["utterance"], turn["response"]]
    return facts, found


def _known(reply: str) -> str | None:
    return None if reply.lower().strip(" .") in NO_ANSWER else reply
