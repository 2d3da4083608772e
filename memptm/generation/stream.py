"""A generator's model on streams: prompts longer than its window, and talks that go on, read in segments with constant memory."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from memptm.errors import InputError
from memptm.generation.decoding import Ids, LanguageModel
from memptm.working.recurrence import FAMILY, DecoderState, RecurrentDecoder
from memptm.working.rotary_window import RotaryWindow
from memptm.working.state_files import read_tensors, write_tensors

SEGMENT = 256  # tokens read at once


@dataclass(frozen=True)
class ReadState:
    """What a generator was told so far, as far as it is kept. Immutable: to go on from it gives a new one.

    Attributes:
        decoder: the model's keys and values.
        open: text was read, and nothing asked about it yet.
        model: the fingerprint of the weights that made it.
    """

    decoder: DecoderState
    open: bool
    model: str

    def save(self, path: Path) -> None:
        """Write it, whole or not at all: about 46 kB a token kept for SmolLM2 in bfloat16, twice that in float32."""
        about = {"open": torch.tensor(self.open), "model": torch.tensor(list(self.model.encode()), dtype=torch.uint8)}
        write_tensors(path, self.decoder.tensors() | about)

    @classmethod
    def load(cls, path: Path) -> ReadState:
        """Read what ``save`` wrote.

        Raises:
            InputError: the file is missing or damaged.
        """
        found = read_tensors(path, "open", "model")
        model = bytes(found["model"].tolist()).decode("utf-8", "replace")
        return cls(DecoderState.load(path), bool(found["open"]), model)


@dataclass(frozen=True, kw_only=True)
class StreamPosition:
    """Where a stream stands while it is answered.

    Attributes:
        log_p: (1, v) float32, log p of each next token.
        window: what the model sees; going on changes it.
    """

    log_p: Tensor
    window: RotaryWindow

    def copy(self) -> StreamPosition:
        """One that can go another way."""
        return replace(self, window=self.window.copy())


class Stream:
    """A language model behind ``start`` and ``extend``, as LanguageModel has them, for one stream of any length.

    Args:
        window: tokens seen at once.
        sinks: the first tokens of a stream, which stay; at most half of what is kept.
    Raises:
        InputError: the model is not of the Llama family.
    """

    def __init__(self, language_model: LanguageModel, *, window: int, sinks: int) -> None:
        segment = min(SEGMENT, window // 4)
        memory = window - segment
        self.language_model = language_model
        self.decoder = RecurrentDecoder(
            language_model.model, memory=memory, sinks=min(sinks, memory // 2), segment=segment
        )

    @torch.inference_mode()
    def read(self, ids: Ids, state: DecoderState | None = None) -> DecoderState:
        """The state after ids."""
        return self._through(ids, state)[1]

    @torch.inference_mode()
    def start(self, ids: Ids, state: DecoderState | None = None) -> StreamPosition:
        """Where the stream stands after ids."""
        hidden, state = self._through(ids, state)
        window = self.decoder.open(state, room=self.decoder.segment)
        return StreamPosition(log_p=self._log_p(hidden[:, -1:])[:, -1], window=window)

    @torch.inference_mode()
    def extend(self, place: StreamPosition, tokens: Tensor) -> tuple[StreamPosition, Tensor]:
        """Go on by tokens (1, n): where it stands then, and (1, n, v) log p after each of them.

        The old place must not be used again, but for its copies.
        """
        window, found = place.window, []
        for part in torch.split(tokens, self.decoder.segment, dim=1):
            if window.room < part.shape[1]:
                window = self.decoder.open(self.decoder.close(window), room=self.decoder.segment)
            found.append(self._log_p(self.decoder.advance(window, part)))
        log_p = torch.cat(found, dim=1)
        return StreamPosition(log_p=log_p[:, -1], window=window), log_p

    def close(self, place: StreamPosition) -> DecoderState:
        """The state of what was read up to there."""
        return self.decoder.close(place.window)

    def _through(self, ids: Ids, state: DecoderState | None) -> tuple[Tensor, DecoderState]:
        """The last segment's hidden states, and the state after it."""
        if not ids:
            raise InputError("There is nothing to read. Give a text.")
        tokens = torch.tensor([ids], device=self.language_model.device)
        for hidden, after in self.decoder.segments(tokens, state):  # noqa: B007 (the last one is wanted)
            pass
        return hidden, after

    def _log_p(self, hidden: Tensor) -> Tensor:
        log_p = self.decoder.logits(hidden).float().log_softmax(dim=-1)
        mix = self.language_model.mix
        return log_p if mix is None else mix(hidden, log_p)


def can_stream(language_model: LanguageModel) -> bool:
    """Whether its model can be read with as a stream: one of the Llama family."""
    return language_model.model.config.model_type in FAMILY
