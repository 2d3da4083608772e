"""Blocks: the cheapest breaking of all, exact places, linear time."""

from __future__ import annotations

import re
import time
import tracemalloc
from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memptm.errors import InputError
from memptm.selection.blocks import (
    BLOCK,
    COMMA,
    FORCED,
    INSIDE,
    LINE,
    LONGEST_TOKEN,
    STOP,
    TextBlock,
    break_cost,
    cheapest_breaks,
    split_blocks,
)
from tests.strategies import prose


def words(text):
    """Runs of letters, and single marks: a tokenizer that anyone can check."""
    return [found.span() for found in re.finditer(r"\w+|[^\w\s]", text)]


def price(costs, breaks):
    """What a breaking costs; the end of the text costs nothing beyond its block."""
    return sum(costs[n - 1] + BLOCK for n in breaks)


def cheapest_of_all(costs, most):
    """Every breaking, tried."""
    count, found = len(costs), []
    for size in range(count):
        for inner in combinations(range(1, count), size):
            breaks = [*inner, count]
            if all(b - a <= most for a, b in zip([0, *inner], breaks, strict=True)):
                found.append(price(costs, breaks))
    return min(found)


@given(st.lists(st.sampled_from([LINE, STOP, COMMA, FORCED, INSIDE]), min_size=1, max_size=11), st.integers(1, 6))
def test_no_breaking_is_cheaper(costs, most):
    breaks = cheapest_breaks(costs, most=most)
    assert breaks[-1] == len(costs)
    assert all(0 < b - a <= most for a, b in zip([0, *breaks], breaks, strict=False))
    assert price(costs, breaks) == cheapest_of_all(costs, most)


@given(prose, st.integers(1, 12))
def test_blocks_hold_every_token_once_in_order_and_know_their_places(text, most):
    blocks = split_blocks(text, words, most=most)
    tokens = [t for t in words(text) for _ in range(0, t[1] - t[0], LONGEST_TOKEN)]
    assert sum(block.tokens for block in blocks) == len(tokens)
    assert all(1 <= block.tokens <= most for block in blocks)
    assert "".join("".join(text[b.start : b.end].split()) for b in blocks) == "".join(
        text[start:end] for start, end in words(text)
    )
    assert all(a.end <= b.start for a, b in pairwise(blocks))


@pytest.mark.parametrize(
    ("text", "cost"),
    [
        ("one\ntwo", LINE),
        ("one. \r\n two", LINE),
        ("one. two", STOP),
        ('one." two', STOP),
        ("한국。東京", STOP),
        ("one, two", COMMA),
        ("one two", FORCED),
        ("one-two", FORCED),
        ("onetwo", INSIDE),
    ],
)
def test_a_break_costs_by_what_stands_before_it(text, cost):
    starts = [n for n in (text.find("two"), text.find("東京")) if n >= 0]
    end = len(text[: starts[0]].rstrip())
    assert break_cost(text, end, starts[0]) == cost


def test_a_mark_inside_a_number_ends_nothing():
    text = "3.14"
    assert break_cost(text, 2, 2) == FORCED
    assert break_cost("1,000", 2, 2) == FORCED


def test_breaks_fall_at_line_ends_before_sentence_ends_before_commas():
    text = "The tower is high. It was built in 1871 by a man from Oslo, they say.\nNobody lives there."
    assert cut(text, 22) == [text.split("\n")[0], "Nobody lives there."]
    assert cut(text, 18) == ["The tower is high.", text.split(". ", 1)[1]]
    assert cut(text, 12)[1:] == ["It was built in 1871 by a man from Oslo,", "they say.\nNobody lives there."]


def cut(text, most):
    return [text[b.start : b.end] for b in split_blocks(text, words, most=most)]


@pytest.mark.parametrize("text", ["", " \n\t "])
def test_a_blank_text_has_no_blocks(text):
    assert split_blocks(text, words) == []


def test_a_word_without_end_is_cut():
    blocks = split_blocks("A" * 50_000 + " end.", words, most=63)
    assert blocks[-1].end == 50_005
    assert max(b.end - b.start for b in blocks) <= 63 * LONGEST_TOKEN
    assert split_blocks("x" * 250, words, most=1) == [
        TextBlock(0, 100, 1),
        TextBlock(100, 200, 1),
        TextBlock(200, 250, 1),
    ]


def test_blocks_of_no_tokens_are_refused():
    with pytest.raises(InputError, match="at least one"):
        split_blocks("text", words, most=0)


def test_parts_change_nothing(monkeypatch):
    text = "Some words, and more. " * 400
    whole = split_blocks(text, words)
    monkeypatch.setattr("memptm.selection.blocks._PART", 70)
    assert split_blocks(text, words) == whole


def long_text(characters):
    sentence = "It was a quiet morning at the harbour, and the boats came in one by one.\n"
    return sentence * (characters // len(sentence))


def pieces(part):  # as many as a tokenizer makes, without its own cost
    return [(n, min(n + 8, len(part))) for n in range(0, len(part), 9)]


def test_memory_is_a_few_bytes_a_character():
    text = long_text(500_000)
    tracemalloc.start()
    split_blocks(text, pieces)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 * len(text)


@pytest.mark.slow
def test_ten_million_characters_take_seconds_and_are_told_of():
    text, events = long_text(10_000_000), []
    began = time.process_time()
    blocks = split_blocks(text, pieces, progress=events.append)
    assert time.process_time() - began < 60
    assert blocks[-1].end == len(text)
    assert [event.done for event in events] == sorted({event.done for event in events})
    assert events[-1].done == events[-1].total == len(text)
