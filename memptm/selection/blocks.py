"""A long text as blocks of at most 63 tokens, cut where a reader would pause.

Source: CogLTX (Ding et al. 2020, NeurIPS, section 3.1): dynamic programming over the costs of breaks. Its costs are a line
end 0, a full stop 1, a comma 2, any other place 8, and 4 for each block. Ours adds 12 inside a word, and a mark counts only
where a blank or a line end follows, so that "3.14" is no sentence end.

All blocks cost the same, so the best breaking that ends at token i is best(i) = cost(i) + 4 + min best(j) over the 63 tokens
before it: a minimum over a sliding window, linear in the length of the text whatever the longest block is.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from memptm.errors import InputError
from memptm.progress import Event, Progress, silent

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MOST_TOKENS = 63
BLOCK, LINE, STOP, COMMA, FORCED, INSIDE = 4, 0, 1, 2, 8, 12  # costs
LONGEST_TOKEN = 100  # characters; a word without end is one token to some vocabularies, and is cut all the same
_PART = 50_000  # characters of which tokens are made at once: bounds the memory that a huge text needs
_LINE_ENDS = frozenset("\n\r\v\f\u0085\u2028\u2029")
_STOPS, _WIDE_STOPS = frozenset(".?!…"), frozenset("。？！")
_COMMAS, _WIDE_COMMAS = frozenset(",;:"), frozenset("，、；：")
_CLOSERS = "\"'”’)]}»›」』）"

Spans = Sequence[tuple[int, int]]
Tokens = Callable[[str], Spans]  # where the tokens of a text begin and end, in characters, in order


@dataclass(frozen=True, slots=True)
class TextBlock:
    """Characters ``start`` to ``end`` of the text, blanks around them left out; ``tokens`` of them."""

    start: int
    end: int
    tokens: int


def split_blocks(
    text: str, tokens_of: Tokens, *, most: int = MOST_TOKENS, progress: Progress = silent
) -> list[TextBlock]:
    """The blocks of ``text`` whose breaks cost least together, in order; none if it is blank.

    Args:
        tokens_of: gives a text's tokens; called with one part of the text after the other.
        most: tokens of a block.
    Raises:
        InputError: ``most`` is below 1.
    """
    if most < 1:
        raise InputError(f"Blocks of {most} tokens cannot be cut; at least one is needed.")
    starts, ends, costs = array("L"), array("L"), array("B")
    for start, end in _tokens(text, tokens_of, progress):
        if ends:
            costs.append(break_cost(text, ends[-1], start))
        starts.append(start)
        ends.append(end)
    if not ends:
        return []
    costs.append(LINE)  # the end of the text
    blocks, first = [], 0
    for last in cheapest_breaks(costs, most=most):
        blocks.append(TextBlock(starts[first], ends[last - 1], last - first))
        first = last
    return blocks


def tokens_of(tokenizer: Tokenizer) -> Tokens:
    """Where a tokenizer's tokens are in a text."""
    return lambda text: tokenizer.encode(text, add_special_tokens=False).offsets


def cheapest_breaks(costs: Sequence[int], *, most: int) -> list[int]:
    """After how many tokens to break, rising, the last after all of them.

    Args:
        costs: of a break after each token.
        most: tokens between two breaks.
    """
    steps = array("L")  # tokens of the last block in the best breaking that ends at each token
    window: deque[tuple[int, int]] = deque([(0, 0)])  # (tokens, cost of the best breaking that ends there), costs rise
    for n, cost in enumerate(costs, 1):
        if window[0][0] < n - most:
            window.popleft()
        place, before = window[0]
        steps.append(n - place)
        best = before + cost + BLOCK
        while window and window[-1][1] > best:
            window.pop()
        window.append((n, best))
    breaks, n = [], len(costs)
    while n:
        breaks.append(n)
        n -= steps[n - 1]
    return breaks[::-1]


def break_cost(text: str, end: int, start: int) -> int:
    """Of a break between a token that ends at ``end`` and the next, which begins at ``start``."""
    gap = text[end:start]
    if gap and not _LINE_ENDS.isdisjoint(gap):
        return LINE
    mark = text[max(end - 4, 0) : end].rstrip(_CLOSERS)[-1:]
    if mark in _WIDE_STOPS or (gap and mark in _STOPS):
        return STOP
    if mark in _WIDE_COMMAS or (gap and mark in _COMMAS):
        return COMMA
    within = not gap and text[end - 1].isalnum() and text[start].isalnum()
    return INSIDE if within else FORCED


def _tokens(text: str, tokens_of: Tokens, progress: Progress) -> Iterator[tuple[int, int]]:
    """(start, end) of every token; those without characters are left out, those of too many are cut."""
    for begin, stop in _parts(text):
        for start, end in tokens_of(text[begin:stop]):
            for place in range(start, end, LONGEST_TOKEN):
                yield begin + place, begin + min(place + LONGEST_TOKEN, end)
        progress(Event(stage="cut", done=stop, total=len(text), unit="characters"))


def _parts(text: str) -> Iterable[tuple[int, int]]:
    """Stretches of the text that end at a blank where there is one, so that no token is cut."""
    begin = 0
    while begin < len(text):
        stop = min(begin + _PART, len(text))
        if stop < len(text):
            blank = max(text.rfind(" ", begin + 1, stop), text.rfind("\n", begin + 1, stop))
            stop = blank if blank > 0 else stop
        yield begin, stop
        begin = stop
