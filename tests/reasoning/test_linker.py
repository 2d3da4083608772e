"""From names to passages, by title, heading, mention and search; and only to what is in the memory now."""

import pytest

from memptm import Document, Memory
from memptm.memory.in_memory import InMemoryIndex
from memptm.memory.titles import Titles, name_key
from memptm.reasoning.linker import Linker, Wanted, page_of
from memptm.reasoning.names import capitalised, names
from memptm.types import Block, Passage
from tests.memory.toy import Toy


def own(name):
    """Key of a document's one passage, without a source."""
    return ("", name, name, 0)


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
    tom, back = linker.link([Wanted("Tom Bass"), Wanted("Tom Bass", frozenset({own("3")}))])
    assert (tom.kind, tom.name, tom.passages[0].id) == ("entity", "Tom Bass", "3")
    assert back is None


def test_a_title_does_not_lead_from_its_own_page(memory):
    assert Linker(memory, "Who?").link([Wanted("Ada Trent", frozenset({own("2")}))], search=False) == [None]


def long_document(tmp_path, *, heading=""):
    """One of 90 passages; the last but one says what is asked."""
    said = [f"Nothing is told on page {n}." for n in range(90)]
    said[88] = "The bell of Orme weighs nine tons."
    text, blocks = "", []
    for n, one in enumerate([heading, *said] if heading else said):
        kind = {"kind": "heading", "level": 1} if one == heading else {"kind": "turn", "id": str(n)}
        blocks.append(Block(start=len(text), end=len(text) + len(one), **kind))
        text += f"{one}\n\n"
    encoder = Toy()
    memory = Memory.open(tmp_path / "index", create=True, encoder=encoder)
    memory.add([Document(id="orme", title="" if heading else "Orme", text=text, blocks=tuple(blocks))])
    return memory, encoder


@pytest.mark.parametrize("heading", ["", "Orme"])
def test_all_of_a_long_document_is_searched_for_what_stands_for_it_with_the_keys_that_are_stored(tmp_path, heading):
    memory, encoder = long_document(tmp_path, heading=heading)
    assert len(memory) >= 90
    encoder.encoded.clear()
    (found,) = Linker(memory, "How much does the bell weigh?").link([Wanted("Orme")])
    assert (found.kind, len(found.passages)) == ("heading" if heading else "title", 3)
    assert any("nine tons" in one.text for one in found.passages)
    assert [one.start for one in found.passages] == sorted(one.start for one in found.passages)
    assert encoder.encoded == []
    last = list(memory.passages())[-1]
    if not heading:
        assert Linker(memory, "Who?").link([Wanted("Orme", frozenset({last.key}))], search=False) == [None]


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


def test_what_is_in_brackets_may_be_missing_from_the_title_but_not_be_another():
    titles = Titles([(0, "Mercury", ()), (1, "Tennis (magazine)", ())])
    assert titles.find("Mercury (planet)") == [0]
    assert titles.find("Tennis") == titles.find("Tennis (magazine)") == [1]
    assert titles.find("Tennis (song)") == []


def test_titles_in_scripts_without_capitals_are_names():
    titles = Titles([(0, "北京", ()), (1, "şehir", ())])
    text = "Where is 北京 , and where is şehir ?"
    assert [text[s:e] for s, e in titles.mentions(text)] == ["北京"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("the player Šarūnas Jasikevičius of Ørsted sang", ["Šarūnas Jasikevičius of Ørsted"]),
        ("the book Анна Каренина by him", ["Анна Каренина"]),
        ("the painter Zoe\u0301 Ma\u0301rquez came", ["Zoe\u0301 Ma\u0301rquez"]),
        ("the first iPhone was sold", ["iPhone"]),
        ("the word mRNA is none", []),
        ("WHO DIRECTED THE FILM ALIEN?", []),
        ("NASA", ["NASA"]),
        ("Between Ada Trent and Tom Bass", ["Ada Trent", "Tom Bass"]),
    ],
)
def test_capitals_of_all_scripts_begin_names_and_none_begins_inside_a_word(text, said):
    assert [text[s:e] for s, e in capitalised(text)] == said


def test_without_titles_or_a_tagger_words_in_capitals_are_names():
    text = "When Ada Trent of Penhollow met the Bank of England, She smiled. Rain fell."
    assert [text[s:e] for s, e in capitalised(text)][:2] == ["Ada Trent of Penhollow", "Bank of England"]
    assert capitalised("it rains a lot here.") == []
    two = "He met Ada Trent. Tom Bass left, and John C. Reilly and Prof. Ann Lee came."
    assert [two[s:e] for s, e in capitalised(two)] == ["Ada Trent", "Tom Bass", "John C. Reilly", "Prof. Ann Lee"]
    assert names(["it rains a lot here."], Titles([])) == [[]]


def test_keys_of_names():
    assert name_key("  The  “Sea” ") == "the “sea"
    assert name_key("ﬁre") == "fire"


@pytest.mark.parametrize("headings", [("Engines", "Dario Quint"), ("Dario Quint",)])
def test_a_section_of_a_file_is_a_page_that_goes_by_its_heading(headings):
    text = "Dario Quint is a fitter from Lugo."
    section = Passage(id="e#1", document="e", text=text, start=9, end=9 + len(text), title="Engines", headings=headings)
    assert (page_of(section).kind, page_of(section).name) == ("heading", "Dario Quint")
    assert page_of(section, wanted="Dario Quint").name == "Dario Quint"
    assert (page_of(section, wanted="Engines").kind, page_of(section, wanted="engines").name) == ("title", "Engines")


def section(number, title, heading, text):
    at = 100 * number
    return Passage(
        id=f"{title}#{number}",
        document=title,
        text=text,
        start=at,
        end=at + len(text),
        title=title,
        headings=(heading,),
    )


def test_a_passage_mentions_titles_and_headings_of_others_but_no_heading_that_several_documents_have():
    passages = [
        section(
            0, "Pumps", "Magpie", "The Magpie pump was installed by Sofia Brand. Magpie Notes say so, see Storage."
        ),
        section(1, "Pumps", "Sofia Brand", "Sofia Brand is an electrician."),
        section(2, "Pumps", "Storage", "Keys are kept by the porter."),
        section(0, "Magpie Notes", "Storage", "Notes are kept dry."),
    ]
    linker = Linker(InMemoryIndex(passages, Toy()), "Who installed it?")
    text = passages[0].text
    assert [text[start:end] for start, end in linker.mentions(passages[0])] == ["Sofia Brand", "Magpie Notes"]
    asked = Linker(InMemoryIndex(passages, Toy()), "Which pump is in Magpie Notes?")
    assert [text[start:end] for start, end in asked.mentions(passages[0])] == ["Sofia Brand"]
