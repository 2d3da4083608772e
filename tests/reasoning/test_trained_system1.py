"""The trained System 1's parts: what the window holds, how pointers become hops, what the losses are."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from memptm.documents.sentences import sentences
from memptm.errors import ModelMissing
from memptm.generation.config import ReaderConfig
from memptm.generation.spans import SpanScorer
from memptm.generation.windows import collate
from memptm.reasoning.system1 import PageInput
from memptm.reasoning.trained_system1 import (
    Pages,
    PointerNet,
    Pointers,
    decode_hops,
    sentence_support,
    whole_words,
)
from memptm.training.losses.cognitive_graph import hop_loss, support_loss
from memptm.types import Passage
from tests.encoders.tiny import bert

TEXT = "Its engineer was Ada Trent. She was born in Penhollow. It rained."


def passage(text=TEXT, title="Cape Morrow"):
    return Passage(id="p", document="d", text=text, start=0, end=len(text), title=title)


@pytest.fixture(scope="module")
def system1():
    torch.manual_seed(0)
    return Pointers(PointerNet(SpanScorer(ReaderConfig(window=96, stride=32), bert(layers=3))))


def window_of(system1, page_input):
    (window,) = system1.windower.pages(["Where was the engineer born?"], [page_input])
    return window


def test_a_window_holds_question_clues_title_and_text_each_behind_its_separator(system1):
    window = window_of(system1, PageInput(passage(), ("A lighthouse stands there.", "It is old.")))
    tokenizer = system1.windower.tokenizer
    said = [tokenizer.id_to_token(int(one)) for one in window.ids]
    assert said[0] == "[CLS]"
    assert said.count("[SEP]") == 4  # question, two clues, the end
    assert said.index("lighthouse") < said.index("cape") < said.index("engineer", said.index("cape"))
    first, last = np.flatnonzero(window.body)[[0, -1]]
    assert TEXT[window.offsets[first, 0] : window.offsets[last, 1]] == TEXT


def test_where_clues_are_too_many_the_weakest_is_left_out_whole(system1):
    clues = tuple(f"{word} " + "heron " * 48 + "end." for word in ("first", "second", "third", "fourth"))
    pages = Pages(system1.windower.tokenizer, window=384, stride=128)
    for scores, kept in (((0.9, 0.1, 0.8, 0.7), ["first", "third", "fourth"]), ((), ["first", "second", "third"])):
        (window,) = pages.pages(["Who?"], [PageInput(passage(), clues, scores)])
        said = [pages.tokenizer.id_to_token(int(one)) for one in window.ids]
        assert [word for word in ("first", "second", "third", "fourth") if word in said] == kept
        assert said.count("end") == len(kept)


def logits(window, spans):
    start, end = torch.full((len(window.ids),), -5.0), torch.full((len(window.ids),), -5.0)
    start[0] = 0.0
    for (begin, stop), value in spans.items():
        first = next(t for t in np.flatnonzero(window.body) if window.offsets[t, 0] == begin)
        last = next(t for t in np.flatnonzero(window.body) if window.offsets[t, 1] == stop)
        start[first], end[last] = value, value
    return start, end


def span(text, whole=TEXT):
    return whole.index(text), whole.index(text) + len(text)


def test_hops_are_what_starts_above_cls_and_no_more_than_three(system1):
    page_input = PageInput(passage())
    window = window_of(system1, page_input)
    start, end = logits(window, {span("Ada Trent"): 2.0, span("Penhollow"): 1.0, span("rained"): -1.0})
    hops = decode_hops(page_input, sentences(TEXT), window, start, end)
    assert [TEXT[hop.start : hop.end] for hop in hops] == ["Ada Trent", "Penhollow"]
    assert hops[0].score > hops[1].score > 0.5
    lower = decode_hops(page_input, sentences(TEXT), window, start, end, lowered=1.5)
    assert [TEXT[hop.start : hop.end] for hop in lower][-1] == "rained"
    many = logits(window, {span(word): 1.0 for word in ("engineer", "Ada", "Trent", "She", "Penhollow")})
    assert len(decode_hops(page_input, sentences(TEXT), window, *many)) == 3


def test_a_hop_ends_in_the_sentence_it_starts_in_and_is_not_the_pages_own_name(system1):
    page_input = PageInput(passage())
    window = window_of(system1, page_input)
    start, end = logits(window, {span("Ada Trent"): 1.0, span("Penhollow"): 3.0})
    start[next(t for t in np.flatnonzero(window.body) if window.offsets[t, 0] == span("Penhollow")[0])] = -5.0
    (hop,) = decode_hops(page_input, sentences(TEXT), window, start, end)
    assert TEXT[hop.start : hop.end] == "Ada Trent"
    own = PageInput(passage(title="Ada Trent"))
    window = window_of(system1, own)
    assert decode_hops(own, sentences(TEXT), window, *logits(window, {span("Ada Trent"): 1.0})) == ()


def test_a_pointer_into_a_word_means_the_word():
    assert whole_words("the Penhollows came", 7, 9) == (4, 14)
    assert whole_words("a (Tom) b", 3, 6) == (3, 6)


def test_a_page_is_seen_the_same_whatever_else_is_in_the_batch(system1):
    inputs = [PageInput(passage("Rain. " * n + TEXT, f"Page {n}"), ("A clue.",) * (n % 2)) for n in (0, 3, 9, 40)]
    together = system1.read_pages("Where?", inputs)
    for page_input, reading in zip(inputs, together, strict=True):
        (alone,) = system1.read_pages("Where?", [page_input])
        assert alone.log_mass == pytest.approx(reading.log_mass, abs=1e-4)
        assert alone.support == pytest.approx(reading.support, abs=1e-4)
        assert [(hop.start, hop.end) for hop in alone.hops] == [(hop.start, hop.end) for hop in reading.hops]
        assert alone.meaning == pytest.approx(reading.meaning, abs=1e-4)
        assert len(reading.sentences) == len(reading.support)


def test_two_threads_do_not_see_each_others_pages(system1):
    inputs = [PageInput(passage("Rain. " * n + TEXT, f"Page {n}")) for n in range(1, 13)]
    alone = [system1.read_pages("Where?", [page_input])[0].meaning for page_input in inputs]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda page_input: system1.read_pages("Where?", [page_input])[0].meaning, inputs * 3))
    for n, meaning in enumerate(together):
        assert meaning == pytest.approx(alone[n % len(inputs)], abs=1e-4)


def test_every_sentence_of_a_long_page_is_scored(system1):
    (reading,) = system1.read_pages("Where?", [PageInput(passage("The heron waits by the pond. " * 60 + TEXT))])
    assert len(reading.support) == 63
    assert all(0 < p < 1 for p in reading.support)


def test_losses_are_those_of_the_formula(system1):
    torch.manual_seed(0)
    start, end = torch.randn(2, 7).double(), torch.randn(2, 7).double()
    p, q = start.softmax(-1), end.softmax(-1)
    wanted = (
        -(torch.log(p[0, 2] + p[0, 4]) + torch.log(q[0, 3] + q[0, 5]) + torch.log(p[1, 0]) + torch.log(q[1, 0])) / 2
    )
    assert float(hop_loss(start, end, [[(2, 3), (4, 5)], []])) == pytest.approx(float(wanted))
    scores = [torch.tensor([1.0, -torch.inf]), torch.tensor([-2.0])]
    expected = -(torch.log(torch.sigmoid(torch.tensor(1.0))) + torch.log(1 - torch.sigmoid(torch.tensor(-2.0)))) / 2
    assert float(support_loss(scores, [[True, True], [False]])) == pytest.approx(float(expected))


def test_the_meaning_is_cls_of_a_late_layer_and_support_a_mean_over_tokens(system1):
    window = window_of(system1, PageInput(passage()))
    ids, mask, segments, body = collate([window])
    with torch.inference_mode():
        made = system1.model(ids, mask, segments, body)
        trunk = system1.model.scorer.trunk
        hidden = trunk.norm(trunk.words(ids) + trunk.positions.weight[: ids.shape[1]] + trunk.segments(segments))
        hidden = trunk.layers[0](hidden, mask[:, None, None, :])  # of three: the third from the last
    assert torch.allclose(made.meaning, hidden[:, 0], atol=1e-5)
    places = sentences(TEXT)
    scores = sentence_support(window, made.support[0], places)
    mine = [t for t in np.flatnonzero(window.body) if places[1][0] <= window.offsets[t, 0] < places[1][1]]
    assert float(scores[1]) == pytest.approx(float(made.support[0][mine].mean()), abs=1e-6)


def test_weights_go_to_disk_and_back_and_another_folder_is_refused(system1, tmp_path):
    with pytest.raises(ModelMissing, match="memptm train graph"):
        PointerNet.load(tmp_path)
    system1.model.save(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "system1.safetensors"}
