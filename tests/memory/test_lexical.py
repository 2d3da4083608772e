"""What BM25 sees, how it scores texts in hand, and how ranks are fused."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memptm.memory.lexical import BM25, DENSE_SHARE, LENGTH, MOST_TERMS, SATURATION, fuse, question_terms, terms


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


few = st.lists(st.sampled_from(["mill", "Hove", "tower", "the", "1871"]), max_size=8).map(" ".join)


@given(st.lists(few, min_size=1, max_size=5), st.lists(few, min_size=1, max_size=3))
@settings(deadline=None)
def test_texts_in_hand_are_scored_by_the_formula_whatever_was_asked_before(texts, questions):
    held, index = [terms(text) for text in texts], BM25(texts)
    mean = sum(map(len, held)) / len(held)
    for question in questions:
        asked = dict.fromkeys(terms(question), 0.5)
        index.count(asked)
        for n, words in enumerate(held):
            expected = 0.0
            for term in asked:
                holders, times = sum(term in one for one in held), words.count(term)
                if times:
                    rarity = math.log(1 + (len(held) - holders + 0.5) / (holders + 0.5))
                    damping = SATURATION * (1 - LENGTH + LENGTH * len(words) / mean)
                    expected += 0.5 * rarity * times * (SATURATION + 1) / (times + damping)
            assert index.score(n, asked) == pytest.approx(expected)


cosines = st.dictionaries(st.integers(0, 30), st.floats(-1, 1), max_size=20)


@given(cosines, st.dictionaries(st.integers(0, 30), st.floats(0, 40), max_size=20))
def test_fusion_adds_cosine_and_bm25_on_the_scale_of_the_questions_best(cosine, bm25):
    bm25 = {one: score for one, score in bm25.items() if one in cosine}
    fused = fuse(cosine, bm25)
    best = max(bm25.values(), default=0) or 1
    naive = {one: DENSE_SHARE * cosine[one] + (1 - DENSE_SHARE) * bm25.get(one, 0) / best for one in cosine}
    assert dict(fused) == pytest.approx(naive)
    assert [score for _, score in fused] == pytest.approx(sorted(naive.values(), reverse=True), abs=1e-6)


def test_equal_fused_scores_are_ordered_by_id():
    assert [one for one, _ in fuse({7: 0.5, 3: 0.5 + 1e-9}, {})] == [3, 7]
