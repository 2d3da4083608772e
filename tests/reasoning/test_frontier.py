"""The search: where it begins, what it follows, when it reads a page again, and when it ends."""

import time
from dataclasses import replace

import pytest

from memptm.errors import InputError
from memptm.memory.in_memory import InMemoryIndex
from memptm.reasoning.findings import Findings
from memptm.reasoning.frontier import ANSWERED, Frontier
from memptm.reasoning.linker import Linker
from memptm.types import Passage
from tests.memory.toy import Toy
from tests.reasoning.toy import ByName, expand, index_of, page, passage

CHAIN = (
    ("Cape Morrow", "Cape Morrow has a lighthouse. Its engineer was Ada Trent."),
    ("Ada Trent", "Ada Trent was born in Penhollow."),
    ("Penhollow", "Penhollow is a town. It dates from 1340."),
    ("Otter Review", "A magazine about rivers."),
)
ASKED = "How old is the town that the engineer of Cape Morrow came from?"


def test_it_goes_from_the_page_the_question_names_along_the_names_in_the_pages():
    result = expand(index_of(*CHAIN), ASKED)
    assert next(node.page.name for node in result.nodes) == "Cape Morrow"
    ada, town = page(result, "Ada Trent"), page(result, "Penhollow")
    assert [clue.text for _, clue in ada.clues] == ["Its engineer was Ada Trent."]
    assert [clue.text for _, clue in town.clues] == ["Ada Trent was born in Penhollow."]
    assert page(result, "Cape Morrow").named == (ASKED.index("Cape"), ASKED.index("Cape") + len("Cape Morrow"))
    assert Findings(result).path_to(town.id) == (0, ada.id, town.id)


def test_a_page_that_names_itself_does_not_lead_to_itself():  # F87
    result = expand(index_of(*CHAIN), ASKED)
    assert all(source != target for source, target in Findings(result).edges)
    lone = Findings(
        expand(index_of(("Lynx Journal", "Lynx Journal began in 1934. Lynx Journal is old.")), "When did it begin?")
    )
    assert lone.edges == {}


def test_a_page_that_waits_already_keeps_its_second_clue():
    both = index_of(
        ("Alder", "Alder adjoins Cedar."), ("Birch", "Birch overlooks Cedar."), ("Cedar", "Cedar was founded in 1900.")
    )
    system1 = ByName()
    result = expand(both, "What do Alder and Birch share?", system1=system1, k=1)
    cedar = page(result, "Cedar")
    assert [clue.text for _, clue in cedar.clues] == ["Alder adjoins Cedar.", "Birch overlooks Cedar."]
    assert ("Cedar", ("Alder adjoins Cedar.", "Birch overlooks Cedar.")) in system1.read


def test_a_page_that_was_read_is_read_again_with_a_new_clue():
    far = index_of(
        ("Alder", "Alder adjoins Cedar, near Dogwood."),
        ("Dogwood", "Dogwood looks down on Cedar."),
        ("Cedar", "Cedar was founded in 1900."),
    )
    system1 = ByName()
    result = expand(far, "What is next to Alder?", system1=system1)
    readings = [clues for name, clues in system1.read if name == "Cedar"]
    assert page(result, "Cedar").visits == 2
    assert set(readings[0]) < set(readings[1])


class Half(ByName):
    """Hops of some pages are below the threshold."""

    def __init__(self, *below_threshold):
        super().__init__()
        self.below_threshold = below_threshold

    def _page_reading(self, page):
        reading = super()._page_reading(page)
        return replace(reading, hops=()) if page.passage.title in self.below_threshold else reading


UNTITLED = (
    ("Cape Morrow", "Cape Morrow has a lighthouse. Its engineer was Ada Trent."),
    ("People", "Ada Trent was born in Penhollow."),
    ("Towns", "Penhollow is a town. It dates from 1340."),
)


def test_hops_below_the_threshold_are_followed_once_and_only_where_nothing_led_anywhere():
    memory, system1 = index_of(*UNTITLED), ByName(shy=True)
    result = expand(memory, ASKED, system1=system1)
    assert "Its engineer was Ada Trent." in [clue.text for _, clue in page(result, "Ada Trent").clues]
    assert page(result, "Towns").clues == []  # below the threshold of a page that was read afterwards
    assert len(system1.read) == len({name for name, _ in system1.read})  # nothing is read anew for it
    assert page(expand(memory, ASKED, system1=Half("People")), "Towns").clues == []


def test_where_system_1_finds_nothing_to_follow_the_names_of_other_pages_are_followed():
    result = expand(index_of(*CHAIN), ASKED, system1=ByName(shy=True))
    assert [clue.text for _, clue in page(result, "Ada Trent").clues] == ["Its engineer was Ada Trent."]
    assert [clue.text for _, clue in page(result, "Penhollow").clues] == ["Ada Trent was born in Penhollow."]
    assert page(result, "Cape Morrow").clues == []
    assert page(expand(index_of(*CHAIN), ASKED, system1=Half("Ada Trent")), "Penhollow").clues


def test_the_next_nearest_are_read_where_no_name_leads_on_and_never_before_a_page_that_one_led_to():
    apart = index_of(*CHAIN, ("Heron Review", "A magazine about herons."))
    result = expand(apart, ASKED, k=1)
    chain, others = ("Cape Morrow", "Ada Trent", "Penhollow"), ("Otter Review", "Heron Review")
    assert {node.page.name for node in result.nodes} == {*chain, *others}
    assert all(0 < page(result, name).seed_score < 0.8 for name in others)
    assert {node.page.name for node in expand(apart, ASKED, k=1, pages=3).nodes} == set(chain)


class Opposed(Toy):
    """Whatever is asked points away from every passage."""

    def encode_questions(self, texts):
        return -super().encode_questions(texts)


def test_passages_that_point_away_from_the_question_start_at_nothing_and_are_read():
    passages = [passage(name, text) for name, text in CHAIN]
    result = expand(InMemoryIndex(passages, Opposed()), "a magazine about a lighthouse and a town", k=1)
    assert len(result.nodes) == len(CHAIN)
    assert min(node.seed_score for node in result.nodes) == 0.0
    assert sum(Findings(result).shares) == pytest.approx(1.0)


def test_the_next_nearest_are_not_read_where_both_things_compared_were():
    apart = index_of(*CHAIN, ("Heron Review", "A magazine about herons."))
    for asked, pages in (("Is Ada Trent from Penhollow?", 2), ("Is Ada Trent from Cornwall?", 5)):
        assert len(expand(apart, asked, k=1, system1=Half(*(name for name, _ in CHAIN))).nodes) == pages


def test_a_name_leads_to_all_passages_of_its_document_where_one_was_found_before():
    town = [
        passage(title, text)
        for title, text in (("Penhollow", "Penhollow is a town."), ("Penhollow", "It dates from 1340."))
    ]
    town = [replace(one, id=str(n), start=n * 100, end=n * 100 + len(one.text)) for n, one in enumerate(town)]
    ada = passage("Ada Trent", "Ada Trent was born in Penhollow.")
    memory = InMemoryIndex([*town, ada], Toy())
    result = expand(memory, "is a town what the home of Ada Trent is?", k=1, pages=2)
    assert [place.passage.text for place in Findings(result).read_passages if place.passage.title == "Penhollow"] == [
        "Penhollow is a town.",
        "It dates from 1340.",
    ]
    assert page(result, "Penhollow").clues


def test_the_next_nearest_are_not_read_where_something_answers():
    class Sure(ByName):
        def _page_reading(self, page):
            reading = super()._page_reading(page)
            return replace(reading, log_mass=ANSWERED + 1) if reading.spans else reading

    apart = index_of(*CHAIN, ("Heron Review", "A magazine about herons."))
    result = expand(apart, ASKED, k=1, system1=Sure())
    assert {node.page.name for node in result.nodes} == {"Cape Morrow", "Ada Trent", "Penhollow"}
    assert result.stopped == ""


def test_the_number_of_pages_holds_and_the_best_are_read():
    for pages in (1, 2, 3):
        result = expand(index_of(*CHAIN), ASKED, pages=pages, k=4)
        assert len(result.nodes) == pages
        assert result.stopped == "pages"
        assert result.nodes[0].page.name == "Cape Morrow"
        assert max(node.id for node in result.nodes) == pages - 1


def test_a_limit_of_time_still_reads_once():
    result = expand(index_of(*CHAIN), ASKED, seconds=1e-9)
    assert result.nodes
    assert result.stopped == "seconds"


@pytest.mark.parametrize("limits", [{"pages": 0}, {"pages": -3}, {"seconds": 0.0}])
def test_a_limit_of_nothing_is_refused(limits):
    with pytest.raises(InputError, match=r"nothing to read|no time"):
        Frontier(Linker(index_of(*CHAIN), ASKED), ByName(), **limits)


def test_two_searches_are_the_same():
    one, other = (expand(index_of(*CHAIN), ASKED, k=4) for _ in range(2))
    assert [(v.page, v.clues, v.visits) for v in one.nodes] == [(v.page, v.clues, v.visits) for v in other.nodes]


@pytest.mark.parametrize("field", ["document", "id", "start"])
def test_two_passages_that_differ_in_one_thing_alone_are_two(field):
    texts = ["it rains a lot here.", "it snows a lot there."]
    given = [{"id": "1", "document": "a", "source": "talk.jsonl", "start": 0, "end": 9}] * 2
    given[1] = given[1] | {field: 5 if field == "start" else "2"}
    passages = [Passage(text=text, **one) for text, one in zip(texts, given, strict=True)]
    result = expand(InMemoryIndex(passages, Toy()), "does it rain?", k=2)
    assert {place.passage.text for place in Findings(result).read_passages} == set(texts)


def test_a_page_knows_all_its_names_in_the_question():
    asked = "Is Cape Morrow near Penhollow, and was Cape Morrow lit?"
    morrow = page(expand(index_of(*CHAIN), asked), "Cape Morrow")
    assert morrow.names == [(3, 14), (39, 50)]
    assert morrow.named == (3, 14)


class Slow(ByName):
    """Each batch takes a while."""

    def read_pages(self, question, pages):
        time.sleep(0.05)
        return super().read_pages(question, pages)


@pytest.mark.parametrize("shy", [False, True])
def test_hops_below_the_threshold_and_the_reserve_are_held_to_the_time_too(shy):
    result = expand(index_of(*CHAIN), ASKED, system1=Slow(shy=shy), seconds=0.04)
    assert {node.page.name for node in result.nodes} == {"Cape Morrow", "Penhollow"}
    assert result.stopped == "seconds"


def test_passages_without_any_name_are_read_all_the_same():  # F89
    result = expand(index_of(("", "it rains a lot here.")), "does it rain?")
    assert [(node.page.kind, node.page.name) for node in result.nodes] == [("passage", "it rains a lot here.")]
    assert Findings(result).edges == {}


def test_nothing_to_read_is_no_result():
    assert expand(index_of(), "Who?").nodes == ()
