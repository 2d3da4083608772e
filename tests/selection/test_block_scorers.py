"""Judges without training: BM25 by its formula, embeddings by their cosine."""

from __future__ import annotations

import math

import numpy as np
import pytest

from memptm.selection.block_scorers import NO_WORD, EmbeddingScorer, LexicalScorer
from tests.memory.toy import Toy

TEXTS = ["the tower in oslo", "ada built the tower the tower", "ben lives in bern", ""]


def naive_bm25(question, texts):
    documents = [text.split() for text in texts]
    mean = sum(map(len, documents)) / len(documents)
    scores = []
    for words in documents:
        total = 0.0
        for term in set(question.split()):
            holders = sum(term in other for other in documents)
            idf = math.log(1 + (len(documents) - holders + 0.5) / (holders + 0.5))
            count = words.count(term)
            total += idf * count * 2.2 / (count + 1.2 * (1 - 0.75 + 0.75 * len(words) / mean))
        scores.append(total)
    return scores


def test_words_are_scored_by_bm25():
    scores = LexicalScorer().score("who built the tower", TEXTS).coarse(range(4))
    expected = naive_bm25("who built the tower", TEXTS)
    assert scores == pytest.approx([(one + NO_WORD) / (one + 1) for one in expected])
    assert scores[3] == NO_WORD


def test_a_kept_block_lends_its_words():
    view = LexicalScorer().score(
        "who built the tower", ["ada built the tower", "ada lives in bern", "ben lives in bern"]
    )
    assert view.coarse([1])[0] == NO_WORD
    beside = view.coarse([1, 2], [0])
    assert beside[0] > beside[1]
    assert view.fine([0, 1]) == [view.coarse([0], [1])[0], view.coarse([1], [0])[0]]


def test_meaning_is_scored_by_cosine_and_a_texts_keys_are_made_once():
    encoder = Toy()
    made = []
    encode = encoder.encode_passages
    encoder.encode_passages = lambda texts, **more: made.extend(texts) or encode(texts, **more)
    judge = EmbeddingScorer(encoder)
    first = judge.score("ada", TEXTS[:3]).coarse([0, 1])
    cosines = encode(TEXTS[:2]) @ encoder.encode_questions(["ada"])[0]
    assert first == pytest.approx(list((1 + np.asarray(cosines)) / 2))
    judge.score("ben", TEXTS[:3]).coarse([0, 1, 2])
    assert made == TEXTS[:3]
    judge.score("ben", TEXTS[1:3]).fine([0])
    assert made == [*TEXTS[:3], TEXTS[1]]
