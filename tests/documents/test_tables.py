"""Tables as records."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memptm.documents.draft import Draft
from memptm.documents.split import split
from memptm.documents.tables import CELLS, ROW, TABLE, add_table, between_cells, fill_spans, table
from memptm.types import Document


def drawn(rows, **options):
    draft = Draft()
    add_table(draft, rows, **options)
    return draft.finish()


def lines(rows, **options):
    return drawn(rows, **options).text.split("\n")


def test_a_row_is_a_record_that_names_its_columns():
    made = drawn([["Boat", "Length"], ["Wren", "6.4 m"], ["Teal", ""]])
    assert made.text == "Boat: Wren; Length: 6.4 m\nBoat: Teal"
    assert [block.kind for block in made.blocks] == ["record", "record"]
    assert [block.metadata for block in made.blocks] == [
        {ROW: 2, CELLS: {"Boat": "Wren", "Length": 6.4}},
        {ROW: 3, CELLS: {"Boat": "Teal"}},
    ]


def test_records_are_passages_of_their_own_and_never_overlap():
    made = drawn([["Part", "Shelf"], *([f"part {n}", f"C{n}"] for n in range(50))])
    passages = split(Document(text=made.text, blocks=made.blocks), words=120, overlap=20)
    assert [passage.text for passage in passages] == [f"Part: part {n}; Shelf: C{n}" for n in range(50)]


def test_titles_above_the_names_are_kept_and_name_the_table():
    made = drawn(
        [["Keys given out", "", ""], ["Key", "Holder", "Since"], ["Shed", "Ola", "2024"], ["Gate", "Kim", "2025"]]
    )
    assert made.text == "Keys given out\nKey: Shed; Holder: Ola; Since: 2024\nKey: Gate; Holder: Kim; Since: 2025"
    assert {block.metadata.get(TABLE) for block in made.blocks if block.kind == "record"} == {"Keys given out"}
    assert [block.metadata[ROW] for block in made.blocks if block.kind == "record"] == [3, 4]


def test_a_form_of_labels_and_entries_is_one_record():
    assert lines([["Place:", "Hove"], ["Load:", "900 kg"], ["Inspector:", "Karl Vogt"]]) == [
        "Place: Hove; Load: 900 kg; Inspector: Karl Vogt"
    ]
    assert lines([["Place", "Hove"], ["Date", "3 May 2024"], ["Load", "900"], ["By", "Karl Vogt"]]) == [
        "Place: Hove; Date: 3 May 2024; Load: 900; By: Karl Vogt"
    ]


def test_two_columns_with_names_are_a_table():
    assert lines([["Country", "Capital"], ["Freedonia", "Fredville"], ["Sylvania", "Dracsburg"]]) == [
        "Country: Freedonia; Capital: Fredville",
        "Country: Sylvania; Capital: Dracsburg",
    ]


def test_names_in_two_rows_are_joined():
    rows = [["Size", "Mooring", "Mooring"], ["", "night", "season"], ["to 6 m", "14", "690"], ["to 8 m", "19", "940"]]
    assert lines(rows)[0] == "Size: to 6 m; Mooring night: 14; Mooring season: 690"


def test_columns_of_one_name_are_told_apart():
    (words,) = lines([["Name", "Date", "Date"], ["Ann", "2024-01-02", "2025-01-02"]])
    assert words == "Name: Ann; Date: 2024-01-02; Date (2): 2025-01-02"


def test_a_grid_without_names_keeps_its_cells():
    assert lines([["1", "2", "3"], ["4", "5", "6"]]) == ["1; 2; 3", "4; 5; 6"]


def test_rows_of_one_cell_stand_where_they_stood():
    rows = [["Boat", "Berth", "Owner"], ["Wren", "A1", "Ann"], ["Visitors", "", ""], ["Teal", "B1", "Bo"]]
    text = drawn(rows).text
    assert text.index("Wren") < text.index("Visitors") < text.index("Teal")


@pytest.mark.parametrize("rows", [[], [[]], [["", ""], ["", ""]]])
def test_nothing_is_no_table(rows):
    assert table(rows) is None
    assert drawn(rows).text == ""


def test_spans_are_filled():
    cells = [[("Class", 1, 1), ("Boat", 1, 1)], [("Open", 2, 1), ("Wren", 1, 1)], [("Teal", 1, 1)], [("none", 1, 2)]]
    assert fill_spans(cells) == [["Class", "Boat"], ["Open", "Wren"], ["Open", "Teal"], ["none", "none"]]


@given(
    st.lists(
        st.lists(st.tuples(st.text("ab", max_size=2), st.integers(-1, 4), st.integers(-1, 4)), max_size=4), max_size=5
    )
)
def test_spans_of_any_size_make_a_grid_that_holds_every_cell(cells):
    grid = fill_spans(cells)
    assert len(grid) == len(cells)
    for row, filled in zip(cells, grid, strict=True):
        for text, _, _ in row:
            assert text in filled


cells = st.text("abcdeé ;:", max_size=8)


@given(st.lists(st.lists(cells, max_size=5), max_size=8))
def test_no_cell_is_lost(rows):
    text = " ".join(drawn([["A", "B", "C", "D", "E"], *rows]).text.split())
    for row in rows:
        for cell in row:
            assert " ".join(cell.split()) in text


def test_what_lies_between_the_cells_of_a_record_is_known():
    made = drawn([["Note: what", "Shelf"], ["Shelf: the lower; one", "C2"], ["b", "Shelf: C3"]])
    first, second = split(Document(text=made.text, blocks=made.blocks))
    for passage, cells in ((first, ["Shelf: the lower; one", "C2"]), (second, ["b", "Shelf: C3"])):
        kept, at = [], 0
        for start, end in [*between_cells(passage), (len(passage.text), len(passage.text))]:
            kept.append(passage.text[at:start])
            at = end
        assert [cell for cell in kept if cell] == cells
    assert between_cells(split(Document(text="Shelf: C2; lamp: new"))[0]) == []
