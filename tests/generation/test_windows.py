"""Windows: each token counts once, neighbours share the stride, and few are made whatever stands before the text."""

import numpy as np
import pytest

from memptm.generation.reader import Reader

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
