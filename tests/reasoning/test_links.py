"""From names to passages, by title, heading, mention and search; and only to what is in the memory now."""

import pytest

from memptm import Document, Memory
from memptm.memory.titles import Titles, name_key
from memptm.reasoning.links import Linker, Wanted
from memptm.reasoning.names import capitalised, names
from tests.memory.toy import Toy

OWN = "\n{}"  # identity of a passage without a source


@pytest.fixture
def memory(tmp_path):
    memory = Memory.open(tmp_path / "index", create=True, encoder=Toy())
    memory.add(
        [
            Document(id="1", title="Tennis (magazine)", text="A magazine about a game."),
            Document(
                id="2", title="Ada Trent", text="She drew the harbour of Cape Morrow.", metadata={"kind": "person"}
            ),
            Document(id="3", title="", text="The ferryman Tom Bass sings."),
        ]
    )
    return memory


def test_a_title_leads_to_its_passages_whatever_its_case_and_what_is_in_brackets(memory):
    linker = Linker(memory, "Who?")
    found = linker.link([Wanted("tennis"), Wanted("ADA TRENT"), Wanted("Tennis (Magazine)")])
    assert [(one.kind, one.passages[0].id) for one in found] == [("title", "1"), ("title", "2"), ("title", "1")]


def test_a_heading_is_a_name_too(tmp_path):
    path = tmp_path / "guide.md"
    path.write_text("# Guide\n\nOf ferns.\n\n## Royal Fern\n\nIt grows in bogs.\n", encoding="utf-8")
    memory = Memory.open(tmp_path / "index", create=True, encoder=Toy())
    memory.add([path])
    (found,) = Linker(memory, "Where?").link([Wanted("royal fern")])
    assert (found.kind, found.name) == ("heading", "Royal Fern")
    assert "bogs" in found.passages[0].text


def test_a_name_without_a_page_leads_to_where_it_is_mentioned_but_not_back(memory):
    linker = Linker(memory, "Who?")
    tom, own = linker.link([Wanted("Tom Bass"), Wanted("Tom Bass", frozenset({OWN.format("3")}))])
    assert (tom.kind, tom.name, tom.passages[0].id) == ("entity", "Tom Bass", "3")
    assert own is None


def test_a_title_does_not_lead_from_its_own_page(memory):
    assert Linker(memory, "Who?").link([Wanted("Ada Trent", frozenset({OWN.format("2")}))], search=False) == [None]


def test_what_is_removed_is_linked_no_more(memory):  # F28
    assert Linker(memory, "Who?").link([Wanted("Ada Trent")])[0] is not None
    memory.remove(ids=["2"])
    for fresh in (memory, Memory.open(memory.path, encoder=Toy())):
        assert Linker(fresh, "Who?").link([Wanted("Ada Trent")], search=False) == [None]
    memory.add([Document(id="2", title="Ada Trent", text="Back again.")])
    assert Linker(memory, "Who?").link([Wanted("Ada Trent")])[0].passages[0].text == "Back again."


def test_a_filter_holds_for_links(memory):
    linker = Linker(memory, "Who?", where="kind = 'person'")
    assert linker.link([Wanted("Ada Trent")])[0] is not None
    assert linker.link([Wanted("Tennis"), Wanted("Tom Bass")], search=False) == [None, None]


def test_names_of_the_index_are_found_in_text_longest_first():
    titles = Titles([(0, "Bank of England", ()), (1, "England", ()), (2, "It (film)", ()), (3, "the door", ())])
    text = "It rained on the Bank of England's roof; England, the door and The Door."
    assert [text[s:e] for s, e in titles.mentions(text)] == ["Bank of England", "England", "The Door"]
    assert titles.find("bank  of ENGLAND") == [0]
    assert titles.find("It") == [2]
    assert titles.find("nobody") == []


def test_without_titles_or_a_tagger_words_in_capitals_are_names():
    text = "When Ada Trent of Penhollow met the Bank of England, She smiled. Rain fell."
    assert [text[s:e] for s, e in capitalised(text)][:2] == ["Ada Trent of Penhollow", "Bank of England"]
    assert capitalised("it rains a lot here.") == []
    assert names(["it rains a lot here."], Titles([])) == [[]]


def test_keys_of_names():
    assert name_key("  The  “Sea” ") == "the “sea"
    assert name_key("ﬁre") == "fire"
