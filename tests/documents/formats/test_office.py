"""Office files that LibreOffice wrote (tests/documents/files): what a person sees in them is there."""

from __future__ import annotations

from pathlib import Path

import docx
import openpyxl
import pptx
import pytest

from memptm.documents.load import Refused, load

FILES = Path(__file__).parents[1] / "files"
CREW = ["Name: Aino Berg; Duty: captain; Since: 3 May 2019", "Name: Tom Weir; Duty: engineer; Since: 11 June 2021"]


def read(name):
    warnings = []
    (document,) = load(FILES / name, warn=warnings.append)
    return document, warnings


def records(document):
    return [document.text[block.start : block.end] for block in document.blocks if block.kind == "record"]


@pytest.mark.parametrize("name", ["letter.odt", "letter.rtf", "letter.docx", "letter.epub", "letter.pdf"])
def test_a_letter_is_the_same_in_every_format(name):
    document, warnings = read(name)
    assert document.title == "Report on the ferry Marisol"
    assert "built in 1964 by the yard of Inga Thorsen. It carries 240" in document.text
    assert records(document)[:2] == CREW
    assert "Count the rafts." in document.text
    assert "4 850 m²" in document.text
    assert warnings == []


@pytest.mark.parametrize("name", ["letter.odt", "letter.pdf", "letter.rtf"])
def test_numbers_of_a_list_are_kept(name):
    text = " ".join(read(name)[0].text.split())
    assert "2. Count the rafts." in text


@pytest.mark.parametrize("name", ["letter.odt", "letter.docx", "letter.pdf"])
def test_headings_open_sections(name):
    document, _ = read(name)
    headings = [document.text[block.start : block.end] for block in document.blocks if block.kind == "heading"]
    assert headings[-2:] == ["Crew", "Checks"]


@pytest.mark.parametrize("name", ["boats.xlsx", "boats.ods"])
def test_a_workbook_shows_all_sheets_as_they_look(name):
    document, warnings = read(name)
    lines = document.text.split("\n")
    assert "Boat: Kelpie; Berth: B4 (note: moves to D2 in June); Length: 7.3 m; Paid: 2025-03-01" in lines
    assert "Boat: Sum; Length: 24.65" in lines  # the value that the formula had
    assert "Boats of the club, spring 2025" in lines  # over four merged cells, once
    assert [line.replace(" %", "%") for line in lines if "2024" in line] == ["Year: 2024; Rate: 4.15%"]
    assert "Rates (hidden sheet)" in lines
    assert warnings == [f"{FILES / name}: sheet 'Rates' is hidden; it goes in"]


@pytest.mark.parametrize("name", ["boats.xlsx", "boats.ods"])
def test_a_cells_value_is_kept_where_it_is_shown_rounded(name):
    document, _ = read(name)
    kelpie = next(block for block in document.blocks if "Kelpie" in document.text[block.start : block.end])
    assert kelpie.metadata["cells"]["Length"] == 7.25
    assert kelpie.metadata["sheet"] == "Boats"
    assert kelpie.metadata["row"] == 4


def test_a_sheet_of_decimal_commas():
    document, _ = read("stock.ods")
    assert records(document)[0] == "Part: Lamp oil; Shelf: C2; In stock: 14; Price: 12,50 €; Checked: 2025-03-04"
    assert document.blocks[0].metadata["cells"]["Price"] == 12.5
    assert document.blocks[0].metadata["cells"]["In stock"] == 14


@pytest.mark.parametrize("name", ["walk.pptx", "walk.odp"])
def test_slides_have_their_numbers_notes_and_tables(name):
    document, _ = read(name)
    pages = {document.text[block.start : block.end]: block.page for block in document.blocks}
    assert pages["Harbour walk"] == pages["Start at the crane\nEnd at the light"] == 1
    assert pages["Notes: Ask Mr Dunne for the key to the light."] == 1
    assert pages["Name: Farid; Brings: tea"] == 2


@pytest.mark.parametrize("name", sorted(path.name for path in FILES.iterdir()))
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_what_is_cut_short_is_read_or_refused_in_a_line(tmp_path, name, share):
    data = (FILES / name).read_bytes()
    (tmp_path / name).write_bytes(data[: int(share * len(data))])
    reason = ""
    documents = []
    try:
        documents = list(load(tmp_path / name, warn=lambda line: None))
    except Refused as refused:
        reason = refused.reason
    assert bool(documents) != bool(reason)
    assert "\n" not in reason


@pytest.mark.parametrize("said", ["PowerPoint Presentation", "KS_v3_FINAL", "draft.pptx", "Untitled"])
@pytest.mark.parametrize("ending", ["pptx", "xlsx", "docx"])
def test_what_a_program_wrote_as_a_title_is_none(tmp_path, said, ending):
    path = tmp_path / f"mooring plan.{ending}"
    file = {"pptx": pptx.Presentation, "xlsx": openpyxl.Workbook, "docx": docx.Document}[ending]()
    if ending == "pptx":
        file.slides.add_slide(file.slide_layouts[5]).shapes.title.text = "Who moors where"
    elif ending == "xlsx":
        file.active.append(["Boat", "Berth"])
        file.active.append(["Kelpie", "B4"])
    else:
        file.add_paragraph("Kelpie moors at B4.")
    properties = file.properties if ending == "xlsx" else file.core_properties
    for title, shown in ((said, "mooring plan"), ("Moorings of 2025, the plan", "Moorings of 2025, the plan")):
        properties.title = title
        file.save(path)
        (document,) = load(path, warn=lambda _: None)
        assert document.title == shown


def test_words_that_run_from_right_to_left_keep_their_order():
    document, warnings = read("hebrew.pdf")
    assert document.text.split("\n") == ["המגדלור נבנה בשנת 1871 על ידי איבנה לונד.", "הוא עומד על החוף הגבוה."]
    assert warnings == []
