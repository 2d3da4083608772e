"""What BM25 sees, and how ranks are fused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memptm.memory.lexical import MOST_TERMS, RANK_OFFSET, fuse, question_terms, terms


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("C++ vs C# and .NET, asp.net", "cplusplus vs csharp and dotnet asp net"),
        ("\ufb01nal o\ufb00er", "final offer"),
        ("2,950 metres; 12,345,678.5; 3,5", "2950 metres 12345678 5 3 5"),
        ("The keeper's cottage, don’t", "the keeper cottage don t"),
        ("東京タワー Tokyo", "東京 京タ タワ ワー tokyo"),
        ("हिन्दी भाषा", "हिन्दी भाषा"),
        ("name:value +x -y (z) [q] \"w\" foo* ~x^2", "name value x y z q w foo x 2"),
        ("🙂 \x00 *", ""),
    ],
)  # fmt: skip
def test_terms_are_letters_and_digits(text, expected):
    assert " ".join(terms(text)) == expected


@given(st.text())
def test_terms_hold_nothing_that_a_query_language_could_read(text):
    joined = question_terms(text)
    assert all(character.isalnum() or character in " _" or ord(character) > 127 for character in joined)
    assert set(terms(joined)) <= set(terms(text)) | {part for term in terms(text) for part in terms(term)}


def test_a_question_of_any_length_looks_up_few_terms():
    assert len(question_terms(" ".join(f"w{n}" for n in range(10_000))).split()) == MOST_TERMS


ranks = st.lists(st.integers(0, 30), unique=True, max_size=20)


@given(ranks, ranks)
def test_fusion_sums_reciprocal_ranks_and_lists_each_id_once(first, second):
    fused = fuse(first, second)
    naive = {
        one: sum(1 / (RANK_OFFSET + 1 + row.index(one)) for row in (first, second) if one in row)
        for one in {*first, *second}
    }
    assert {one for one, _ in fused} == naive.keys()
    assert len(fused) == len(naive)
    assert all(score == pytest.approx(naive[one]) for one, score in fused)
    assert [score for _, score in fused] == pytest.approx(sorted(naive.values(), reverse=True))


def test_equal_fused_scores_keep_the_order_of_the_first_list():
    assert [one for one, _ in fuse([7, 3], [3, 7])] == [7, 3]
    assert [one for one, _ in [*fuse([], [9, 8]), *fuse([5], [4])]] == [9, 8, 5, 4]
