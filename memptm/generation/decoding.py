"""Next-token probabilities of causal and encoder–decoder models in batches, where a row never depends on its neighbours."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicLayer

from memptm.errors import InputError

Ids = list[int]
SCORED_ROWS = 16  # answers × prompts in a forward pass


@dataclass(frozen=True, kw_only=True)
class DecodingState:
    """Where a batch of texts stands. b row, t token so far, v vocabulary.

    Attributes:
        log_p: (b, v) float32, log p of each next token.
        mask: (b, t) bool, False on padding; of the prompt for an encoder–decoder.
        positions: (b,), of the next token.
        prompt: columns of the mask that the prompt took.
        cache: the model's keys and values.
        encoded: the encoder's output, None for a causal model.
    """

    log_p: Tensor
    mask: Tensor
    positions: Tensor
    prompt: int
    cache: Any
    encoded: Any = None

    def copy(self) -> DecodingState:
        """One that can go another way: models write into their cache."""
        return replace(self, cache=copy.deepcopy(self.cache))

    def select(self, rows: Tensor, *, alike: bool = False) -> DecodingState:
        """The state of these rows (repeated, left out, in any order); the old one must not be used again.

        Args:
            alike: each row takes the place of one with the same prompt, so that only what was written after it moves.
        """
        if alike and torch.equal(rows, torch.arange(len(self.log_p), device=rows.device)):
            return self
        encoded = self.encoded
        if alike:
            self._reorder_written(rows)
        else:
            self.cache.reorder_cache(rows)
            if encoded is not None:
                encoded = type(encoded)(last_hidden_state=encoded.last_hidden_state[rows])
        return replace(
            self, log_p=self.log_p[rows], mask=self.mask[rows], positions=self.positions[rows], encoded=encoded
        )

    def _reorder_written(self, rows: Tensor) -> None:
        """Move the cache's columns after the prompt; an encoder–decoder's prompt has a cache of its own, which stays."""
        if self.encoded is not None:
            self.cache.self_attention_cache.reorder_cache(rows)
            return
        for layer in self.cache.layers:
            if not isinstance(layer, DynamicLayer) or layer.keys.shape[-2] != self.mask.shape[1]:
                layer.reorder_cache(rows)  # a sliding window, say, where columns are not those of the mask
                continue
            for states in (layer.keys, layer.values):
                written = states[..., self.prompt :, :]
                written.copy_(written.index_select(0, rows))


class LanguageModel:
    """A transformers model behind three calls: start on prompts, go on by tokens, score whole answers.

    Attributes:
        pad: any id; padding is masked.
        multiple: widths are padded to it, for oneDNN keeps a kernel for each shape.
        window: tokens that the model was made for; None if it does not say.
        ends: ids that end a text.
        mix: makes log p of hidden states and the model's log p (knn.py), if set.
    """

    def __init__(self, model: Any, *, pad: int, multiple: int = 16) -> None:
        self.model = model.eval()
        self.pad = pad
        self.multiple = multiple
        self.encoder_decoder = bool(model.config.is_encoder_decoder)
        self.device = next(model.parameters()).device
        self._takes = frozenset(inspect.signature(model.forward).parameters)
        self.mix: Callable[[Tensor, Tensor], Tensor] | None = None
        config = model.config.get_text_config()
        sizes = (getattr(config, name, None) for name in ("max_position_embeddings", "n_positions"))
        self.window: int | None = next((int(size) for size in sizes if size), None)
        ends = model.generation_config.eos_token_id
        self.ends: Sequence[int] = ends if isinstance(ends, list) else [] if ends is None else [ends]
        self._cache_name = "cache" if "cache" in self._takes else "past_key_values"  # renamed in transformers 5.2x

    @torch.inference_mode()
    def start(self, prompts: Sequence[Ids]) -> DecodingState:
        """The state after the prompts, (b, v) log p of what follows each."""
        ids, mask = self._left(prompts)
        positions = mask.sum(dim=1)
        if not self.encoder_decoder:
            return self._causal(ids, mask, keep=1, cache=None, prompt=mask.shape[1])[0]
        encoded = self.model.get_encoder()(input_ids=ids, attention_mask=mask.long(), return_dict=True)
        first = torch.full((len(prompts), 1), self._decoder_start(), device=self.device)
        empty = torch.empty(0)
        state = DecodingState(
            log_p=empty, mask=mask, positions=positions * 0, prompt=mask.shape[1], cache=None, encoded=encoded
        )
        return self._decoder(state, first)[0]

    @torch.inference_mode()
    def extend(self, state: DecodingState, tokens: Tensor) -> tuple[DecodingState, Tensor]:
        """Go on by ``tokens`` (b, n): the new state, and (b, n, v) log p after each of them.

        The old state must not be used again, but for its copies.
        """
        if self.encoder_decoder:
            return self._decoder(state, tokens)
        mask = torch.cat([state.mask, state.mask.new_ones(tokens.shape)], dim=1)
        return self._causal(tokens, mask, keep=tokens.shape[1], cache=state.cache, prompt=state.prompt)

    def score(self, prompts: Sequence[Ids], answers: Sequence[Ids]) -> Tensor:
        """(b,) float32: log p(answer | prompt), natural log, summed over the answer's tokens; gradients flow."""
        return self.token_scores(prompts, answers).sum(dim=1)

    def token_scores(self, prompts: Sequence[Ids], answers: Sequence[Ids]) -> Tensor:
        """(b, longest) float32: log p of each token of the answer given the prompt and those before, 0 after its end."""
        longest = max(map(len, answers))
        if self.encoder_decoder:
            ids, mask = self._left(prompts)
            padded = torch.tensor([[*a, *[self.pad] * (longest - len(a))] for a in answers], device=self.device)
            first = padded.new_full((len(answers), 1), self._decoder_start())
            output = self.model(
                input_ids=ids,
                attention_mask=mask.long(),
                decoder_input_ids=torch.cat([first, padded[:, :-1]], dim=1),
                use_cache=False,
            )
            log_p = output.logits.float().log_softmax(dim=-1)
            scored_tokens: Tensor = log_p.gather(2, padded[:, :, None])[:, :, 0]
            return scored_tokens.masked_fill(~within(answers, self.device), 0.0)
        # Left padding lets all answers end in the same column: the last ``longest`` logits hold every answer.
        ids, mask = self._left([[*p, *a] for p, a in zip(prompts, answers, strict=True)])
        log_p = self._log_p(self._run(ids, mask, keep=longest + 1, use_cache=False), keep=longest + 1)[:, :-1]
        taken = log_p.gather(2, ids[:, -longest:, None])[:, :, 0]
        # Each answer to the left edge: row r's token n stands in column longest − len(r) + n.
        lengths = torch.tensor([len(a) for a in answers], device=self.device)
        columns = (longest - lengths[:, None] + torch.arange(longest, device=self.device)).clamp(max=longest - 1)
        scores: Tensor = taken.gather(1, columns).masked_fill(~within(answers, self.device), 0.0)
        return scores

    @torch.inference_mode()
    def scores_after(self, state: DecodingState, rows: Tensor, answers: Sequence[Ids]) -> Tensor:
        """(answers, k, t) log p of each answer's tokens after each of the prompts ``rows`` (k) of ``state``, which stays
        as it is; 0 past an answer's end. The prompts are not read again.
        """
        documents, widest = len(rows), max(map(len, answers))
        at_once = max(1, SCORED_ROWS // documents)
        table = []
        for start in range(0, len(answers), at_once):
            some = answers[start : start + at_once]
            longest = max(map(len, some))
            padded = torch.tensor([[*ids, *[ids[-1]] * (longest - len(ids))] for ids in some], device=rows.device)
            tokens = padded.repeat_interleave(documents, dim=0)
            begun = state.copy().select(rows.repeat(len(some)))
            log_p = begun.log_p[:, None]
            if longest > 1:
                _, after = self.extend(begun, tokens[:, :-1])
                log_p = torch.cat([log_p, after], dim=1)
            taken = log_p.gather(2, tokens[..., None])[..., 0]
            answer_mask = within(some, rows.device).repeat_interleave(documents, dim=0)
            scored = taken.masked_fill(~answer_mask, 0.0).view(len(some), documents, longest)
            table.append(torch.nn.functional.pad(scored, (0, widest - longest)))
        return torch.cat(table)

    def states(self, rows: Sequence[Ids]) -> tuple[Tensor, Tensor]:
        """The last hidden states (b, longest, width) and log p of what follows (b, longest, v); rows end at the right.

        Raises:
            InputError: an encoder–decoder, which has no such states.
        """
        if self.encoder_decoder:
            raise InputError("A datastore of tokens needs a causal model; this one is an encoder–decoder.")
        ids, mask = self._left(rows)
        longest = max(map(len, rows))
        output = self._run(ids, mask, keep=longest, use_cache=False, output_hidden_states=True)
        return output.hidden_states[-1][:, -longest:], output.logits[:, -longest:].float().log_softmax(dim=-1)

    def _left(self, rows: Sequence[Ids]) -> tuple[Tensor, Tensor]:
        width = -(-max(map(len, rows)) // self.multiple) * self.multiple
        ids = torch.tensor([[*[self.pad] * (width - len(row)), *row] for row in rows], device=self.device)
        lengths = torch.tensor([len(row) for row in rows], device=self.device)
        mask = torch.arange(width, device=self.device)[None] >= width - lengths[:, None]
        return ids, mask

    def _causal(self, ids: Tensor, mask: Tensor, *, keep: int, cache: Any, prompt: int) -> tuple[DecodingState, Tensor]:
        """Run ``ids``, the last columns of what ``mask`` covers; log p for the last ``keep`` of them."""
        output = self._run(ids, mask, keep=keep, use_cache=True, **{self._cache_name: cache})
        log_p = self._log_p(output, keep=keep)
        state = DecodingState(
            log_p=log_p[:, -1],
            mask=mask,
            positions=mask.sum(dim=1),
            prompt=prompt,
            cache=output[self._cache_name],
        )
        return state, log_p

    def _run(self, ids: Tensor, mask: Tensor, *, keep: int, **more: Any) -> Any:
        positions = (mask.long().cumsum(dim=1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        optional = {"position_ids": positions, "logits_to_keep": keep}
        known = {name: value for name, value in optional.items() if name in self._takes} | more
        if self.mix is not None:
            known["output_hidden_states"] = True
        return self.model(input_ids=ids, attention_mask=mask.long(), **known)

    def _log_p(self, output: Any, *, keep: int) -> Tensor:
        log_p: Tensor = output.logits[:, -keep:].float().log_softmax(dim=-1)
        return log_p if self.mix is None else self.mix(output.hidden_states[-1][:, -keep:], log_p)

    def _decoder(self, state: DecodingState, tokens: Tensor) -> tuple[DecodingState, Tensor]:
        output = self.model(
            encoder_outputs=state.encoded,
            attention_mask=state.mask.long(),
            decoder_input_ids=tokens,
            use_cache=True,
            **{self._cache_name: state.cache},
        )
        log_p = output.logits.float().log_softmax(dim=-1)
        new = replace(
            state,
            log_p=log_p[:, -1],
            positions=state.positions + tokens.shape[1],
            cache=output[self._cache_name],
        )
        return new, log_p

    def _decoder_start(self) -> int:
        config = self.model.config
        start = getattr(self.model.generation_config, "decoder_start_token_id", None)
        start = getattr(config, "decoder_start_token_id", None) if start is None else start
        return int(config.bos_token_id if start is None else start)


def within(answers: Sequence[Ids], device: torch.device) -> Tensor:
    """(b, longest) booleans: False past an answer's end."""
    lengths = torch.tensor([len(ids) for ids in answers], device=device)
    return torch.arange(int(lengths.max()), device=device) < lengths[:, None]
