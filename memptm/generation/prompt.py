"""The prompt: instruction, question, passages, as token ids; what does not fit is left out from the least likely passage on."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from memptm.encoders.base import embedding_text
from memptm.errors import InputError
from memptm.types import Passage

NOT_THERE = (
    "not in memory"  # what the model says where the passages do not hold the answer; the shipped adapter was taught it
)
INSTRUCTION = f"Answer from the passages, in a few words. If they do not say, answer: {NOT_THERE}"
ANSWER_TOKENS = 32  # room kept for the answer
HISTORY_TOKENS = 256  # of what was said before, at most a quarter of the window
SHORTEST = 24  # tokens; less of a passage than this is not worth reading
SENTENCE_END = re.compile(r"[.!?…](?=\s)|[。！？]|\n")
_SLOT = "MEMPTM0SLOT"  # stands for the user's text while the chat template is rendered

Ids = list[int]


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """``ids``: the whole prompt. ``read``: the passages in it, the last one perhaps shortened (``text`` and ``end`` say how far).

    ``front``: the first ids, which say what to look for: instruction and question.
    """

    ids: Ids
    read: tuple[Passage, ...]
    front: int


class PromptWriter:
    """Writes prompts for one tokenizer: through its chat template where it has one, plain otherwise.

    Texts of users and documents never become control tokens: they are encoded apart, as plain characters, and put
    between the template's ids.

    Attributes:
        window: tokens of prompt and answer together (the prompt alone for an encoder–decoder).
        head: the ids that open a prompt.
        end: those that close an answer.
        after: those between an answer's end and the user's next text.
        gap: those between two texts of the user.
    """

    def __init__(self, tokenizer: Any, *, window: int, encoder_decoder: bool = False) -> None:
        self.tokenizer = tokenizer
        self.window = window
        self._room = 0 if encoder_decoder else ANSWER_TOKENS
        self._chat = bool(getattr(tokenizer, "chat_template", None)) and not encoder_decoder
        around = tokenizer("x", add_special_tokens=True).input_ids
        bare = tokenizer("x", add_special_tokens=False).input_ids
        at = next(n for n in range(len(around)) if around[n : n + len(bare)] == bare)
        before, after = around[:at], around[at + len(bare) :]
        if self._chat:
            self.head, self._tail, self.end, self.between = self._from_template()
            self._answered = self._tail
            if before and self.head[: len(before)] != before:  # a template without the BOS its tokenizer adds
                self.head = [*before, *self.head]
        else:
            self.head = [*before, *self._ours(f"{INSTRUCTION}\n\n")]
            self._answered = self._ours("\nAnswer:")
            self._tail = self._answered + (after if encoder_decoder else [])
            self.end = [tokenizer.eos_token_id] if encoder_decoder else self._ours("\n")
            self.between = self._ours("\n")
        self.gap = self._ours("\n\n")
        self._glued = self._chat or encoder_decoder or _marks_word_starts(tokenizer)
        self._exchanges: tuple[tuple[str, str], ...] = ()

    def after(self, history: Sequence[tuple[str, str]]) -> PromptWriter:
        """A writer whose prompts go on from these questions and answers, oldest first, as the chat's history."""
        writer = copy.copy(self)
        writer._exchanges = tuple(history)
        return writer

    def write(
        self, question: str, passages: Sequence[Passage], *, whole: bool = False, opening: Ids | None = None
    ) -> Prompt:
        """The prompt for ``question`` with as many of ``passages`` (likeliest first) as fit.

        Args:
            whole: with all of them, for a model that reads streams; the likeliest last if they do not fit the window,
                for what was read last is forgotten last.
            opening: in place of ``head``, where something was read before.
        Raises:
            InputError: the question alone does not fit the window.
        """
        opening = self.head if opening is None else opening
        asked = self._ours("Question:\n") + self.text_ids(question)
        history = self._history()
        room = self.window - self._room - len(opening) - len(history) - len(self._tail)
        front = [*asked, *self.gap]  # asked before reading too: what is read is then read with the question in mind
        if 2 * len(asked) + len(self.gap) > room:
            front = []
        room -= len(front) + len(asked)
        if whole:
            body, read = self._all(passages, room), list(passages)
        elif room < 0:
            raise InputError(
                f"The question has {len(asked)} tokens and the model's window {self.window}. Ask a shorter question."
            )
        else:
            body, read = self._fill(passages, room)
        ids = [*opening, *history, *front, *body, *asked, *self._tail]
        return Prompt(ids=ids, read=tuple(read), front=len(opening) + len(history) + len(front))

    def answer_ids(self, answer: str) -> Ids:
        """The answer as the model would go on from the prompt, ``end`` included."""
        return [*self.text_ids(answer if self._glued else f" {answer}"), *self.end]

    def text_ids(self, text: str) -> Ids:
        """Ids of a user's text: what looks like a control token is read as characters."""
        ids: Ids = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True, verbose=False).input_ids
        # A word-level vocabulary may hold the marker as a word; then there is no other way to write it than to leave it out.
        control = set(self.tokenizer.all_special_ids) - {self.tokenizer.unk_token_id}
        return [i for i in ids if i not in control]

    def _history(self) -> Ids:
        """The last questions and answers that fit, whole."""
        ids: Ids = []
        for question, answer in reversed(self._exchanges):
            asked = self._ours("Question:\n") + self.text_ids(question)
            exchange = [*asked, *self._answered, *self.answer_ids(answer), *self.between]
            if len(ids) + len(exchange) > min(HISTORY_TOKENS, self.window // 4):
                break
            ids = [*exchange, *ids]
        return ids

    def _all(self, passages: Sequence[Passage], room: int) -> Ids:
        parts = [[*self._ours("Passage:\n"), *self.text_ids(embedding_text(one)), *self.gap] for one in passages]
        if sum(map(len, parts)) > room:
            parts.reverse()
        return [one for part in parts for one in part]

    def _fill(self, passages: Sequence[Passage], room: int) -> tuple[Ids, list[Passage]]:
        body: Ids = []
        read: list[Passage] = []
        label = self._ours("Passage:\n")
        for passage in passages:
            left = room - len(body) - len(label) - len(self.gap)
            ids = self.text_ids(embedding_text(passage))
            if len(ids) > left:
                shorter = self._shorten(passage, left)
                if shorter is not None:
                    body += [*label, *self.text_ids(embedding_text(shorter)), *self.gap]
                    read.append(shorter)
                break  # those after it are less likely still
            body += [*label, *ids, *self.gap]
            read.append(passage)
        return body, read

    def _shorten(self, passage: Passage, room: int) -> Passage | None:
        """The passage cut at the end to at most ``room`` tokens, after a whole sentence where that leaves half or more."""
        around = len(self.text_ids(embedding_text(replace(passage, text=""))))
        if room - around < SHORTEST:
            return None
        low, high = 0, len(passage.text)
        while low < high:  # the longest text that fits
            middle = (low + high + 1) // 2
            fits = len(self.text_ids(embedding_text(replace(passage, text=passage.text[:middle])))) <= room
            low, high = (middle, high) if fits else (low, middle - 1)
        ends = [match.end() for match in SENTENCE_END.finditer(passage.text, 0, low)]
        if ends and 2 * ends[-1] >= low:
            low = ends[-1]
        else:
            low = passage.text.rfind(" ", 0, low) if " " in passage.text[:low] else low
        text = passage.text[:low].rstrip()
        return replace(passage, text=text, end=passage.start + len(text)) if text else None

    def _ours(self, text: str) -> Ids:
        ids: Ids = self.tokenizer(text, add_special_tokens=False).input_ids
        return ids

    def _from_template(self) -> tuple[Ids, Ids, Ids, Ids]:
        """Ids before the user's text, after it, what closes the answer, and what then opens the user's next text."""
        system = [{"role": "system", "content": INSTRUCTION}, {"role": "user", "content": _SLOT}]
        rendered = self._render(system)
        if rendered is None or INSTRUCTION not in rendered:  # the template knows no system turn
            system = [{"role": "user", "content": f"{INSTRUCTION}\n\n{_SLOT}"}]
            rendered = self._render(system)
        if rendered is None or rendered.count(_SLOT) != 1:
            raise InputError(
                "The model's chat template does not show the user's text once. Use a model with another template."
            )
        head, tail = rendered.split(_SLOT)
        turn = {"role": "assistant", "content": _SLOT}
        answered = self._render([*system, turn], answer=False)
        closing = self._ours(answered.rpartition(_SLOT)[2]) if answered else []
        going_on = self._render([*system, turn, {"role": "user", "content": _SLOT}])
        between = self._ours(going_on.split(_SLOT)[2]) if going_on and going_on.count(_SLOT) == 3 else []
        special = closing[:1] if closing and closing[0] in self.tokenizer.all_special_ids else []
        eos = [] if self.tokenizer.eos_token_id is None else [self.tokenizer.eos_token_id]
        end = special or eos or self._ours("\n")
        after = between[len(end) :] if between[: len(end)] == end else between
        return self._ours(head), self._ours(tail), end, after or self._ours(head)

    def _render(self, messages: list[dict[str, str]], *, answer: bool = True) -> str | None:
        from jinja2.exceptions import TemplateError

        try:
            text: str = self.tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=answer, enable_thinking=False
            )
        except TemplateError:  # templates raise on roles they do not know
            return None
        return text


def _marks_word_starts(tokenizer: Any) -> bool:
    """Whether a word's first token carries the blank before it already (SentencePiece), so that none need be written."""
    return str(tokenizer.convert_ids_to_tokens(tokenizer("x", add_special_tokens=False).input_ids)[0]).startswith("▁")
