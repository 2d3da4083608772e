"""What a question should find, and what must not count against it."""

import numpy as np

from memptm.training.data.examples import Example
from memptm.training.data.targets import find_targets
from memptm.types import Passage

TEXTS = [
    "The mill was built by Ada Trent in 1871.",
    "Ada Trent was born in Hove.",
    "The ferry stopped in 1934.",
    "The harbour is deep.",
]


def found(question, answers, context=""):
    passages = [Passage(id=str(n), document="d", text=text, start=0, end=1) for n, text in enumerate(TEXTS)]
    keys = np.eye(4, 8, dtype=np.float32)
    return find_targets([Example(question, context, tuple(answers))], passages, keys, np.ones((1, 8), np.float32))[0]


def test_the_context_is_right_and_others_that_hold_the_answer_are_doubtful():
    target = found("Who built the mill?", ["Ada Trent"], TEXTS[0])
    assert (target.right, target.doubtful) == ((0,), (1,))


def test_a_context_without_the_answer_is_right_nonetheless():
    assert found("Is it deep?", ["yes"], TEXTS[3]).right == (3,)


def test_without_a_context_every_near_passage_that_holds_an_answer_is_right():
    target = found("Who?", ["Ada Trent"])
    assert (target.right, target.doubtful) == ((0, 1), ())
    assert found("Who?", ["Ada Trent"], "A text that is not in the index; Ada Trent wrote it.").right == (0, 1)
    assert found("Who?", ["Nobody"]).right == ()


def test_a_long_context_is_right_in_those_of_its_passages_that_hold_the_answer():
    long = " ".join(f"Sentence number {n} says nothing of note at all." for n in range(60)) + " The key is blue."
    from memptm.documents.split import split
    from memptm.types import Document

    passages = split(Document(text=long))
    keys = np.eye(len(passages), dtype=np.float32)
    example = Example("What colour is the key?", long, ("blue",))
    target = find_targets([example], passages, keys, np.ones((1, len(passages)), np.float32))[0]
    assert len(passages) > 2
    assert target.right == (len(passages) - 1,)


def test_a_twin_of_the_right_passage_is_right_too_and_never_pushed_away():  # F94
    passages = [
        Passage(id=str(n), document="d", text=text, start=0, end=1) for n, text in enumerate([*TEXTS, TEXTS[0]])
    ]
    keys, queries = np.eye(5, 8, dtype=np.float32), np.ones((1, 8), np.float32)
    example = Example("Who built the mill?", TEXTS[0], ("Ada Trent",))
    target = find_targets([example], passages, keys, queries)[0]
    assert (target.right, target.doubtful) == ((0, 4), (1,))
