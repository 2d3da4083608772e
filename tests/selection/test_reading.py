"""MemRecall over documents: the window, what is read in it, and citations that are exact in the document."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memptm.generation.reader import Reader, Reading, Span, answer_key
from memptm.selection import reading as module
from memptm.selection.block_scorers import LexicalScorer
from memptm.selection.reading import Chosen, answer_by_recall, choose, fits, passages_by_recall, read_chosen, room
from memptm.selection.select import MemRecall
from memptm.types import Passage
from tests.generation import tiny_reader
from tests.naive import resident_kib

RECALL = MemRecall(scorer=LexicalScorer())
TEXT = (
    "Ada lives in Oslo. Ben lives in Bern.\n\nThe tower was built in Rome, and Cleo was there.\nDan lives in it. " * 5
)


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    return Reader.load(tiny_reader.reader(tmp_path_factory.mktemp("reader"), window=48, stride=12))


def passage(text, number=0, *, document="d", start=0, title=""):
    return Passage(id=f"p{number}", document=document, text=text, start=start, end=start + len(text), title=title)


def test_the_window_is_filled_with_exact_slices_and_read_at_once(reader):
    whole = passage(TEXT)
    left = room(reader, "who built the tower ?", [whole])
    tokenizer = reader.windower.tokenizer
    chosen = choose("who built the tower ?", [whole], RECALL, tokenizer=tokenizer, window=left)
    assert all(TEXT[one.start : one.end] == one.text for one in chosen.blocks)
    starts = [one.start for one in chosen.blocks]
    assert starts == sorted(set(starts))
    assert "tower was built" in " ".join(one.text for one in chosen.blocks)
    text, places = module._written(chosen)
    assert [text[start:end] for start, end in places] == [one.text for one in chosen.blocks]
    assert len(reader.windower.windows(["who built the tower ?"], [""], [text])) == 1


def test_neighbours_are_joined_by_what_stands_between_them():
    blocks = tuple(passage(text, start=start) for text, start in (("one.", 0), ("two.", 6), ("four.", 30)))
    chosen = Chosen(blocks, (0.5, 0.2, 0.3), (None, "\r\n", None))
    text, places = module._written(chosen)
    assert text == "one.\r\ntwo.\nfour."
    assert [text[start:end] for start, end in places] == ["one.", "two.", "four."]
    assert chosen.runs() == [(0, 2), (2, 3)]


def test_a_title_goes_before_the_first_block_of_each_of_several_passages():
    blocks = (passage("one.", 0, title="A"), passage("two.", 0, title="A", start=9), passage("far.", 1, title="B"))
    text, places = module._written(Chosen(blocks, (0.5, 0.2, 0.3), (None, None, None)))
    assert text == "A. one.\ntwo.\nB. far."
    assert [text[start:end] for start, end in places] == ["one.", "two.", "far."]


class Scripted:
    """A reader whose spans are known."""

    def __init__(self, *spans):
        self.spans = spans

    def read(self, questions, passages):
        mass = math.log(sum(math.exp(span.log_odds) for span in self.spans))
        return [Reading(self.spans, (mass,))]


def test_evidence_is_blocks_with_their_share_and_a_span_over_two_joins_them():
    blocks = (passage("Ada was", start=10), passage("in Oslo.", start=18), passage("Ben.", start=60))
    chosen = Chosen(blocks, (0.5, 0.2, 0.3), (None, " ", None))
    one = read_chosen(Scripted(Span(0, 0, 3, 3.0), Span(0, 11, 15, 1.0)), "?", chosen, bias=0.0)
    assert (one.text, [e.passage.text for e in one.evidence][:1]) == ("Ada", ["Ada was"])
    assert [e.prior for e in one.evidence] == pytest.approx([0.5, 0.3, 0.2])
    assert [e.posterior for e in one.evidence] == [1.0, 0.0, 0.0]
    over = read_chosen(Scripted(Span(0, 4, 15, 3.0)), "?", chosen, bias=0.0)
    assert over.text == "was in Oslo"
    first = over.evidence[0]
    assert (first.passage.text, first.passage.start, first.passage.end) == ("Ada was in Oslo.", 10, 26)
    assert first.passage.text[slice(*first.answer_span)] == over.text
    assert first.prior == pytest.approx(0.7)


def test_a_span_between_blocks_far_apart_or_in_a_title_is_no_answer():
    blocks = (passage("Ada was.", 0, title="Oslo"), passage("Ben.", 1, title="Bern"))
    chosen = Chosen(blocks, (0.5, 0.5), (None, None))
    text, _ = module._written(chosen)
    across, title = Span(0, text.index("was"), len(text) - 1, 5.0), Span(0, 0, 4, 5.0)
    inside = Span(0, text.index("Ada"), text.index("Ada") + 3, 4.0)
    answer = read_chosen(Scripted(across, title, inside), "?", chosen, bias=0.0)
    assert [candidate.text for candidate in answer.answers] == ["Ada"]
    assert answer.probability <= 1


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.sampled_from(["Ada lives", " in ", "Oslo.", "\n", "🙂", "\r\n\t", "e\u0301 tower", ", "]), min_size=1)
)
def test_citations_are_slices_of_the_document(reader, parts):
    text = "".join(parts)
    answer = answer_by_recall(reader, "where does ada live ?", [passage(text)], RECALL, bias=9.0)
    assert (answer.text is None) == (not any(one.answer_span for one in answer.evidence))
    for one in answer.evidence:
        assert text[one.passage.start : one.passage.end] == one.passage.text
        if one.answer_span:
            cited = one.passage.text[slice(*one.answer_span)]
            assert answer_key(cited) == answer_key(answer.text)


def test_what_two_passages_share_is_taken_once_and_keeps_its_passage():
    text = "Ada lives in Oslo. Ben lives in Bern. Cleo lives in Rome."
    first, second = passage(text[:37], 0), passage(text[19:], 1, start=19)
    other = passage("Dan.", 2, document="e")
    ordered = module._in_order([second, other, first])
    assert [one.text for one in ordered] == [text[:37], text[37:], "Dan."]
    assert [one.id for one in ordered] == ["p0", "p1", "p2"]
    assert module._in_order([first, first]) == [first]


def test_a_generator_reads_neighbours_as_one_passage_best_first(reader):
    tokenizer = reader.windower.tokenizer
    retrieved = passages_by_recall("who built the tower ?", [passage(TEXT)], RECALL, tokenizer=tokenizer, window=60)
    found, log_prior = [one.passage for one in retrieved], [one.log_prior for one in retrieved]
    assert sum(math.exp(one) for one in log_prior) == pytest.approx(1)
    assert log_prior == sorted(log_prior, reverse=True)
    assert all(TEXT[one.start : one.end] == one.text for one in found)
    ends = sorted((one.start, one.end) for one in found)
    assert all(a[1] < b[0] for a, b in pairwise(ends))


def test_very_many_blocks_are_sieved_by_words_first(reader, monkeypatch):
    monkeypatch.setattr(module, "SIEVED", 3)
    seen = []

    class Counting(LexicalScorer):
        def score(self, question, texts):
            seen.append(len(texts))
            return super().score(question, texts)

    recall = MemRecall(scorer=Counting())
    chosen = choose("tower", [passage(TEXT)], recall, tokenizer=reader.windower.tokenizer, window=40)
    assert seen == [3]
    assert all("tower" in one.text for one in chosen.blocks)


def test_nothing_is_chosen_where_everything_fits(reader):
    assert fits(reader, "who ?", [passage("Ada lives in Oslo.")])
    assert not fits(reader, "who ?", [passage(TEXT)])
    assert not fits(reader, "who ?", [passage("Ada."), passage("Ben.", 1)])


def test_a_blank_text_has_no_answer(reader):
    answer = answer_by_recall(reader, "who ?", [passage(" \n")], RECALL, bias=0.0)
    assert (answer.text, answer.evidence) == (None, ())
    tokenizer = reader.windower.tokenizer
    assert passages_by_recall("who ?", [passage(" \n")], RECALL, tokenizer=tokenizer, window=60) == []


@pytest.mark.slow
def test_ten_million_characters_are_cut_sieved_and_read_with_progress_and_little_memory(reader):
    line = "It was a tower, and he lives in it, and she was in Rome. "
    text = line * (9_900_000 // len(line)) + "Cleo built the bell of Bern. " + line * (100_000 // len(line))
    events, resident, before = [], [], resident_kib()

    def progress(event):
        events.append(event)
        resident.append(resident_kib())

    chosen = choose(
        "who built the bell of bern ?",
        [passage(text)],
        RECALL,
        tokenizer=reader.windower.tokenizer,
        window=40,
        progress=progress,
    )
    assert "Cleo built the bell" in " ".join(one.text for one in chosen.blocks)
    assert {event.stage for event in events} == {"cut", "judge"}
    assert len(events) > 100
    assert max(resident) - before < 600_000  # the text alone takes 10,000


def test_documents_of_one_id_and_several_sources_are_each_read_to_their_end(reader):
    texts = ["Ben lives in Bern.", "The tower was built in Rome.", "Ada lives in Oslo, and Cleo was there."]
    given = [replace(passage(text, document="7"), source=f"{n}.jsonl") for n, text in enumerate(texts)]
    tokenizer = reader.windower.tokenizer
    chosen = choose("who built the tower ?", given, RECALL, tokenizer=tokenizer, window=200)
    assert [one.text for one in chosen.blocks] == texts
    assert [one.source for one in chosen.blocks] == [one.source for one in given]


def test_each_document_is_written_under_its_own_title_though_ids_are_the_same():
    blocks = tuple(
        replace(passage(text, document="7", title=title), source=title)
        for title, text in (("First", "Ben lives in Bern."), ("Second", "Ada lives in Oslo."))
    )
    text, places = module._written(Chosen(blocks, (0.5, 0.5), (None, None)))
    assert text == "First. Ben lives in Bern.\nSecond. Ada lives in Oslo."
    assert [text[start:end] for start, end in places] == [one.text for one in blocks]
