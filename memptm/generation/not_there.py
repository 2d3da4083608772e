"""The not-there phrase: how likely a model finds it, and that it is never shown as an answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from memptm.generation.decoding import Ids
from memptm.generation.prompt import NOT_THERE


class Steps(Protocol):
    """A model that goes on token by token from where it stands: a LanguageModel, or a Stream."""

    def extend(self, state: Any, tokens: Tensor) -> tuple[Any, Tensor]: ...


def phrase_log_p(model: Steps, state: Any, log_p: Tensor, phrase: Ids) -> Tensor:
    """(b,) log p of a phrase after ``state``, which must not be used again; (b, v) log_p of what follows it."""
    ids = torch.tensor(phrase, device=log_p.device)
    first = log_p[:, ids[0]]
    if len(ids) == 1:
        return first
    rows = len(log_p)
    _, after = model.extend(state, ids[None, :-1].expand(rows, -1))
    return first + after.gather(2, ids[None, 1:, None].expand(rows, -1, 1)).sum(dim=(1, 2))


def with_odds(log_null: Tensor, log_odds: Tensor) -> Tensor:
    """p(null) from its log and another judge's log odds, which are added as if the two were independent."""
    log_null = log_null.clamp(max=-1e-7)
    return torch.sigmoid(log_null - torch.log(-torch.expm1(log_null)) + log_odds)


def without_null(log_p: Tensor, first: int, null: Tensor) -> Tensor:
    """The first token's log p, less the not-there phrase's share of it: the choice once that phrase is ruled out."""
    left = (log_p[:, first].exp() - null.exp()).clamp(min=0).log()
    return log_p.index_copy(1, torch.tensor([first], device=log_p.device), left[:, None])


def tell_new(stream: Callable[[str], None], text: str, streamed: str, *, complete: bool) -> str:
    """Stream what is new of ``text``; what may yet become another letter or the not-there phrase waits."""
    if says_nothing(text) or (not complete and (NOT_THERE.startswith(text.casefold()) or text.endswith("�"))):
        return streamed
    if text.startswith(streamed) and len(text) > len(streamed):
        stream(text[len(streamed) :])
        return text
    return streamed


def says_nothing(text: str) -> bool:
    """Whether a text is empty or the not-there phrase."""
    return text.casefold().strip(" .!\"'") in ("", NOT_THERE)
