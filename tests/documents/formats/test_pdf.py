"""PDF: columns, pages without text, ligatures, memory."""

from __future__ import annotations

import shutil

import pypdfium2
import pytest
from fpdf import FPDF

from memptm.documents.formats import scans
from memptm.documents.formats.layout import in_reading_order
from memptm.documents.formats.runs import Run
from memptm.documents.load import Refused, load
from memptm.documents.split import split
from memptm.types import Evidence
from tests.naive import resident_kib

LEFT = [
    "The harbour keeps an old seal",
    "that was found by divers in",
    "the wreck of the Morrow. It",
    "is round. The seal is",
]
RIGHT = [
    "made of copper. It shows a",
    "ship with three masts and",
    "a star above the bow. It is",
    "kept behind glass today.",
]


def lines(texts, left=20):
    return [(left, 30 + 6 * n, text) for n, text in enumerate(texts)]


def write(path, *pages, **options):
    file = FPDF()
    file.set_font("helvetica", size=12)
    for page in pages:
        file.add_page()
        for left, down, text in page:
            file.text(left, down, text)
        if not page:
            file.rect(20, 20, 100, 100, style="F")  # a picture of a page
    file.set_title(options.get("title", ""))
    if "password" in options:
        file.set_encryption(owner_password="o", user_password=options["password"])
    file.output(str(path))
    return path


def read(path):
    warnings = []
    (document,) = load(path, warn=warnings.append)
    return document, warnings


@pytest.mark.parametrize(
    "title", [[], [(20, 20, "A title that runs across both columns of this page from left to right")]]
)
def test_columns_are_read_one_after_the_other(tmp_path, title):  # F14
    woven = [line for pair in zip(lines(LEFT), lines(RIGHT, left=110), strict=True) for line in pair]
    document, warnings = read(write(tmp_path / "two.pdf", title + woven))
    assert "The seal is\nmade of copper." in document.text
    assert document.text.split("\n")[len(title) :] == LEFT + RIGHT
    assert warnings == []


def test_a_table_is_read_across(tmp_path):
    rows = [("Item", "Price"), ("Anchor", "7,340"), ("Rope", "12"), ("Red buoy", "99"), ("Lamp", "4")]
    cells = [
        cell
        for pair in zip(lines([a for a, _ in rows]), lines([b for _, b in rows], left=110), strict=True)
        for cell in pair
    ]
    document, _ = read(write(tmp_path / "table.pdf", cells))
    assert "Anchor  7,340" in document.text


def test_paragraphs_are_set_apart():
    runs = [
        Run(text=f"line {n}", left=0, right=99, bottom=-20 * n - (n > 2) * 15, top=14 - 20 * n - (n > 2) * 15)
        for n in range(6)
    ]
    (part,), sure = in_reading_order(runs)
    assert (part.text, sure) == ("line 0\nline 1\nline 2\n\nline 3\nline 4\nline 5", True)


def test_where_columns_and_a_table_look_alike_it_says_so():
    runs = [
        Run(text="two words", left=x, right=x + 60, bottom=-20 * n, top=14 - 20 * n) for n in range(5) for x in (0, 200)
    ]
    assert in_reading_order(runs)[1] is False


def test_pages_are_numbered_and_a_sentence_may_run_over_a_page(tmp_path):
    document, _ = read(
        write(
            tmp_path / "a.pdf",
            lines(["It began here and went"]),
            lines(["on for years. It ended well in the end."]),
            title="The log",
        )
    )
    assert document.title == "The log"
    assert document.metadata["pages"] == 2
    first, second = split(document, words=9, overlap=0)
    assert (first.text, first.page) == ("It began here and went\non for years.", 1)
    assert (second.text, second.page) == ("It ended well in the end.", 2)


def test_pages_without_text_are_named_and_counted(tmp_path, monkeypatch):  # F15
    monkeypatch.setattr(scans, "can_read", lambda: False)
    document, warnings = read(write(tmp_path / "a.pdf", lines(["One."]), [], lines(["Three."])))
    remedy = "install tesseract to have pictures read"
    assert warnings == [f"{tmp_path / 'a.pdf'}: no text on page 2 of 3 (scanned?); {remedy}"]
    assert document.metadata["pages_without_text"] == [2]
    assert [block.page for block in document.blocks] == [1, 3]


def test_a_pdf_without_any_text_is_refused(tmp_path):  # F15
    with pytest.raises(Refused, match=r"no text on its 2 pages \(scanned\?\)"):
        read(write(tmp_path / "a.pdf", [], []))


def minimal(path, code_point):
    """A PDF whose letter Z is mapped to ``code_point`` by its font."""
    content = b"BT /F 12 Tf 20 100 Td (Zeed of the Zag) Tj ET"
    cmap = (
        b"/CIDInit /ProcSet findresource begin begincmap 1 begincodespacerange <00> <ff> endcodespacerange 2 beginbfchar <5a> <%04x> <20> <0020> endbfchar 1 beginbfrange <61> <79> <0061> endbfrange endcmap end"
        % code_point
    )
    bodies = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 300 200]/Contents 4 0 R/Resources<</Font<</F 5 0 R>>>>>>",
        b"<</Length %d>>stream\n%s\nendstream" % (len(content), content),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica/ToUnicode 6 0 R>>",
        b"<</Length %d>>stream\n%s\nendstream" % (len(cmap), cmap),
    ]
    data, places = b"%PDF-1.4\n", []
    for number, body in enumerate(bodies, start=1):
        places.append(len(data))
        data += b"%d 0 obj%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    data += b"xref\n0 7\n0000000000 65535 f \n%strailer<</Size 7/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % (
        table,
        len(data),
    )
    path.write_bytes(data)
    return path


def test_ligatures_are_plain_letters(tmp_path):  # F12
    document, warnings = read(minimal(tmp_path / "a.pdf", 0xFB02))
    assert (document.text, warnings) == ("fleed of the flag", [])


def test_glyphs_without_a_letter_are_warned_of(tmp_path):  # F12
    document, warnings = read(minimal(tmp_path / "a.pdf", 0xE123))
    assert "eed of the" in document.text
    assert len(warnings) == 1
    assert "2 glyphs have no known letter" in warnings[0]


@pytest.mark.parametrize("data", [b"%PDF-1.7 not really", b"%PDF-1.4\n" + bytes(range(256)) * 9])
def test_a_broken_pdf_is_refused(tmp_path, data):
    (tmp_path / "broken.pdf").write_bytes(data)
    with pytest.raises(Refused, match="broken PDF"):
        read(tmp_path / "broken.pdf")


def test_a_pdf_with_a_password_is_refused(tmp_path):
    pytest.importorskip("cryptography", reason="fpdf2 encrypts with it")
    with pytest.raises(Refused, match="password"):
        read(write(tmp_path / "a.pdf", lines(["Secret."]), password="x"))


def test_a_pdf_called_txt_is_read_as_pdf(tmp_path):
    document, _ = read(write(tmp_path / "a.txt", lines(["Hello there."])))
    assert document.text == "Hello there."


def test_memory_is_flat_over_200_files(tmp_path):  # F17
    path = write(tmp_path / "a.pdf", lines([f"Line {n} of the page." for n in range(40)]))

    def resident_after(files):
        for _ in range(files):
            read(path)
        return resident_kib()

    after_20 = resident_after(20)
    assert resident_after(180) - after_20 < 8_000


@pytest.mark.skipif(shutil.which("tesseract") is None, reason="needs the program tesseract")
def test_a_scanned_page_is_read_from_its_picture(tmp_path):
    page = pypdfium2.PdfDocument(write(tmp_path / "a.pdf", lines(["The harbour master is Ida Lund."])))[0]
    picture = tmp_path / "a.png"
    page.render(scale=4).to_pil().save(picture)
    file = FPDF()
    file.add_page()
    file.image(str(picture), 0, 0, 210)
    file.output(str(tmp_path / "scan.pdf"))
    document, warnings = read(tmp_path / "scan.pdf")
    assert "harbour master is Ida Lund" in document.text
    assert "tesseract" in warnings[0]


def sheet(number, boat, owner):
    return lines([f"Sheet no.: {number}", f"Boat: {boat}", f"Owner: {owner}", "Result: passed", "Inspector: Karl Vogt"])


def test_sheets_of_one_form_keep_every_line_and_are_passages_of_their_own(tmp_path):
    names = [("Wren", "Ann"), ("Teal", "Bo"), ("Smew", "Cleo"), ("Tern", "Dag"), ("Dunlin", "Eve"), ("Knot", "Finn")]
    document, warnings = read(write(tmp_path / "a.pdf", *(sheet(n, *name) for n, name in enumerate(names, start=1))))
    passages = split(document)
    assert warnings == []
    assert [passage.page for passage in passages] == [1, 2, 3, 4, 5, 6]
    for (boat, owner), passage in zip(names, passages, strict=True):
        assert f"Boat: {boat}\nOwner: {owner}\nResult: passed\nInspector: Karl Vogt" in passage.text


def report(number, total, body):
    head, foot = (20, 12, "Quay Ltd | Report 2024"), (90, 288, f"Confidential - page {number} of {total}")
    return [head, *((20, 60 + 6 * n, text) for n, text in enumerate(body)), foot]


BODIES = [
    ["The yard lifted 143 boats, more", "than ever before. It also"],
    ["bought a crane. Nobody", "was hurt in all the year."],
    ["The roof was renewed in May", "by a firm from Garrowby."],
    ["Wages rose by three per cent", "and so did the prices."],
    ["The next year begins well", "with two large orders."],
]


def test_running_heads_and_feet_stand_once_and_are_listed(tmp_path):
    document, _ = read(write(tmp_path / "a.pdf", *(report(n, 5, body) for n, body in enumerate(BODIES, start=1))))
    assert document.text.count("Report 2024") == document.text.count("Confidential") == 1
    assert "Quay Ltd | Report 2024" in document.metadata["left_out"]
    assert "Confidential - page 5 of 5" in document.metadata["left_out"]
    for body in BODIES:
        assert body[0] in document.text


def test_a_line_that_repeats_amid_the_text_stays(tmp_path):
    pages = [
        lines([f"Part {word}", "Wash your hands first.", text]) for word, text in zip("abcdef", "uvwxyz", strict=True)
    ]
    document, _ = read(write(tmp_path / "a.pdf", *([(x, y + 100, text) for x, y, text in page] for page in pages)))
    assert document.text.count("Wash your hands first.") == 6


def test_a_ruled_table_is_read_by_its_rules_however_narrow_its_columns(tmp_path):
    file = FPDF()
    file.set_font("helvetica", size=12)
    file.add_page()
    with file.table(width=70, col_widths=(30, 20, 20), text_align="LEFT") as table:
        for row in [
            ("Name of the tank", "Bar", "Checked by"),
            ("North", "3.5", "Ida Lund"),
            ("The long one in the yard", "2", "Tor"),
        ]:
            made = table.row()
            for cell in row:
                made.cell(cell)
    file.output(str(tmp_path / "a.pdf"))
    document, _ = read(tmp_path / "a.pdf")
    records = [document.text[block.start : block.end] for block in document.blocks if block.kind == "record"]
    assert records == [
        "Name of the tank: North; Bar: 3.5; Checked by: Ida Lund",
        "Name of the tank: The long one in the yard; Bar: 2; Checked by: Tor",
    ]


def test_large_letters_are_headings(tmp_path):
    file = FPDF()
    file.add_page()
    for size, text in [
        (20, "Buildings"),
        (12, "The roof was renewed."),
        (12, "It held."),
        (20, "Plant"),
        (12, "The lift works."),
    ]:
        file.set_font("helvetica", size=size)
        file.cell(0, 12, text, new_x="LMARGIN", new_y="NEXT")
    file.set_title("untitled")
    file.output(str(tmp_path / "a.pdf"))
    document, _ = read(tmp_path / "a.pdf")
    assert document.title == "a"  # neither what a program wrote nor one heading of several
    assert [(p.headings, p.text.split("\n")[-1]) for p in split(document)] == [
        (("Buildings",), "It held."),
        (("Plant",), "The lift works."),
    ]


def test_a_word_that_a_page_parts_is_whole(tmp_path):
    document, _ = read(write(tmp_path / "a.pdf", lines(["They found a well-", "known exam-"]), lines(["ple of it."])))
    assert "a well-known example of it." in " ".join(document.text.split())


def test_a_passage_knows_the_page_of_every_word_in_it(tmp_path):
    pages = [
        lines(["The lamp was lit in 1871 by"]),
        lines(["Ida Lund, who lived in"]),
        lines(["Garrowby until she died."]),
    ]
    document, _ = read(write(tmp_path / "a.pdf", *pages))
    (passage,) = split(document)
    assert passage.page == 1
    for words, page in (("1871", 1), ("Ida", 2), ("lived", 2), ("Garrowby", 3)):
        assert passage.page_at(passage.text.index(words)) == page
    span = (passage.text.index("Garrowby"), passage.text.index("Garrowby") + 8)
    evidence = Evidence(passage=passage, prior=1.0, posterior=1.0, answer_span=span)
    assert evidence.to_json()["page"] == 3


def test_headings_of_equal_rank_are_no_title(tmp_path):
    file = FPDF()
    file.add_page()
    for size, text in [(20, "Aster"), (12, "It costs 500."), (20, "Birch"), (12, "It costs 700.")]:
        file.set_font("helvetica", size=size)
        file.cell(0, 12, text, new_x="LMARGIN", new_y="NEXT")
    file.output(str(tmp_path / "prices.pdf"))
    document, _ = read(tmp_path / "prices.pdf")
    assert document.title == "prices"
