"""The generator: any causal or encoder–decoder model answers from passages, briefly, or says that they do not tell."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import exp
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from memptm.generation.decoding import Ids, LanguageModel, State
from memptm.generation.load import load
from memptm.generation.prompt import ANSWER_TOKENS, NOT_THERE, Prompt, PromptWriter
from memptm.progress import Progress, silent
from memptm.types import Json, Passage

DEFAULT = "HuggingFaceTB/SmolLM2-135M-Instruct"
ADAPTER = Path(__file__).parent.parent / "weights" / "generator"
WINDOW = 2048  # tokens read at most, where the model could read more
BATCH_TOKENS = 2048  # prompt tokens a forward pass


@dataclass(frozen=True, kw_only=True)
class Generation:
    """What the generator says.

    Attributes:
        text: None where the passages do not hold the answer.
        probability: p(y | x, z) of ``text`` and its end under the model, in (0, 1]: the product over its tokens, not
            normalised by length. Where ``text`` is None, ``null_probability``.
        null_probability: p of the not-there phrase under the model, or, with ``null_log_odds``, of both (see ``generate``).
        read: the passages that entered the window, in order; the last may be shortened, and says so in its text and end.
        tokens: generated.
    """

    text: str | None
    probability: float
    null_probability: float
    read: tuple[Passage, ...]
    tokens: int

    def to_json(self) -> Json:
        return {
            "text": self.text,
            "probability": self.probability,
            "null_probability": self.null_probability,
            "read": [passage.id for passage in self.read],
            "tokens": self.tokens,
        }


class Generator:
    """Answers questions from passages.

    Attributes:
        null_threshold: from this p of the not-there phrase on, the answer is None. Lower says None more often.
    """

    def __init__(self, model: Any, tokenizer: Any, *, name: str = "", null_threshold: float = 0.5) -> None:
        pad = next((i for i in (tokenizer.pad_token_id, tokenizer.eos_token_id) if i is not None), 0)
        self.name = name
        self.null_threshold = null_threshold
        self.tokenizer = tokenizer
        self.language_model = LanguageModel(model, pad=pad)
        self.writer = PromptWriter(
            tokenizer, window=_window(model, tokenizer), encoder_decoder=self.language_model.encoder_decoder
        )
        self.null_ids = self.writer.answer_ids(NOT_THERE)
        self.stops = torch.tensor(sorted(_stops(model, tokenizer, self.writer)), device=self.language_model.device)

    @classmethod
    def load(cls, name: str | None = None, *, progress: Progress = silent) -> Generator:
        """The generator called ``name``: a model's name or folder, a .gguf file, or a folder with a LoRA adapter.

        None is the default, SmolLM2-135M-Instruct with the shipped adapter.

        Raises:
            ModelMissing: nothing can be loaded under that name.
        """
        given = name or (str(ADAPTER) if (ADAPTER / "adapter_config.json").is_file() else DEFAULT)
        model, tokenizer = load(given, progress=progress)
        return cls(model, tokenizer, name=name or DEFAULT)

    def after(self, said: Sequence[tuple[str, str]]) -> Generator:
        """The same generator in a conversation, after these questions and answers: they are the chat's history.

        All that it writes or scores then goes on from them. A decoder's own recurrent state of a session belongs here too.
        """
        following = copy.copy(self)
        following.writer = self.writer.after(said)
        return following

    def generate(
        self,
        question: str,
        passages: Sequence[Passage],
        *,
        null_log_odds: float = 0.0,
        stream: Callable[[str], None] | None = None,
    ) -> Generation:
        """Answer from ``passages`` (likeliest first), greedily.

        Args:
            null_log_odds: log odds, by another judge, that the passages do not answer; added to the model's own.
            stream: called with each new piece of the answer's text, never with the not-there phrase.
        Raises:
            InputError: the question does not fit the model's window.
        """
        return self._answer([self.writer.write(question, passages)], [null_log_odds], stream=stream)[0]

    def generate_batch(
        self,
        questions: Sequence[str],
        passages: Sequence[Sequence[Passage]],
        *,
        null_log_odds: Sequence[float] | None = None,
    ) -> list[Generation]:
        """One answer a question, as ``generate`` gives it alone."""
        prompts = [self.writer.write(q, z) for q, z in zip(questions, passages, strict=True)]
        odds = null_log_odds or [0.0] * len(prompts)
        done: dict[int, Generation] = {}
        for rows in _batches([len(prompt.ids) for prompt in prompts]):
            made = self._answer([prompts[row] for row in rows], [odds[row] for row in rows])
            done.update(zip(rows, made, strict=True))
        return [done[row] for row in range(len(prompts))]

    def log_likelihood(self, question: str, passages: Sequence[Passage], answer: str) -> float:
        """Natural log of p(y | x, z), summed over the answer's tokens and its end, all ``passages`` in one prompt."""
        return self.log_likelihoods([question], [passages], [answer])[0]

    @torch.inference_mode()
    def log_likelihoods(
        self, questions: Sequence[str], passages: Sequence[Sequence[Passage]], answers: Sequence[str | None]
    ) -> list[float]:
        """``log_likelihood`` of many rows, in batches; an answer of None is the not-there phrase.

        For p(y | x, z) under each passage apart: one row a passage.
        """
        prompts = [self.writer.write(q, z).ids for q, z in zip(questions, passages, strict=True)]
        targets = [self.writer.answer_ids(NOT_THERE if answer is None else answer) for answer in answers]
        found: dict[int, float] = {}
        for rows in _batches([len(p) + len(a) for p, a in zip(prompts, targets, strict=True)]):
            scores = self.language_model.score([prompts[row] for row in rows], [targets[row] for row in rows])
            found.update(zip(rows, scores.tolist(), strict=True))
        return [found[row] for row in range(len(prompts))]

    @torch.inference_mode()
    def _answer(
        self,
        prompts: Sequence[Prompt],
        null_log_odds: Sequence[float],
        *,
        stream: Callable[[str], None] | None = None,
    ) -> list[Generation]:
        state = self.language_model.start([prompt.ids for prompt in prompts])
        null = self.null_log_p(state)
        both = with_odds(null, torch.tensor(null_log_odds, device=null.device))
        silent_rows = both >= self.null_threshold
        texts, log_p, tokens = self._greedy(state, null, done=silent_rows.clone(), stream=stream)
        found = []
        for row, prompt in enumerate(prompts):
            nothing = bool(silent_rows[row]) or says_nothing(texts[row])
            found.append(
                Generation(
                    text=None if nothing else texts[row],
                    probability=float(both[row]) if nothing else exp(float(log_p[row])),
                    null_probability=float(both[row]),
                    read=prompt.read,
                    tokens=tokens[row],
                )
            )
        return found

    def null_log_p(self, state: State) -> Tensor:
        """(b,) log p of the not-there phrase; ``state`` stays as it is."""
        rows = len(state.log_p)
        phrase = torch.tensor(self.null_ids, device=state.log_p.device)
        first = state.log_p[:, phrase[0]]
        if len(phrase) == 1:
            return first
        _, after = self.language_model.extend(state.copy(), phrase[None, :-1].expand(rows, -1))
        return first + after.gather(2, phrase[None, 1:, None].expand(rows, -1, 1)).sum(dim=(1, 2))

    def _greedy(
        self, state: State, null: Tensor, *, done: Tensor, stream: Callable[[str], None] | None
    ) -> tuple[list[str], Tensor, list[int]]:
        """Texts, their log p, and how many tokens each took; rows in ``done`` stay empty."""
        rows = len(done)
        total = torch.zeros(rows, device=done.device)
        written: list[Ids] = [[] for _ in range(rows)]
        texts, told = [""] * rows, ""
        for n in range(ANSWER_TOKENS):
            choice = without_null(state.log_p, self.null_ids[0], null) if n == 0 else state.log_p
            token = choice.argmax(dim=-1)
            total += state.log_p.gather(1, token[:, None])[:, 0].masked_fill(done, 0.0)
            stopped = torch.isin(token, self.stops)
            for row in (~done).nonzero()[:, 0].tolist():
                written[row].append(int(token[row]))
                texts[row], ended = self.line_of(written[row], complete=bool(stopped[row]))
                stopped[row] |= ended
            done = done | stopped
            if stream is not None:
                told = tell_new(stream, texts[0], told, complete=bool(done[0]))
            if bool(done.all()):
                break
            state, _ = self.language_model.extend(state, token[:, None])
        if stream is not None:
            tell_new(stream, texts[0], told, complete=True)
        return texts, total, [len(ids) for ids in written]

    def line_of(self, ids: Ids, *, complete: bool) -> tuple[str, bool]:
        """The answer's text so far, and whether its line has ended."""
        text = self.tokenizer.decode(ids[:-1] if complete else ids, skip_special_tokens=True).lstrip()
        line, newline, _ = text.partition("\n")
        return line.strip(), bool(newline)


def with_odds(log_null: Tensor, log_odds: Tensor) -> Tensor:
    """p(null) from its log and another judge's log odds, which are added as those of two independent witnesses."""
    log_null = log_null.clamp(max=-1e-7)
    return torch.sigmoid(log_null - torch.log(-torch.expm1(log_null)) + log_odds)


def without_null(log_p: Tensor, first: int, null: Tensor) -> Tensor:
    """The first token's log p, less the not-there phrase's share of it: the choice once that phrase is ruled out."""
    left = (log_p[:, first].exp() - null.exp()).clamp(min=0).log()
    return log_p.index_copy(1, torch.tensor([first], device=log_p.device), left[:, None])


def tell_new(stream: Callable[[str], None], text: str, told: str, *, complete: bool) -> str:
    """Stream what is new of ``text``; what may yet become another letter or the not-there phrase waits."""
    if says_nothing(text) or (not complete and (NOT_THERE.startswith(text.casefold()) or text.endswith("�"))):
        return told
    if text.startswith(told) and len(text) > len(told):
        stream(text[len(told) :])
        return text
    return told


def says_nothing(text: str) -> bool:
    """Whether a text is empty or the not-there phrase."""
    return text.casefold().strip(" .!\"'") in ("", NOT_THERE)


def _window(model: Any, tokenizer: Any) -> int:
    config = model.config.get_text_config()
    sizes = [getattr(config, name, None) for name in ("max_position_embeddings", "n_positions")]
    sizes.append(tokenizer.model_max_length)  # a huge number where unknown
    return min([WINDOW, *(int(size) for size in sizes if size)])


def _stops(model: Any, tokenizer: Any, writer: PromptWriter) -> set[int]:
    """Tokens that end an answer: the model's, the tokenizer's, and what its template closes a turn with."""
    stops: set[int] = set()
    for given in (model.generation_config.eos_token_id, tokenizer.eos_token_id):
        stops.update(given if isinstance(given, list) else [] if given is None else [given])
    return stops | ({*writer.end[:1]} & {*tokenizer.all_special_ids})


def _batches(lengths: Sequence[int]) -> list[list[int]]:
    """Rows by length, together at most ``BATCH_TOKENS`` with padding."""
    batches: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batches and lengths[row] * (len(batches[-1]) + 1) <= BATCH_TOKENS:
            batches[-1].append(row)
        else:
            batches.append([row])
    return batches
