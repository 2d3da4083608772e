"""MemRecall by a judge whose scores are known."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memptm.errors import InputError
from memptm.selection.select import MemRecall, compete


class Known:
    """A judge whose coarse and fine scores are given; ``linked``: what a kept block makes relevant. It notes what was asked."""

    def __init__(self, coarse, fine=None, linked=None):
        self.scores, self.fine_scores, self.linked = coarse, fine or coarse, linked or {}
        self.asked = []

    def score(self, question, texts):
        assert len(texts) == len(self.scores)
        return self

    def coarse(self, blocks, kept=(), *, progress=None):
        assert list(kept) == sorted(set(kept))
        assert not set(kept) & set(blocks)
        self.asked.append((tuple(blocks), tuple(kept)))
        return [max([self.scores[n], *(self.linked.get((k, n), 0.0) for k in kept)]) for n in blocks]

    def fine(self, blocks):
        assert list(blocks) == sorted(set(blocks))
        return [self.fine_scores[n] for n in blocks]


def recall(judge, sizes, window, *, least=0.0, **settings):
    return MemRecall(scorer=judge, least=least, **settings)(
        "?", [f"block {n}" for n in range(len(sizes))], sizes, window=window
    )


cases = st.lists(st.tuples(st.floats(0.001, 0.999), st.floats(0.001, 0.999), st.integers(1, 70)), max_size=14)


@given(cases, st.integers(0, 200), st.integers(1, 4), st.integers(1, 4), st.integers(0, 6), st.booleans())
def test_the_window_holds_distinct_blocks_in_order_and_is_full(blocks, window, rounds, keep, again, rehearse):  # F91
    coarse, fine, sizes = ([one[n] for one in blocks] for n in range(3))
    found = recall(Known(coarse, fine), sizes, window, rounds=rounds, keep=keep, again=again, rehearse=rehearse)
    assert list(found.blocks) == sorted(set(found.blocks))
    used = sum(sizes[n] for n in found.blocks)
    assert used <= window
    outside = [size for n, size in enumerate(sizes) if n not in found.blocks]
    assert all(used + size > window for size in outside)
    expected = fine if rehearse else coarse
    assert found.scores == tuple(expected[n] for n in found.blocks)


@pytest.mark.parametrize(("count", "window", "blocks"), [(6, 100, (0, 1, 2, 3, 4, 5)), (1, 10, (0,)), (0, 10, ())])
def test_all_one_or_no_blocks_are_no_special_case(count, window, blocks):  # F91
    found = recall(Known([0.999] * count), [10] * count, window)
    assert found.blocks == blocks
    assert all(isinstance(score, float) for score in found.scores)


def test_scores_are_compared_as_floats():  # cast to integers, all of these would be equal
    assert recall(Known([0.1, 0.3, 0.2, 0.4]), [10] * 4, 20, rounds=1).blocks == (1, 3)


def test_a_block_that_another_makes_relevant_is_found_in_the_next_round():
    """A bridge: nothing in the question points at block 5, block 0 does."""
    coarse = [0.9, 0.5, 0.4, 0.3, 0.2, 0.1]
    linked = {(0, 5): 0.8}
    assert recall(Known(coarse, linked=linked), [10] * 6, 20, rounds=1).blocks == (0, 1)
    assert recall(Known(coarse, linked=linked), [10] * 6, 20, keep=1).blocks == (0, 5)
    assert recall(Known(coarse, linked=linked), [10] * 6, 20, keep=1, again=4).blocks == (0, 1)


def test_rehearsal_decides_who_stays():
    coarse, fine = [0.9, 0.8, 0.2, 0.1], [0.1, 0.9, 0.9, 0.9]
    linked = {(1, 3): 0.95}
    assert recall(Known(coarse, fine, linked), [10] * 4, 20, keep=1).blocks == (1, 3)
    assert recall(Known(coarse, fine, linked), [10] * 4, 20, keep=1, rehearse=False).blocks == (0, 1)


def test_scores_of_all_blocks_are_computed_once():
    judge = Known([0.5] * 30)
    recall(judge, [10] * 30, 40, rounds=3, again=5)
    everything = [asked for asked in judge.asked if len(asked[0]) > 5]
    assert everything == [(tuple(range(30)), ())]


def test_a_block_too_large_for_the_window_is_left_out():
    assert recall(Known([0.9, 0.1, 0.2]), [50, 10, 10], 30).blocks == (1, 2)
    assert recall(Known([0.9]), [50], 30).blocks == ()


def test_one_that_does_not_fit_is_passed_over_for_a_smaller_one():
    assert compete([2, 0, 1, 2], [5, 30, 30], window=36) == [0, 2]


@pytest.mark.parametrize("settings", [{"rounds": 0}, {"keep": 0}, {"again": -1}])
def test_impossible_settings_are_refused(settings):
    with pytest.raises(InputError, match="MemRecall"):
        MemRecall(scorer=Known([]), **settings)


def test_what_hardly_matters_stays_out_of_the_last_window_however_much_room_is_left():
    scores = [0.9, 0.1, 0.3, 0.17, 0.5]
    assert recall(Known(scores), [1] * 5, 4, least=0.2).blocks == (0, 2, 4)
    assert recall(Known(scores), [1] * 5, 4).blocks == (0, 2, 3, 4)
    assert recall(Known(scores), [1] * 5, 5, least=0.2).blocks == (0, 1, 2, 3, 4)  # all fit: there is nothing to choose


@pytest.mark.parametrize("least", [-0.1, 1.5, float("nan")])
def test_a_share_is_from_0_to_1(least):
    with pytest.raises(InputError, match="give a share from 0 to 1"):
        recall(Known([0.5]), [1], 1, least=least)
