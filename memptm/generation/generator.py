"""The generator: any causal or encoder–decoder model answers from passages, briefly, or says that they do not tell."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import exp
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor

from memptm.errors import InputError
from memptm.generation.decoding import DecodingState, Ids, LanguageModel
from memptm.generation.llamacpp import LlamaCpp
from memptm.generation.load import load, load_gguf
from memptm.generation.not_there import Steps, phrase_log_p, says_nothing, tell_new, with_odds, without_null
from memptm.generation.prompt import ANSWER_TOKENS, NOT_THERE, Prompt, PromptWriter
from memptm.generation.stream import ReadState, Stream, can_stream
from memptm.model_files import read_settings
from memptm.progress import Progress, silent
from memptm.types import Json, Passage
from memptm.working.state_files import fingerprint

DEFAULT = "HuggingFaceTB/SmolLM2-135M-Instruct"
MARGINAL = "rag.json"  # beside an adapter that train rag made
MARGINAL_REMEDY = "Remove it, or train the generator again."
ADAPTER = Path(__file__).parent.parent / "weights" / "generator"
WINDOW = 2048  # tokens read at most, where the model could read more
BATCH_TOKENS = 2048  # prompt tokens a forward pass
Backend = Literal["torch", "llama.cpp"]


@dataclass(frozen=True, kw_only=True)
class Generation:
    """What the generator says.

    Attributes:
        text: None where the passages do not hold the answer.
        probability: p(y | x, z) of ``text`` and its end under the model, in (0, 1]: the product over its tokens, not
            normalised by length. Where ``text`` is None, ``null_probability``.
        null_probability: p of the not-there phrase under the model, or, with ``null_log_odds``, of both (see
            ``generate``).
        read: the passages that entered the window, in order; the last may be shortened, and says so in its text and
            end.
        tokens: generated.
        state: after question and answer, to go on from, if that was asked for.
    """

    text: str | None
    probability: float
    null_probability: float
    read: tuple[Passage, ...]
    tokens: int
    state: ReadState | None = field(default=None, compare=False, repr=False)

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
        marginal: the method of RAG that it was trained for, "rag-sequence" or "rag-token"; "" for none.
        streams: prompts longer than the window are read in segments, whole; False: passages are left out until they
            fit.
    """

    def __init__(self, model: Any, tokenizer: Any, *, name: str = "", null_threshold: float = 0.5) -> None:
        pad = next((i for i in (tokenizer.pad_token_id, tokenizer.eos_token_id) if i is not None), 0)
        self.name = name
        self.null_threshold = null_threshold
        self.marginal = ""
        self.tokenizer = tokenizer
        # LlamaCpp has the calls of a LanguageModel, as far as they need neither weights nor hidden states.
        self.language_model = (
            cast("LanguageModel", model) if isinstance(model, LlamaCpp) else LanguageModel(model, pad=pad)
        )
        self.writer = PromptWriter(
            tokenizer,
            window=_window(self.language_model, tokenizer),
            encoder_decoder=self.language_model.encoder_decoder,
        )
        self.streams = isinstance(self.language_model, LanguageModel) and can_stream(self.language_model)
        self.null_ids = self.writer.answer_ids(NOT_THERE)
        self.stops = torch.tensor(
            sorted(_stops(self.language_model, tokenizer, self.writer)), device=self.language_model.device
        )

    @classmethod
    def load(cls, name: str | None = None, *, backend: Backend = "torch", progress: Progress = silent) -> Generator:
        """The generator called ``name``: a model's name or folder, a .gguf file, or a folder with a LoRA adapter.

        None is the default, SmolLM2-135M-Instruct with the shipped adapter.

        Args:
            backend: "llama.cpp" computes with llama.cpp, on a GGUF file alone, and without an adapter (the default's,
                too).
        Raises:
            ModelMissing: nothing can be loaded under that name.
            ExtraMissing: llama.cpp is not installed.
        """
        if backend == "llama.cpp":
            model, tokenizer = load_gguf(name or DEFAULT)
            return cls(model, tokenizer, name=name or DEFAULT)
        given = name or (str(ADAPTER) if (ADAPTER / "adapter_config.json").is_file() else DEFAULT)
        model, tokenizer = load(given, progress=progress)
        made = cls(model, tokenizer, name=name or DEFAULT)
        made.marginal = trained_marginal(Path(given).expanduser())
        return made

    def after(self, history: Sequence[tuple[str, str]]) -> Generator:
        """The same generator in a conversation, after these questions and answers: they are the chat's history.

        All that it writes or scores then goes on from them. A decoder's own recurrent state of a session belongs here too.
        """
        following = copy.copy(self)
        following.writer = self.writer.after(history)
        return following

    def generate(
        self,
        question: str,
        passages: Sequence[Passage],
        *,
        null_log_odds: float = 0.0,
        stream: Callable[[str], None] | None = None,
        state: ReadState | None = None,
        keep: bool = False,
    ) -> Generation:
        """Answer from ``passages`` (likeliest first), greedily.

        Args:
            null_log_odds: log odds, by another judge, that the passages do not answer; added to the model's own.
            stream: called with each new piece of the answer's text, never with the not-there phrase.
            state: go on from what was read and said before.
            keep: give the state after question and answer.
        Raises:
            InputError: the question does not fit the model's window, the state is of another model, or the model reads
                no streams.
        """
        opening = None if state is None else self._opening(state)
        prompt = self.writer.write(question, passages, whole=self.streams, opening=opening)
        if state is None and not keep and self._fits(prompt):
            return self._answer([prompt], [null_log_odds], stream=stream)[0]
        return self._answer_on(prompt, null_log_odds, stream, state, keep)

    @torch.inference_mode()
    def read(self, text: str, state: ReadState | None = None) -> ReadState:
        """Read a text of any length, as the user's, after what was read and said before; ``generate`` answers from it.

        Raises:
            InputError: the text is empty, the state is of another model, or the model reads no streams.
        """
        ids = self.writer.text_ids(text)
        if not ids:
            raise InputError("There is nothing to read. Give a text.")
        opening = self.writer.head if state is None else self._opening(state)
        stream = self._stream(len(self.writer.head))
        decoder = stream.read([*opening, *ids], None if state is None else state.decoder)
        return ReadState(decoder, open=True, model=self._fingerprint)

    def generate_batch(
        self,
        questions: Sequence[str],
        passages: Sequence[Sequence[Passage]],
        *,
        null_log_odds: Sequence[float] | None = None,
    ) -> list[Generation]:
        """One answer a question, as ``generate`` gives it alone."""
        prompts = [self.writer.write(q, z, whole=self.streams) for q, z in zip(questions, passages, strict=True)]
        odds = null_log_odds or [0.0] * len(prompts)
        done: dict[int, Generation] = {}
        short = [row for row, prompt in enumerate(prompts) if self._fits(prompt)]
        for rows in _batches([len(prompts[row].ids) for row in short], short):
            made = self._answer([prompts[row] for row in rows], [odds[row] for row in rows])
            done.update(zip(rows, made, strict=True))
        for row in set(range(len(prompts))) - set(short):
            done[row] = self._answer_on(prompts[row], odds[row])
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
        prompts = [self.writer.write(q, z, whole=self.streams) for q, z in zip(questions, passages, strict=True)]
        targets = [self.writer.answer_ids(NOT_THERE if answer is None else answer) for answer in answers]
        found: dict[int, float] = {}
        short = [row for row, prompt in enumerate(prompts) if self._fits(prompt)]
        for rows in _batches([len(prompts[row].ids) + len(targets[row]) for row in short], short):
            scores = self.language_model.score([prompts[row].ids for row in rows], [targets[row] for row in rows])
            found.update(zip(rows, scores.tolist(), strict=True))
        for row in set(range(len(prompts))) - set(short):
            stream = self._stream(prompts[row].front)
            place = stream.start(prompts[row].ids)
            found[row] = float(phrase_log_p(stream, place, place.log_p, targets[row]))
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
        return self._generations(self.language_model, state, state.log_p, prompts, null_log_odds, stream)

    @torch.inference_mode()
    def _answer_on(
        self,
        prompt: Prompt,
        null_log_odds: float,
        stream: Callable[[str], None] | None = None,
        state: ReadState | None = None,
        keep: bool = False,
    ) -> Generation:
        """``_answer`` for a prompt that is read in segments, after ``state``."""
        model = self._stream(prompt.front if state is None else len(self.writer.head))
        place = model.start(prompt.ids, None if state is None else state.decoder)
        asked = model.close(place) if keep else None
        (generation,) = self._generations(model, place, place.log_p, [prompt], [null_log_odds], stream)
        if asked is None:
            return generation
        answer = self.writer.answer_ids(NOT_THERE if generation.text is None else generation.text)
        return replace(generation, state=ReadState(model.read(answer, asked), open=False, model=self._fingerprint))

    def _generations(
        self,
        model: Steps,
        state: Any,
        log_p: Tensor,
        prompts: Sequence[Prompt],
        null_log_odds: Sequence[float],
        stream: Callable[[str], None] | None,
    ) -> list[Generation]:
        """What is answered from where ``model`` stands after the prompts, (b, v) log p of each next token."""
        null = phrase_log_p(model, state.copy(), log_p, self.null_ids)
        both = with_odds(null, torch.tensor(null_log_odds, device=null.device))
        silent_rows = both >= self.null_threshold
        texts, total, tokens = self._greedy(model, state, null, done=silent_rows.clone(), stream=stream)
        found = []
        for row, prompt in enumerate(prompts):
            nothing = bool(silent_rows[row]) or says_nothing(texts[row])
            found.append(
                Generation(
                    text=None if nothing else texts[row],
                    probability=float(both[row]) if nothing else exp(float(total[row])),
                    null_probability=float(both[row]),
                    read=prompt.read,
                    tokens=tokens[row],
                )
            )
        return found

    def null_log_p(self, state: DecodingState) -> Tensor:
        """(b,) log p of the not-there phrase; ``state`` stays as it is."""
        return phrase_log_p(self.language_model, state.copy(), state.log_p, self.null_ids)

    def _greedy(
        self, model: Steps, state: Any, null: Tensor, *, done: Tensor, stream: Callable[[str], None] | None
    ) -> tuple[list[str], Tensor, list[int]]:
        """Texts, their log p, and how many tokens each took; rows in ``done`` stay empty."""
        rows = len(done)
        total = torch.zeros(rows, device=done.device)
        written: list[Ids] = [[] for _ in range(rows)]
        texts, streamed = [""] * rows, ""
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
                streamed = tell_new(stream, texts[0], streamed, complete=bool(done[0]))
            if bool(done.all()):
                break
            state, _ = model.extend(state, token[:, None])
        if stream is not None:
            tell_new(stream, texts[0], streamed, complete=True)
        return texts, total, [len(ids) for ids in written]

    def _fits(self, prompt: Prompt) -> bool:
        """Whether a prompt and its answer fit the window, or must."""
        return not self.streams or len(prompt.ids) + ANSWER_TOKENS <= self.writer.window

    def _stream(self, sinks: int) -> Stream:
        if not isinstance(self.language_model, LanguageModel):
            raise InputError("llama.cpp reads no streams here. Load the generator without it.")
        return Stream(self.language_model, window=self.writer.window, sinks=sinks)

    def _opening(self, state: ReadState) -> Ids:
        """What comes between what was read or said and the user's next text."""
        if state.model != self._fingerprint:
            raise InputError(f"The state is of another model than {self.name or 'this one'}. Begin anew without it.")
        return self.writer.gap if state.open else self.writer.between

    @cached_property
    def _fingerprint(self) -> str:
        return fingerprint(self.language_model.model)

    def line_of(self, ids: Ids, *, complete: bool) -> tuple[str, bool]:
        """The answer's text so far, and whether its line has ended."""
        text = self.tokenizer.decode(ids[:-1] if complete else ids, skip_special_tokens=True).lstrip()
        line, newline, _ = text.partition("\n")
        return line.strip(), bool(newline)

    def ends_line(self, ids: Ids) -> bool:
        """Whether the answer's line ends with the last of its ids."""
        return "\n" in self.tokenizer.decode(ids[-1:]) and self.line_of(ids, complete=False)[1]


def trained_marginal(folder: Path) -> str:
    """The marginal that the generator in ``folder`` was trained for, "rag-sequence" or "rag-token"; "" for none.

    Raises:
        ModelMissing: the file that says so is damaged.
    """
    path = folder / MARGINAL
    return str(read_settings(path, remedy=MARGINAL_REMEDY).get("marginal", "")) if path.is_file() else ""


def _window(model: LanguageModel, tokenizer: Any) -> int:
    sizes = [model.window, tokenizer.model_max_length]  # a huge number where unknown
    return min([WINDOW, *(int(size) for size in sizes if size)])


def _stops(model: LanguageModel, tokenizer: Any, writer: PromptWriter) -> set[int]:
    """Tokens that end an answer: the model's, the tokenizer's, and what its template closes a turn with."""
    own = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    return {*model.ends, *own} | ({*writer.end[:1]} & {*tokenizer.all_special_ids})


def _batches(lengths: Sequence[int], rows: Sequence[int]) -> list[list[int]]:
    """Rows by their lengths, together at most ``BATCH_TOKENS`` with padding."""
    batches: list[list[int]] = []
    for length, row in sorted(zip(lengths, rows, strict=True)):
        if batches and length * (len(batches[-1]) + 1) <= BATCH_TOKENS:
            batches[-1].append(row)
        else:
            batches.append([row])
    return batches
