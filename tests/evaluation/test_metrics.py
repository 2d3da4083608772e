"""Metrics as SQuAD defines them, and where SQuAD is silent."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memptm.evaluation.metrics import (
    bootstrap,
    contains_answer,
    exact_match,
    f1,
    first_relevant,
    mean_reciprocal_rank,
    normalise,
    recall,
)

texts = st.text(max_size=30)


def test_normalisation_is_squads() -> None:
    assert normalise("  The Quick, brown-fox!\n") == "quick brownfox"
    assert normalise("A theatre an hour away") == "theatre hour away"


@pytest.mark.parametrize(
    ("prediction", "answers", "em", "overlap"),
    [
        ("the 1871", ["1871"], 1, 1),
        ("Ada Trent, engineer", ["Ada Trent"], 0, 0.8),
        ("Ada Trent", ["Bob", "ada trent."], 1, 1),
        ("nothing alike", ["Ada Trent"], 0, 0),
        (None, ["Ada Trent"], 0, 0),
        (None, [], 1, 1),
        ("", [], 1, 1),
        ("something", [], 0, 0),
        ("The", ["The"], 1, 1),  # no words left on either side: equal
        ("The", ["Who"], 0, 0),
        ("东京都", ["东京"], 0, 0.8),  # by characters where words are not set apart
        ("在 东京。", ["东京"], 0, 0.8),
    ],
)
def test_exact_match_and_f1(prediction: str | None, answers: list[str], em: float, overlap: float) -> None:
    assert exact_match(prediction, answers) == em
    assert f1(prediction, answers) == pytest.approx(overlap)


@given(texts, texts)
def test_f1_is_symmetric_between_0_and_1_and_1_where_the_match_is_exact(left: str, right: str) -> None:
    assert f1(left, [right]) == pytest.approx(f1(right, [left]))
    assert 0 <= f1(left, [right]) <= 1
    assert f1(left, [left]) == exact_match(left, [left]) == 1
    if exact_match(left, [right]):
        assert f1(left, [right]) == 1


def test_a_text_contains_an_answer_as_whole_words() -> None:
    assert contains_answer("It was built in 1871, by Ada Trent.", ["Bob", "ADA TRENT"])
    assert not contains_answer("It was built in 18710.", ["1871"])
    assert contains_answer("他在东京都工作。", ["东京"])
    assert not contains_answer("anything", [])
    assert not contains_answer("anything", ["the"])


def test_recall_and_reciprocal_rank_look_at_the_first_relevant_hit() -> None:
    ranks = [first_relevant(row) for row in ([True, True], [False, True], [False, False], [])]
    assert ranks == [1, 2, None, None]
    assert recall(ranks, k=1) == 0.25
    assert recall(ranks, k=2) == 0.5
    assert mean_reciprocal_rank(ranks) == 0.375


def test_recall_of_no_questions_is_not_zero_but_unknown() -> None:
    assert recall([], k=5) is None
    assert mean_reciprocal_rank([]) is None


def test_the_bootstrap_interval_holds_the_mean_and_narrows_with_more_values() -> None:
    few, many = bootstrap([0, 1] * 20), bootstrap([0, 1] * 500)
    assert few[0] < 0.5 < few[1]
    assert many[1] - many[0] < (few[1] - few[0]) / 3
    assert bootstrap([1.0] * 10) == (1, 1)


def test_values_of_one_group_count_as_one_draw() -> None:
    values = [0.0, 1.0] * 50
    alone = bootstrap(values)
    together = bootstrap(sorted(values), groups=[str(n // 25) for n in range(100)])
    assert together[1] - together[0] > 2 * (alone[1] - alone[0])


def test_an_interval_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        bootstrap([])
    with pytest.raises(ValueError, match="as many of each"):
        bootstrap([1.0], groups=["a", "b"])
