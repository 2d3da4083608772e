"""A conversation with a memory: what was said bears on the next question, and outlives the process."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from memptm.answering.asked import Asked
from memptm.documents.decode import clean
from memptm.encoders.base import Encoder, Keys, Recurrent, StreamState
from memptm.errors import InputError
from memptm.memory.conversation import TALK
from memptm.memory.encode import unit
from memptm.memory.folder import MANIFEST, check_place, expanded, writing
from memptm.memory.folder import replace as replace_file
from memptm.types import Answer, Query

if TYPE_CHECKING:
    from torch import Tensor

    from memptm.memory.memory import Memory

FORMAT = 2  # 1 had no name of its conversation
KEPT = 32  # exchanges of the history; older ones live on in the retrieval state alone
TURNS = 4  # said last and written before a question for its query (scripts/benchmarks/followups.py)
TURN_WORDS = 60  # of a turn that are written before the next question
DAMAGED = ".damaged"
_HEADER = "memptm.session"
_MARK = b'{"__metadata__":{"memptm.session":'  # in every session's file, after 8 bytes
_BEGINS = _MARK[:15]  # of which so much tells one that was cut from other files
_ANAPHORA = re.compile(
    r"\b(?:he|him|his|she|hers?|it|its|they|them|theirs?|this|that|these|those|there|then|ones?|else|same)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """A question and its answer; ``answer`` is None where the memory did not hold it. ``time``: ISO 8601, when asked."""

    question: str
    answer: str | None
    time: str

    @property
    def turns(self) -> list[str]:
        """What was said, in order."""
        return [self.question, *([] if self.answer is None else [self.answer])]


class Session:
    """The working memory of one conversation with one index.

    A question's query is the mean of two unit vectors: the question's own, and that of the last ``TURNS`` turns with the
    question after them. The first does not know what "it" is, and the second fails when the subject changes. With a recurrent
    encoder the first comes from its state after all that was said, and it stands alone where the question names all it needs
    (scripts/benchmarks/followups.py).

    Attributes:
        exchanges: the last ``KEPT``, oldest first. asked: how many there have been in all.
        holds_talk: whether the index holds questions and answers of conversations, which a session does not read.
        conversation: a name of its own for what is remembered of it in the index.
    """

    def __init__(self, memory: Memory, path: Path | None = None) -> None:
        self.memory, self.path = memory, path
        self.exchanges: tuple[Exchange, ...] = ()
        self.asked = 0
        self._past: StreamState | None = None
        self.conversation = f"{'chat' if path is None else clean(path.stem)}-{uuid4().hex[:8]}"
        self.holds_talk = next(memory.passages(where=TALK), None) is not None

    @classmethod
    def open(cls, memory: Memory, path: str | Path) -> Session:
        """The session in the file ``path``, or a new one that will be kept there.

        A session's file that is damaged is put aside under another name, with a warning, and the session begins anew.

        Raises:
            InputError: the file belongs to another index or encoder, is something else, stands inside an index, or
                cannot be made.
        """
        file = expanded(path)
        check_place(file)
        if file.is_dir():
            raise InputError(f"{file} is a folder. Give --session a file; it is made where there is none.")
        inside = next((folder for folder in file.absolute().parents if (folder / MANIFEST).exists()), None)
        if inside is not None:
            raise InputError(f"{file} lies inside the index {inside}. Keep the session's file elsewhere.")
        session = cls(memory, file)
        session._load(file)
        return session

    def follow_up(self, question: str) -> Asked:
        """``question`` after what was said before.

        The span reader reads the last answer before it, not the last question, which it would answer once more.
        """
        turns = [turn for exchange in self.exchanges for turn in exchange.turns]
        last = [_shortened(turn) for turn in self.exchanges[-1].turns] if turns and has_anaphora(question) else []
        return Asked(
            query=Query(question, lead=f"{last[1].rstrip('.')}. " if len(last) > 1 else ""),
            words=" ".join([question, *last]),
            vectors=self._vectors(question, turns),
            history=tuple(
                (one.question, one.answer) for one in self.exchanges[-TURNS // 2 :] if one.answer is not None
            ),
        )

    def evidence(self, where: str | None) -> str | None:
        """The filter ``where``, narrowed to what may be read for an answer."""
        if not self.holds_talk:
            return where
        statements = f"(said_as IS NULL OR NOT ({TALK}))"
        return statements if where is None else f"{statements} AND ({where})"

    def add(self, question: str, answer: Answer) -> None:
        """Take in an exchange, and write the session's file."""
        exchange = _as_text(Exchange(question=question, answer=answer.text, time=now()))
        encoder = self.memory.encoder
        if isinstance(encoder, Recurrent):
            self._past = _after(encoder, exchange, self._past)
        self.exchanges = (*self.exchanges, exchange)[-KEPT:]
        self.asked += 1
        self.save()

    def clear(self) -> None:
        """Forget what was said; the long-term memory keeps what it holds."""
        self.exchanges, self.asked, self._past = (), 0, None
        self.save()

    def save(self) -> None:
        """Write the session's file, whole or not at all; nothing where it has no path."""
        if self.path is None:
            return
        from safetensors.torch import save

        manifest = self.memory.manifest
        header = _Header(
            format=FORMAT,
            index=manifest.index,
            folder=str(self.memory.path.absolute()),
            encoder=manifest.encoder,
            fingerprint=manifest.fingerprint,
            asked=self.asked,
            exchanges=[asdict(exchange) for exchange in self.exchanges],
            conversation=self.conversation,
        )
        tensors = {} if self._past is None else self._past.tensors()
        written = {_HEADER: json.dumps(asdict(header))}  # one key: safetensors writes several in no fixed order
        data = save({name: tensor.contiguous() for name, tensor in tensors.items()}, written)
        with writing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(self.path, data)

    def _vectors(self, question: str, turns: Sequence[str]) -> Keys:
        encoder = self.memory.encoder
        if isinstance(encoder, Recurrent):
            own = encoder.ask(question, self._past)
            turns = turns if has_anaphora(question) else ()
        else:
            own = encoder.encode_questions([question])
        if not turns:
            return unit(own)
        return unit(unit(own) + unit(encoder.encode_questions([with_turns(question, turns, encoder)])))

    def _load(self, path: Path) -> None:
        try:
            header, tensors = _read(path)
            self._check_owner(header)
            self._restore(path, header, tensors)
        except FileNotFoundError:
            return
        except PermissionError:
            raise InputError(f"{path} cannot be read: permission denied.") from None
        except _Damaged as error:
            self._put_aside(path, str(error))

    def _restore(self, path: Path, header: _Header, tensors: dict[str, Tensor]) -> None:
        try:
            exchanges = header.history()
            encoder = self.memory.encoder
            past = encoder.past(tensors) if tensors and isinstance(encoder, Recurrent) else None
        except (TypeError, ValueError, KeyError, RuntimeError) as error:
            raise _Damaged(f"its state does not fit: {error}") from error
        if not tensors and isinstance(encoder, Recurrent):  # kept by another encoder of the same keys (two_sided.py)
            for exchange in exchanges:
                past = _after(encoder, exchange, past)
        self.exchanges, self.asked, self._past = exchanges, header.asked, past
        self.conversation = clean(header.conversation or path.stem)

    def _check_owner(self, header: _Header) -> None:
        ours = self.memory.manifest
        if header.index != ours.index:
            raise InputError(
                f"{self.path} is a session of the index {header.folder} ({header.index[:8]}), and "
                f"{self.memory.path} ({ours.index[:8]}) was given. Give that index, or another session file."
            )
        if header.fingerprint != ours.fingerprint:
            raise InputError(
                f"{self.path} holds the state of {header.encoder} ({header.fingerprint[:8]}), and the index is "
                f"keyed by {ours.encoder} ({ours.fingerprint[:8]}). Begin another session file."
            )

    def _put_aside(self, path: Path, reason: str) -> None:
        names = (f"{path.name}{DAMAGED}{'' if n == 1 else n}" for n in count(1))
        aside = next(one for name in names if not (one := path.with_name(name)).exists())
        with writing(path):
            path.rename(aside)
        warnings.warn(
            f"{path} is damaged ({reason}); it is kept as {aside.name}, and the session begins anew.", stacklevel=4
        )


def with_turns(question: str, turns: Sequence[str], encoder: Encoder) -> str:
    """``question`` with the last ``TURNS`` turns before it, a line each; older ones are left out until the window holds it."""
    turns = [_shortened(turn) for turn in turns[-TURNS:]]
    while turns and encoder.count_tokens(["\n".join([*turns, question])])[0] > encoder.max_tokens:
        turns.pop(0)
    return "\n".join([*turns, question])


def has_anaphora(question: str) -> bool:
    """Whether a question has a word that stands for something named before, such as "she" or "there" (English alone)."""
    return _ANAPHORA.search(question) is not None


def now() -> str:
    """The time of day here, ISO 8601 to the second."""
    return datetime.now().isoformat(timespec="seconds")


@dataclass(frozen=True, kw_only=True)
class _Header:
    """What a session's file says of itself, beside the tensors of its state."""

    format: int
    index: str
    folder: str
    encoder: str
    fingerprint: str
    asked: int
    exchanges: Sequence[Mapping[str, Any]]
    conversation: str | None = None

    def __post_init__(self) -> None:
        texts = (self.index, self.folder, self.encoder, self.fingerprint)
        named = self.conversation is None or (isinstance(self.conversation, str) and self.conversation.strip())
        counted = all(type(one) is int and one >= 0 for one in (self.format, self.asked))  # True is no count
        if not (named and counted and all(isinstance(one, str) for one in texts) and isinstance(self.exchanges, list)):
            raise TypeError("a field is of another kind")

    def history(self) -> tuple[Exchange, ...]:
        found = [Exchange(**one) for one in self.exchanges[-KEPT:]]
        for one in found:
            if not (isinstance(one.question, str) and isinstance(one.answer, str | None) and isinstance(one.time, str)):
                raise TypeError("an exchange holds no text")
        return tuple(_as_text(one) for one in found)


def _as_text(one: Exchange) -> Exchange:
    return replace(one, question=clean(one.question), answer=None if one.answer is None else clean(one.answer))


def _after(encoder: Recurrent, exchange: Exchange, past: StreamState | None) -> StreamState | None:
    """The state after an exchange."""
    for turn in exchange.turns:
        _, past = encoder.read(turn, past)
    return past


def _shortened(turn: str) -> str:
    return " ".join(turn.split()[:TURN_WORDS])


class _Damaged(Exception):
    """A session's file that cannot be read as one; the message says why."""


def _read(path: Path) -> tuple[_Header, dict[str, Tensor]]:
    """The header and the tensors of a session's file."""
    from safetensors import SafetensorError, safe_open

    with path.open("rb") as opened:  # safetensors tells a missing file from a damaged one by its errors' text alone
        begun = opened.read(8 + len(_MARK))
    if not begun:
        raise FileNotFoundError(path)  # made by touch or mktemp: a new session's
    if len(begun) < 8 + len(_BEGINS) or not _MARK.startswith(begun[8:]):
        raise InputError(f"{path} is no session, and is left as it is. Give --session another file.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise _Damaged((str(error).splitlines() or [type(error).__name__])[0][:120]) from error
    try:
        found = json.loads(metadata[_HEADER])
        newer = isinstance(found["format"], int) and found["format"] > FORMAT
        header = None if newer else _Header(**found)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _Damaged(f"its header is not a session's: {error}") from error
    if header is None:
        raise InputError(f"{path} has format {found['format']}, this memptm reads up to {FORMAT}. Update memptm.")
    return header, tensors
