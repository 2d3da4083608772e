"""The reader of blanks: a probability over the vocabulary for each token, their product for the span."""

import pytest
import torch

from memptm.encoders.load import BASE
from memptm.generation.windows import load_tokenizer
from memptm.models import resolve
from memptm.training.losses.masked_reader import SENTENCE_TOKENS, SPAN_TOKENS, Cloze, Clozer, MaskedReader
from tests.encoders.tiny import bert

VOCABULARY = 4_100  # the tokenizer's most frequent


@pytest.fixture(scope="module")
def clozer():
    return Clozer(load_tokenizer(resolve(BASE)), passage_tokens=16)


@pytest.fixture(scope="module")
def reader():
    torch.manual_seed(1)
    return MaskedReader(bert(vocabulary=VOCABULARY)).eval()


def said(clozer, ids):
    return clozer.tokenizer.decode(list(ids))


def test_a_cloze_hides_the_spans_tokens_and_nothing_else(clozer):
    sentence = "She was born in Warszawa, Poland, in 1867."
    start = sentence.index("Warszawa")
    cloze = clozer.cloze(sentence, (start, start + len("Warszawa")))
    assert said(clozer, cloze.hidden) == "warszawa"
    assert len(cloze.hidden) > 1
    assert cloze.ids.count(clozer.mask) == len(cloze.hidden)
    assert cloze.ids[cloze.first] == clozer.mask
    assert "warszawa" not in said(clozer, cloze.ids)
    assert "poland, in 1867" in said(clozer, cloze.ids)
    assert clozer.query(cloze) == [clozer.cls, *cloze.ids, clozer.sep]


def test_a_long_sentence_keeps_the_part_around_its_blank(clozer):
    words = [f"word{n}" for n in range(200)]
    sentence = " ".join(words)
    for n in (0, 100, 199):
        start = sentence.index(words[n] + (" " if n < 199 else ""))
        cloze = clozer.cloze(sentence, (start, start + len(words[n])))
        assert len(cloze.ids) == SENTENCE_TOKENS
        assert cloze.ids[cloze.first : cloze.first + len(cloze.hidden)] == (clozer.mask,) * len(cloze.hidden)


def test_a_span_of_many_tokens_is_hidden_so_far(clozer):
    sentence = "The " + "antidisestablishmentarianism" * 3 + " of it all was long."
    assert len(clozer.cloze(sentence, (4, 88)).hidden) == SPAN_TOKENS
    assert clozer.cloze("Blank   here", (5, 8)) is None


@pytest.mark.parametrize("body", [[], [2158, 3000, 2158, 4010]])
def test_its_probabilities_of_a_token_sum_to_one(reader, clozer, body):
    ids = torch.tensor([[101, 2000, clozer.mask, 2010, 102, *body, 102]])
    inside = torch.zeros_like(ids, dtype=torch.bool)
    inside[0, 5 : 5 + len(body)] = True
    vocabulary = torch.arange(VOCABULARY).unsqueeze(0)
    with torch.no_grad():
        hidden = reader.trunk(ids)
        log_p = reader._log_p(hidden[:, [2] * VOCABULARY], hidden, ids, inside, vocabulary)
    assert float(log_p.double().exp().sum()) == pytest.approx(1, abs=1e-4)


def test_a_span_has_the_product_of_its_tokens_whatever_it_is_read_beside(reader, clozer):
    mask = clozer.mask
    one, two = Cloze((2000, mask, mask, 2010), 1, (2158, 3000)), Cloze((mask, 2010, 2020), 0, (4010,))
    bodies = [[2158, 3000, 2200], []]
    with torch.no_grad():
        together = reader([one, two], bodies, (101, 102))
        alone = [reader([cloze], [body], (101, 102))[0] for cloze, body in zip((one, two), bodies, strict=True)]
        # Each token of the span by itself: the other stays hidden, as in the span.
        first = reader([Cloze(one.ids, 1, (2158,))], bodies[:1], (101, 102))
        second = reader([Cloze(one.ids, 2, (3000,))], bodies[:1], (101, 102))
    assert together.tolist() == pytest.approx([float(one) for one in alone], abs=1e-4)
    assert float(together[0]) == pytest.approx(float(first + second), abs=1e-4)
