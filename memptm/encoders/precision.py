"""In which arithmetic a processor is fastest: raced, for having the instructions does not mean that they are fast.

With AVX512-BF16 one Xeon was measured at 2.6 times float32 in bfloat16, another at 0.55 times.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from time import perf_counter
from typing import Literal, TypeVar

import torch
from torch import nn

from memptm.encoders.bert import Layer
from memptm.encoders.bert_config import BertConfig
from memptm.encoders.int8 import Scratch, products_are_exact

Kind = TypeVar("Kind")
Precision = Literal["float32", "bfloat16", "int8"]
CLOSE = 0.999  # mean cosine of PROBE's keys from which on 8-bit integers are good enough for a model
PROBE = (
    "The committee approved the annual budget after a short debate about the costs of the new library.",
    "In 1871 the lighthouse was rebuilt in granite; its lamp can be seen from a distance of 24 miles.",
    "How do I reset my password?",
    "Protein kinases transfer phosphate groups from ATP to serine, threonine or tyrosine residues.",
    "She sang quietly, and nobody on the crowded platform turned round.",
    "def area(radius): return 3.14159 * radius ** 2",
)
RACES = 8  # runs of each; the fastest counts
TOKENS = 1024  # as a batch in use has
CONFIG = BertConfig(
    vocab_size=1,
    hidden_size=384,
    num_hidden_layers=1,
    num_attention_heads=12,
    intermediate_size=1536,
    max_position_embeddings=TOKENS,
    type_vocab_size=1,
)


@dataclass(frozen=True)
class Choice:
    """What was found fastest: whether bfloat16 products, and the arithmetic of many passages."""

    bfloat16: bool
    bulk: Precision


_taken: list[Choice] = []  # at most one


def choice() -> Choice:
    """What this process computes with."""
    return Choice(bfloat16=bfloat16_is_faster(), bulk=bulk_precision())


def take(made: Choice) -> None:
    """Compute as another process did: a race can end otherwise the next time."""
    _taken[:] = [made]


def bfloat16_is_faster() -> bool:
    """Whether bfloat16 products beat float32 ones here; found out once, in some 10 ms."""
    return _taken[0].bfloat16 if _taken else _bfloat16_wins()


def bulk_precision() -> Precision:
    """The fastest arithmetic for many passages at once; found out once, in some 100 ms."""
    return _taken[0].bulk if _taken else _bulk_winner()


@cache
def _bfloat16_wins() -> bool:
    if not torch.cpu._is_avx512_bf16_supported():
        return False
    left, right = torch.ones(256, 384), torch.ones(1536, 384)
    given = {kind: (left.to(kind), right.to(kind)) for kind in (torch.float32, torch.bfloat16)}
    return _fastest({kind: partial(nn.functional.linear, *pair) for kind, pair in given.items()}) == torch.bfloat16


@cache
def _bulk_winner() -> Precision:
    layer = Layer(CONFIG, 0.0).eval()
    lanes: dict[Precision, nn.Module] = {"float32": layer}
    if torch.cpu._is_vnni_supported() and products_are_exact():
        spread = torch.arange(CONFIG.hidden_size, dtype=torch.float32)
        lanes["int8"] = layer.quantised(Scratch(), {"qkv": spread, "up": spread})
    if _bfloat16_wins():
        lanes["bfloat16"] = Layer(CONFIG, 0.0).eval().to_bfloat16()
    hidden = torch.ones(4, TOKENS // 4, CONFIG.hidden_size)
    return _fastest({name: partial(lane, hidden, None) for name, lane in lanes.items()})


def _fastest(lanes: Mapping[Kind, Callable[[], object]]) -> Kind:
    """The name of the call whose best run is the shortest; they take turns."""
    times: dict[Kind, list[float]] = {name: [] for name in lanes}
    with torch.inference_mode():
        for _ in range(RACES):
            for name, run in lanes.items():
                began = perf_counter()
                run()
                times[name].append(perf_counter() - began)
    return min(times, key=lambda name: min(times[name]))
