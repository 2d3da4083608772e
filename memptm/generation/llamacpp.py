"""llama.cpp in place of torch: the same calls as LanguageModel's, on a GGUF file as it is, four bits a weight if it has four.

What was computed of a text stays in llama.cpp's cache, in one of its sequences, and is found again by its beginning. So a state
is no more than its text: it can be copied, branched and chosen from at no cost, and what is wanted twice is computed once.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from memptm.errors import ExtraMissing, InputError, ModelMissing
from memptm.generation.decoding import Ids, within
from memptm.model_files import reason

SEQUENCES = 64  # texts that the cache holds the beginnings of
CELLS = 8192  # tokens of all of them
BATCH = 512  # tokens computed at once
ROWS = 16  # texts at once
FULL = 1  # what llama_decode returns when the cache has no room


@dataclass(frozen=True, kw_only=True)
class TextState:
    """Where a batch of texts stands: ``texts`` as token ids, ``log_p`` (b, v) float32 of each next token."""

    log_p: Tensor
    texts: tuple[Ids, ...]

    def copy(self) -> TextState:
        """One that can go another way: any can."""
        return self

    def select(self, rows: Tensor, *, alike: bool = False) -> TextState:  # noqa: ARG002 (as DecodingState's)
        """The state of these rows, repeated, left out, in any order."""
        return replace(self, log_p=self.log_p[rows], texts=tuple(self.texts[row] for row in rows.tolist()))


class Sequences:
    """A model in llama.cpp, and its cache as texts.

    Raises:
        ExtraMissing: llama-cpp-python is not installed.
        ModelMissing: the file cannot be loaded.
    """

    def __init__(self, path: Path, *, cells: int = CELLS) -> None:
        self.cells = cells
        self._lib, _ = _library()
        lib = self._lib
        self._model = lib.llama_model_load_from_file(str(path).encode(), lib.llama_model_default_params())
        if not self._model:
            raise ModelMissing(f"{path} cannot be loaded by llama.cpp. Give a model in GGUF.")
        settings = lib.llama_context_default_params()
        settings.n_ctx, settings.n_batch, settings.n_seq_max, settings.kv_unified = cells, BATCH, SEQUENCES, True
        settings.n_threads = settings.n_threads_batch = torch.get_num_threads()
        self._context = lib.llama_init_from_model(self._model, settings)
        if not self._context:
            raise ModelMissing(f"llama.cpp cannot make a context of {cells} tokens for {path}.")
        self._memory = lib.llama_get_memory(self._context)
        self._batch = lib.llama_batch_init(BATCH, 0, 1)
        self._at_once = min(BATCH, int(lib.llama_n_batch(self._context)))  # fewer in a small cache
        self.words = int(lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(self._model)))
        self.window = int(lib.llama_model_n_ctx_train(self._model))
        self._held: dict[int, Ids] = {n: [] for n in range(SEQUENCES)}  # the least recently used first
        self.computed = 0  # tokens

    def __del__(self) -> None:
        if getattr(self, "_context", None):
            self._lib.llama_batch_free(self._batch)
            self._lib.llama_free(self._context)
            self._lib.llama_model_free(self._model)
            self._context = None

    def log_p(self, texts: Sequence[Ids], wanted: Sequence[int]) -> list[Tensor]:
        """For each text (wanted, v) float32: log p of what follows each of its last ``wanted`` tokens.

        Raises:
            InputError: a text that the cache has no room for.
        """
        found: list[Tensor] = []
        for start in range(0, len(texts), ROWS):
            some, counts = texts[start : start + ROWS], wanted[start : start + ROWS]
            try:
                logits = self._computed(some, counts)
            except _FullError:
                self._forget()
                try:
                    logits = self._computed(some, counts)
                except _FullError:
                    logits = [self._alone(text, count) for text, count in zip(some, counts, strict=True)]
            found += [torch.from_numpy(one).log_softmax(dim=-1) for one in logits]
        return found

    def _alone(self, text: Ids, wanted: int) -> np.ndarray[Any, Any]:
        """One text, with the whole cache to itself."""
        self._forget()
        try:
            return self._computed([text], [wanted])[0]
        except _FullError as error:
            self._forget()
            raise InputError(
                f"A text of {len(text)} tokens is more than the {self.cells} of llama.cpp's cache. Give a shorter text."
            ) from error

    def _computed(self, texts: Sequence[Ids], wanted: Sequence[int]) -> list[np.ndarray[Any, Any]]:
        todo: list[tuple[int, int, int, int, bool]] = []  # row, sequence, place, token, whether it is looked at
        used: dict[int, Ids] = {}
        for row, (text, count) in enumerate(zip(texts, wanted, strict=True)):
            sequence, known = self._sequence(text[: len(text) - count], used)
            used[sequence] = list(text)
            todo += [
                (row, sequence, place, text[place], place >= len(text) - count) for place in range(known, len(text))
            ]
        logits: list[list[np.ndarray[Any, Any]]] = [[] for _ in texts]
        for start in range(0, len(todo), self._at_once):
            part = todo[start : start + self._at_once]
            self._decode(part)
            for n, (row, *_, looked_at) in enumerate(part):
                if looked_at:
                    pointer = self._lib.llama_get_logits_ith(self._context, n)
                    logits[row].append(np.ctypeslib.as_array(pointer, (self.words,)).copy())
        self._held.update(used)
        return [np.stack(rows) for rows in logits]

    def _sequence(self, text: Ids, used: Collection[int]) -> tuple[int, int]:
        """A sequence to go on in, and how much of ``text`` it holds; nothing else is in it."""
        best = max(self._held, key=lambda n: _common(self._held[n], text))
        known = _common(self._held[best], text)
        held = self._held.pop(best)
        self._held[best] = held  # now the most recently used
        if best in used or known < len(held):  # it holds another text as well: that stays
            other = next(n for n in self._held if n not in used and n != best)
            self._lib.llama_memory_seq_rm(self._memory, other, -1, -1)
            if known:
                self._lib.llama_memory_seq_cp(self._memory, best, other, 0, known)
            del self._held[other]
            self._held[other] = held[:known]
            best = other
        return best, known

    def _decode(self, part: Sequence[tuple[int, int, int, int, bool]]) -> None:
        batch = self._batch
        batch.n_tokens = len(part)
        for n, (_, sequence, place, token, looked_at) in enumerate(part):
            batch.token[n], batch.pos[n] = token, place
            batch.n_seq_id[n], batch.seq_id[n][0] = 1, sequence
            batch.logits[n] = looked_at
        code = self._lib.llama_decode(self._context, batch)
        if code == FULL:
            raise _FullError
        if code:
            self._forget()
            raise RuntimeError(f"llama.cpp failed to read {len(part)} tokens (code {code}).")
        self.computed += len(part)

    def _forget(self) -> None:
        self._lib.llama_memory_clear(self._memory, True)
        self._held = {n: [] for n in range(SEQUENCES)}


class LlamaCpp:
    """A GGUF model behind the calls of LanguageModel; there are no gradients, and no hidden states."""

    encoder_decoder = False
    mix: Callable[[Tensor, Tensor], Tensor] | None = None

    def __init__(self, path: Path, *, ends: Sequence[int] = ()) -> None:
        self.sequences = Sequences(path)
        self.window, self.ends = self.sequences.window, tuple(ends)
        self.device = torch.device("cpu")

    @property
    def model(self) -> Any:
        """There is none to look into.

        Raises:
            InputError: always.
        """
        raise InputError("llama.cpp shows neither weights nor hidden states. Load the generator without it.")

    def start(self, prompts: Sequence[Ids]) -> TextState:
        """The state after the prompts."""
        log_p = self.sequences.log_p(prompts, [1] * len(prompts))
        return TextState(log_p=torch.cat(log_p), texts=tuple(map(list, prompts)))

    def extend(self, state: TextState, tokens: Tensor) -> tuple[TextState, Tensor]:
        """Go on by tokens (b, n): the new state, and (b, n, v) log p after each of them."""
        texts = tuple([*text, *more] for text, more in zip(state.texts, tokens.tolist(), strict=True))
        log_p = torch.stack(self.sequences.log_p(texts, [tokens.shape[1]] * len(texts)))
        return TextState(log_p=log_p[:, -1], texts=texts), log_p

    def score(self, prompts: Sequence[Ids], answers: Sequence[Ids]) -> Tensor:
        """(b,) log p(answer | prompt), summed over the answer's tokens."""
        return self.token_scores(prompts, answers).sum(dim=1)

    def token_scores(self, prompts: Sequence[Ids], answers: Sequence[Ids]) -> Tensor:
        """(b, longest): log p of each token of the answer given the prompt and those before, 0 after its end."""
        texts = [[*prompt, *answer[:-1]] for prompt, answer in zip(prompts, answers, strict=True)]
        log_p = self.sequences.log_p(texts, [len(answer) for answer in answers])
        table = torch.zeros(within(answers, self.device).shape)
        for row, (one, answer) in enumerate(zip(log_p, answers, strict=True)):
            table[row, : len(answer)] = one.gather(1, torch.tensor(answer)[:, None])[:, 0]
        return table

    def scores_after(self, state: TextState, rows: Tensor, answers: Sequence[Ids]) -> Tensor:
        """(answers, k, t) log p of each answer's tokens after each of the texts ``rows`` (k) of ``state``; 0 past its end."""
        texts = [state.texts[row] for row in rows.tolist()]
        pairs = [(text, answer) for answer in answers for text in texts]
        table = self.token_scores([text for text, _ in pairs], [answer for _, answer in pairs])
        return table.view(len(answers), len(texts), -1)

    def states(self, rows: Sequence[Ids]) -> tuple[Tensor, Tensor]:
        """Refused: see ``model``."""
        raise InputError(f"llama.cpp gives no hidden states of the {len(rows)} texts. Load the generator without it.")


def load_llamacpp(path: Path) -> tuple[LlamaCpp, Any]:
    """(model, tokenizer) of a GGUF file; the tokenizer is transformers', as in the torch backend.

    Raises:
        ExtraMissing: llama-cpp-python is not installed.
        ModelMissing: the file cannot be loaded.
    """
    from transformers import AutoTokenizer

    model = LlamaCpp(path)  # first, for it checks the whole file
    try:
        tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        raise ModelMissing(
            f"The tokenizer in {path} cannot be read ({reason(error)}). Give another model in GGUF."
        ) from error
    return model, tokenizer


class _FullError(Exception):
    """The cache has no room."""


def _common(held: Ids, text: Ids) -> int:
    """How many tokens two texts begin with alike."""
    low, high = 0, min(len(held), len(text))
    if held[:high] == text[:high]:
        return high
    while low < high - 1:  # the first low are alike, the first high are not
        middle = (low + high) // 2
        low, high = (middle, high) if held[low:middle] == text[low:middle] else (low, middle)
    return low


@cache
def _library() -> tuple[Any, Any]:
    """llama.cpp, told to be silent, and what tells it: that must live as long as the library, which calls it."""
    try:
        import llama_cpp
    except ImportError as error:
        raise ExtraMissing('llama.cpp is not installed. Get it with: pip install "memptm[llamacpp]"') from error
    silent = llama_cpp.llama_log_callback(lambda *_: None)
    llama_cpp.llama_log_set(silent, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    return llama_cpp, silent
