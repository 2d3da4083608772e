"""The untrained System 1: which names of a page it follows, and that its reader sees the clues."""

import pytest

from memptm.generation.reader import Reader
from memptm.memory.titles import Titles
from memptm.reasoning.system1 import PageInput
from memptm.reasoning.untrained_system1 import Untrained
from memptm.types import Passage
from tests.memory.toy import Toy

ASKED = "In which town was the engineer born?"


def passage(text, title="Cape Morrow", headings=()):
    return Passage(id="p", document="d", text=text, start=0, end=len(text), title=title, headings=headings)


@pytest.fixture(scope="module")
def system1():
    return Untrained(Reader.load(), Toy(), Titles([(0, "India", ()), (1, "Leeds", ())]))


def mass(system1, page_input):
    (reading,) = system1.read_pages(ASKED, [page_input])
    return reading.log_mass


def test_the_last_of_four_clues_is_read_too(system1):
    said = ("The lighthouse stands on a rock near the mouth of the old harbour, and was lit in the spring.",) * 3
    page = passage("He was born in Leeds.", headings=("Engineers of the coast", "Builders of lighthouses"))
    one, other = (
        mass(system1, PageInput(page, (*said, last))) for last in ("The engineer was Tom.", "It rained on Sunday.")
    )
    assert one != other


def test_where_clues_are_too_many_the_weakest_is_left_out_whole(system1):
    page = passage("He was born in Leeds.")
    clues = tuple(f"{word} " + "heron " * 50 for word in ("alpha", "beta", "gamma"))
    read = system1.reader.with_clues(PageInput(page, clues, (0.9, 0.1, 0.8))).context
    assert read.startswith("Cape Morrow. alpha")
    assert read.count("heron") == 100
    assert "beta" not in read


def test_a_page_without_clues_is_read_as_the_plain_reader_reads_it(system1):
    plain = Reader.load()
    for page in (passage("He was born in Leeds."), passage("He was born in Leeds.", headings=("heron " * 90,))):
        (reading,) = plain.read([ASKED], [[page]])
        assert mass(system1, PageInput(page)) == pytest.approx(reading.log_mass[0], abs=1e-4)


def test_a_name_that_is_a_part_of_a_word_of_the_question_is_new(system1):
    page = passage("Leeds traded with India.")
    for asked, wanted in (("Which Indiana county is it?", {"Leeds", "India"}), ("Where in India is it?", {"Leeds"})):
        (reading,) = system1.read_pages(asked, [PageInput(page)])
        assert {page.text[hop.start : hop.end] for hop in reading.hops} == wanted
