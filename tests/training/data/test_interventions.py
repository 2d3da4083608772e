"""Interventions: what is taken away and missed was relevant."""

from __future__ import annotations

import math

import pytest
import torch

from memptm.generation.reader import Reader
from memptm.training.data.interventions import LEAST, SpanLoss, intervene
from tests.generation import tiny_reader

BLOCKS = ["it rained", "ada liked the film", "the film was long", "a bad film"]


def sentiment(question, texts, answers):
    """The loss of a classifier that counts words: for classes, not spans."""
    found = []
    for text in texts:
        logit = text.count("liked") - text.count("bad") + 0.1 * text.count("film")
        p = 1 / (1 + math.exp(-logit))
        found.append(-math.log(p if answers == ("good",) else 1 - p))
    return found


def test_a_loss_of_classes_tells_which_blocks_matter():
    good = intervene(sentiment, "", BLOCKS, ("good",), up=0.3, down=0.0)
    assert good == [False, True, None, False]
    bad = intervene(sentiment, "", BLOCKS, ("bad",), up=0.3, down=0.0)
    assert bad == [False, False, False, True]


def test_every_block_is_taken_away_once_and_order_is_kept():
    seen = []

    def loss(question, texts, answers):
        seen.extend(texts)
        return [1.0] * len(texts)

    assert intervene(loss, "", ["a", "b", "c"], (), up=0.3, down=-0.1) == [None] * 3
    assert seen == ["a\nb\nc", "b\nc", "a\nc", "a\nb"]
    assert intervene(loss, "", [], (), up=0.3, down=-0.1) == []


@pytest.fixture(scope="module")
def loss(tmp_path_factory):
    return SpanLoss(Reader.load(tiny_reader.reader(tmp_path_factory.mktemp("reader"), window=64, stride=16)))


def test_the_loss_of_spans_is_their_share_of_all_and_none(loss):
    question, text = "where does ada live ?", "ada lives in oslo . in oslo ."
    window = loss.reader.windower.windows([question], [""], [text])[0]
    with torch.inference_mode():
        ids = torch.from_numpy(window.ids)[None]
        mask = torch.ones_like(ids, dtype=torch.bool)
        spans, null = loss.reader.model(
            ids, mask, torch.from_numpy(window.segments)[None], torch.from_numpy(window.body)[None]
        )
    right = [n for n in range(len(window.ids)) if text[slice(*window.offsets[n])] == "oslo"]
    every = torch.cat([null, spans.flatten()]).exp()
    expected = -math.log(sum(float(spans[0, n, 0].exp()) for n in right) / float(every.sum()))
    assert len(right) == 2
    assert loss(question, [text], ["oslo"]) == pytest.approx([expected], abs=0.02)


def test_an_answer_that_is_not_there_costs_the_most(loss):
    assert loss("where ?", ["ada lives", ""], ["oslo"]) == [-math.log(LEAST)] * 2
