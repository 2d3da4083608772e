"""A document read whole, in parts; and the pages of what is cited."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memptm.generation.reader import Reader
from memptm.selection import read_document as whole
from memptm.selection.read_document import answer_from_all, passage_of, with_own_keys, with_pages
from memptm.types import Answer, Block, Document, Evidence, Passage
from tests.generation import tiny_reader
from tests.naive import assert_near

SENTENCE = "Ada lives in Oslo, and Ben lives in Bern. "


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    return Reader.load(tiny_reader.reader(tmp_path_factory.mktemp("reader"), window=64, stride=16, read_bias=9))


def test_parts_cover_the_text_and_end_at_blanks(monkeypatch):
    monkeypatch.setattr(whole, "PART", 100)
    text = SENTENCE * 20 + "x" * 350
    parts = list(whole._parts(text))
    assert "".join(text[start:end] for start, end in parts) == text
    assert all(end - start <= 100 for start, end in parts)
    assert all(text[end - 1] == " " for _, end in parts[:8])


def test_reading_in_parts_is_told_of_and_cites_the_blocks_of_the_answer(reader, monkeypatch):
    monkeypatch.setattr(whole, "PART", 200)
    text, events = "🙂 " + SENTENCE * 30, []
    answer = answer_from_all(reader, "where does ada live ?", [passage_of(Document(text=text))], progress=events.append)
    assert [event.done for event in events][-1] == events[-1].total == len(text)
    assert len(events) > 5
    assert answer.text is not None
    for one in answer.evidence:
        assert text[one.passage.start : one.passage.end] == one.passage.text
        assert len(one.passage.text) < 1000
        assert one.passage.text[slice(*one.answer_span)] == answer.text


def test_what_fits_one_part_is_read_as_the_reader_reads_it(reader):
    passages = [passage_of(Document(text=SENTENCE * 6, id=str(n), title="A")) for n in range(2)]
    ours, theirs = answer_from_all(reader, "who ?", passages), reader.answer("who ?", passages)
    assert_near((ours.text, ours.probability, ours.answers), (theirs.text, theirs.probability, theirs.answers))
    posteriors = [one.posterior for one in theirs.evidence if one.answer_span]
    assert_near([one.posterior for one in ours.evidence], posteriors)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.builds(
            Document,
            text=st.sampled_from(["x", "y", "z"]),
            id=st.sampled_from(["", "1", "text", "text (2)", "1 (2)"]),
            source=st.sampled_from(["", "a"]),
        ),
        max_size=8,
    )
)
def test_documents_in_hand_have_keys_of_their_own_and_lose_no_text(documents):
    ours = with_own_keys(documents)
    assert len({one.key for one in ours}) == len(ours)
    assert len({passage_of(one).key for one in ours}) == len(ours)
    told_apart = {(one.key, one.text) for one in documents}
    assert sorted((one.source, one.text) for one in ours) == sorted((source, text) for (source, _), text in told_apart)
    alone = [one for one in documents if one.id and sum(other.key == one.key for other in documents) == 1]
    assert all(any((mine.key, mine.text) == (one.key, one.text) for mine in ours) for one in alone)


def test_citations_name_the_page_they_begin_on():
    blocks = (Block(start=0, end=10, page=1), Block(start=12, end=20, page=3))
    paged, plain = Document(id="a", text="x" * 20, blocks=blocks), Document(id="b", text="y" * 20)

    def cited(document, start):
        found = Passage(id=document, document=document, text="xx", start=start, end=start + 2)
        return Evidence(passage=found, prior=1.0, posterior=1.0)

    answer = Answer(
        question="?",
        text="x",
        probability=1.0,
        method="reader",
        evidence=(cited("a", 2), cited("a", 12), cited("a", 11), cited("b", 3)),
    )
    assert [one.passage.page for one in with_pages(answer, [paged, plain]).evidence] == [1, 3, 1, None]
