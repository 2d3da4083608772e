"""A small, real System 1: hops are the names in a page, answers the years in it; it counts what it reads."""

from __future__ import annotations

import re

from memptm.documents.sentences import sentence_at, sentences
from memptm.encoders.base import embedding_text
from memptm.generation.reader import Span, log_sum
from memptm.memory.in_memory import InMemoryIndex
from memptm.memory.titles import name_key
from memptm.reasoning.frontier import Frontier
from memptm.reasoning.linker import Linker
from memptm.reasoning.names import capitalised
from memptm.reasoning.system1 import Hop, PageReading
from memptm.types import Passage
from tests.memory.toy import Toy


class ByName:
    """``shy``: all hops are below the threshold."""

    trained = False

    def __init__(self, *, shy: bool = False) -> None:
        self.shy, self.read = shy, []

    def read_pages(self, question, pages):
        return [self._page_reading(page) for page in pages]

    def _page_reading(self, page):
        text = page.passage.text
        self.read.append((page.passage.title, page.clues))
        places = sentences(text)
        hops = [Hop(s, e, 0.9 - 0.01 * n) for n, (s, e) in enumerate(capitalised(text))]
        spans = tuple(Span(0, found.start(), found.end(), 1.0) for found in re.finditer(r"\b\d{4}\b", text))
        hops = tuple([hop for hop in hops if sentence_at(places, hop.start) is not None][:3])
        mass = log_sum([span.log_odds for span in spans]) if spans else -20.0
        return PageReading(() if self.shy else hops, hops, spans, mass, tuple(places), tuple(0.5 for _ in places))


def passage(title, text, *, headings=()):
    return Passage(
        id=title or text[:12], document=title, text=text, start=0, end=len(text), title=title, headings=headings
    )


def index_of(*pairs):
    passages = [passage(title, text) for title, text in pairs]
    encoder = Toy()
    return InMemoryIndex(passages, encoder, encoder.encode_passages([embedding_text(one) for one in passages]))


def expand(memory, question, *, k=1, system1=None, **limits):
    system1 = system1 or ByName()
    return Frontier(Linker(memory, question), system1, **limits).expand(k)


def page(result, name):
    return next((node for node in result.nodes if name_key(node.page.name) == name_key(name)), None)
