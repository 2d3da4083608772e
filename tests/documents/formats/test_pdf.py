"""PDF: columns, pages without text, ligatures, memory."""

from __future__ import annotations

import pytest
from fpdf import FPDF

from memptm.documents.formats.layout import Run, in_reading_order
from memptm.documents.formats.running_heads import without_running_heads
from memptm.documents.load import Refused, load
from memptm.documents.split import split
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
    assert in_reading_order(runs) == ("line 0\nline 1\nline 2\n\nline 3\nline 4\nline 5", True)


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
    assert document.metadata == {"pages": 2}
    first, second = split(document, words=9, overlap=0)
    assert (first.text, first.page) == ("It began here and went\non for years.", 1)
    assert (second.text, second.page) == ("It ended well in the end.", 2)


def test_pages_without_text_are_named_and_counted(tmp_path):  # F15
    document, warnings = read(write(tmp_path / "a.pdf", lines(["One."]), [], lines(["Three."])))
    assert warnings == [f"{tmp_path / 'a.pdf'}: no text on page 2 of 3 (scanned?)"]
    assert document.metadata == {"pages": 3, "pages_without_text": [2]}
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


def test_running_heads_and_page_numbers_do_not_part_sentences():
    bodies = ["It began\nand", "went\non", "for years\nuntil", "it\nwas", "over\nthen."]
    pages = [f"The Log\n{body}\n{number}" for number, body in enumerate(bodies, start=7)]
    assert without_running_heads(pages) == [pages[0], *bodies[1:]]


def test_first_lines_that_differ_or_stand_alone_are_kept():
    steps = ["Step one\nOpen it.", "Step two\nLook in.", "Step three\nClose it.", "Step four\nLeave."]
    assert without_running_heads(steps) == steps
    assert without_running_heads(["Blank"] * 5) == ["Blank"] * 5
