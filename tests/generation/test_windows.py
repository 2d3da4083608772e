"""Windows: each token counts once, neighbours share the stride, and few are made whatever stands before the text."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memptm.generation.reader import Reader
from memptm.generation.windows import ReaderWindow, by_length

TEXT = "heron " * 700


@pytest.fixture(scope="module")
def windower():
    return Reader.load().windower


def starts(windows):
    return [int(one.offsets[np.flatnonzero(one.body)[0], 0]) // len("heron ") for one in windows]


def test_a_long_question_does_not_multiply_windows(windower):
    windows = windower._cut(0, [windower.cls] * 130, [windower.cls] * 170, windower._encode([TEXT])[0])
    room = windower.window - 301
    assert room < windower.stride
    assert len(windows) <= 2 * -(-700 // room) + 1
    owned = np.concatenate([one.offsets[one.owned, 0] for one in windows])
    assert owned.tolist() == [len("heron ") * n for n in range(700)]


def test_with_room_for_two_strides_windows_share_the_stride(windower):
    windows = windower.windows(["who ?"], ["A title"], [TEXT])
    room = windower.room("who ?", "A title") - 0
    assert room > 2 * windower.stride
    assert starts(windows)[:2] == [0, int(windows[0].body.sum()) - windower.stride]
    assert int(windows[0].body.sum()) == room


@given(st.lists(st.integers(1, 90), max_size=30), st.integers(1, 200))
def test_batches_hold_every_window_once_and_at_most_so_many_tokens_with_padding(lengths, tokens):
    none = np.zeros(0, bool)
    windows = [
        ReaderWindow(
            row, np.zeros(length, np.int64), np.zeros(length, np.int64), none, none, np.zeros((0, 2), np.int64)
        )
        for row, length in enumerate(lengths)
    ]
    batches = by_length(windows, tokens=tokens)
    assert sorted(window.row for batch in batches for window in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(len(window.ids) for window in batch) <= tokens
    assert [len(window.ids) for batch in batches for window in batch] == sorted(lengths, reverse=True)
