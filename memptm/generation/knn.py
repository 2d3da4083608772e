"""kNN-LM: a model's next-token distribution mixed with that of the nearest states of a datastore.

    p(y | x) = λ p_kNN(y | x) + (1 − λ) p_LM(y | x),    p_kNN ∝ Σ over neighbours of token y of exp(−d² / T)

Khandelwal et al. 2020 (arXiv 1911.00172). λ is a constant, or a gate for each token (as in He et al. 2021, arXiv
2109.04212, here of the nearest distance alone): λ = σ(bias + slope · d²), for a far neighbour knows little.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from memptm.encoders.base import Keys, embedding_text
from memptm.errors import InputError
from memptm.generation.decoding import Ids, LanguageModel
from memptm.generation.generator import Generator
from memptm.memory.memory import Memory
from memptm.memory.tokens import Tokens, TokenStore
from memptm.progress import Event, Progress, silent
from memptm.types import Json
from memptm.working.state_files import fingerprint

NEIGHBOURS = 64
TEMPERATURES = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)  # tried when a gate is fitted
TINY = 1e-30
BATCH = 2  # windows read at once: each has a probability for every word of the vocabulary
WINDOW = 512  # tokens of a text read at once; half of it is context from the second window on


@dataclass(frozen=True, kw_only=True)
class Gate:
    """λ of a token, from the squared distance (0 to 4) of its nearest neighbour; ``slope`` 0 is a constant λ.

    The defaults were fitted by scripts/benchmarks/knn.py.
    """

    bias: float = math.log(0.1 / 0.9)
    slope: float = 0.0
    temperature: float = 0.05

    def share(self, nearest: Tensor) -> Tensor:
        """λ, of the shape of ``nearest``; 0 where nothing was found."""
        return torch.sigmoid(self.bias + self.slope * nearest).masked_fill(nearest.isinf(), 0.0)


class Neighbours:
    """Mixes a datastore's distribution into a model's; see the module.

    Raises:
        InputError: the datastore was made with another model.
    """

    def __init__(
        self, store: TokenStore, generator: Generator, *, gate: Gate | None = None, k: int = NEIGHBOURS
    ) -> None:
        if store.about.fingerprint != fingerprint(generator.language_model.model):
            raise InputError(
                f"The datastore holds states of {store.about.model}, not of {generator.name} as it is. "
                "Make one of this model, with memptm tokens."
            )
        self.store, self.gate, self.k = store, gate or Gate(), k

    def found(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """(…, k) tokens and squared distances of the neighbours of (…, width) states."""
        flat = states.detach().float().reshape(-1, states.shape[-1]).cpu().numpy()
        tokens, distances = self.store.search(flat, k=self.k)
        shape = (*states.shape[:-1], self.k)
        return torch.from_numpy(tokens).to(states.device).view(shape), torch.from_numpy(distances).to(
            states.device
        ).view(shape)

    def mix(self, states: Tensor, log_p: Tensor) -> Tensor:
        """(…, v) natural log of the mixture, from (…, width) states and the model's (…, v) log p."""
        tokens, distances = self.found(states)
        weights = _weights(distances, self.gate.temperature)
        near = torch.zeros_like(log_p).scatter_add(-1, tokens.clamp(min=0), weights.to(log_p.dtype))
        share = self.gate.share(distances[..., 0])[..., None]
        return torch.logaddexp(log_p + torch.log1p(-share), near.log() + share.log())


def attach(generator: Generator, folder: Path, memory: Memory | None = None) -> str:
    """Let ``generator`` write with the datastore in ``folder`` from now on.

    Returns:
        What the user should know: that it is not of ``memory`` as it is now; "" if it is, or no memory is given.
    Raises:
        InputError: there is none, it is damaged, or it was made with another model.
    """
    store = TokenStore.load(folder)
    generator.language_model.mix = Neighbours(store, generator).mix
    if memory is None:
        return ""
    if store.about.index != memory.manifest.index:
        return f"{folder} holds tokens of another index than {memory.path}."
    if store.about.version != memory.info()["version"]:
        return f"{memory.path} has changed since {folder} was made of it. Make it again with: memptm tokens"
    return ""


def build_tokens(memory: Memory, generator: Generator, out: Path, *, progress: Progress = silent) -> Json:
    """Write a datastore of all passages of ``memory`` to ``out``: every token with the state before it.

    Returns:
        {"tokens", "passages", "model", "bytes"}.
    """
    TokenStore.check_place(out)
    texts = [generator.writer.text_ids(embedding_text(passage)) for passage in memory.passages()]
    pairs = (
        (states, followed) for states, followed, _ in read_states(generator.language_model, texts, progress=progress)
    )
    version = memory.info()["version"]
    store = TokenStore.build(
        pairs,
        model=generator.name,
        fingerprint=fingerprint(generator.language_model.model),
        index=memory.manifest.index,
        version=version,
    )
    store.save(out)
    size = sum(path.stat().st_size for path in out.iterdir())
    return {"tokens": len(store), "passages": len(texts), "model": generator.name, "bytes": size}


def _weights(distances: Tensor, temperature: float) -> Tensor:
    """softmax(−d² / T) over the neighbours found; 0 for the others."""
    return (-distances / temperature).softmax(dim=-1).nan_to_num(0.0)


def read_states(
    model: LanguageModel, texts: Sequence[Ids], *, progress: Progress = silent
) -> Iterator[tuple[Keys, Tokens, Keys]]:
    """For each stretch of each text: (states (n, width), the n tokens that follow, their log p under the model).

    Every token but the first of a text comes once; long texts are read in windows, half of each context.
    """
    windows = [window for ids in texts for window in _windows(ids)]
    for start in range(0, len(windows), BATCH):
        some = windows[start : start + BATCH]
        with torch.inference_mode():
            states, log_p = model.states([ids for ids, _ in some])
        for row, (ids, fresh) in enumerate(some):
            followed = torch.tensor(ids[1:], device=states.device)[-fresh:]
            log_p_followed = log_p[row, -fresh - 1 : -1].gather(1, followed[:, None])[:, 0]
            yield (
                states[row, -fresh - 1 : -1].float().cpu().numpy(),
                followed.cpu().numpy().astype(np.int32),
                log_p_followed.cpu().numpy(),
            )
        progress(Event(stage="read", done=min(start + BATCH, len(windows)), total=len(windows), unit="windows"))


def _windows(ids: Ids) -> Iterator[tuple[Ids, int]]:
    """(ids, how many at the end are new)."""
    if len(ids) < 2:
        return
    yield ids[:WINDOW], min(len(ids), WINDOW) - 1
    for end in range(WINDOW, len(ids), WINDOW // 2):
        window = ids[max(0, end - WINDOW // 2) : end + WINDOW // 2]
        yield window, min(len(ids) - end, WINDOW // 2)


@dataclass(frozen=True, kw_only=True)
class Surprise:
    """What each token of a text costs: natural log p under the model and under the neighbours, and how near they are.

    Attributes:
        model, nearest: (n,).
        distances: (n, k) squared.
        hits: (n, k), whether a neighbour's token is the one that came.
    """

    model: Tensor
    distances: Tensor
    hits: Tensor

    def log_p(self, gate: Gate) -> Tensor:
        """(n,) log of the mixture at the tokens that came."""
        weights = _weights(self.distances, gate.temperature)
        share = gate.share(self.distances[:, 0])
        near = (weights * self.hits).sum(dim=1)
        return torch.logaddexp(self.model + torch.log1p(-share), near.log() + share.log())


def surprise(
    neighbours: Neighbours, model: LanguageModel, texts: Sequence[Ids], *, progress: Progress = silent
) -> Surprise:
    """Read texts with their neighbours; gates can then be compared without reading again."""
    by_model, distances, hits = [], [], []
    for states, followed, log_p in read_states(model, texts, progress=progress):
        tokens, far = neighbours.found(torch.from_numpy(states))
        by_model.append(torch.from_numpy(log_p).float())
        distances.append(far)
        hits.append(tokens == torch.from_numpy(followed).long()[:, None])
    return Surprise(model=torch.cat(by_model), distances=torch.cat(distances), hits=torch.cat(hits))


def fit_gate(read: Surprise, *, constant: bool = False) -> Gate:
    """The gate under which ``read`` is likeliest; with ``constant``, one λ for all tokens."""
    tried = [_fitted(read, temperature, constant=constant) for temperature in TEMPERATURES]
    return max(tried, key=lambda gate: float(read.log_p(gate).mean()))


def _fitted(read: Surprise, temperature: float, *, constant: bool) -> Gate:
    """The likeliest bias and slope at one temperature."""
    parameters = torch.tensor([-2.0, 0.0], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([parameters], max_iter=50, line_search_fn="strong_wolfe")
    near = (_weights(read.distances.double(), temperature) * read.hits).sum(dim=1)
    model, nearest = read.model.double().exp(), read.distances[:, 0].double()

    def cost() -> Tensor:
        optimizer.zero_grad()
        share = torch.sigmoid(parameters[0] + (0.0 if constant else parameters[1]) * nearest)
        loss = -((1 - share) * model + share * near + TINY).log().mean()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(cost)  # type: ignore[no-untyped-call]
    bias, slope = parameters.detach().tolist()
    return Gate(bias=bias, slope=0.0 if constant else slope, temperature=temperature)
